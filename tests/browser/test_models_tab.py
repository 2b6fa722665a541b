"""The Models tab and the fit meter: what fits, what does not and why, choosing and loading."""

import re
from collections.abc import Callable
from typing import cast

import pytest
from playwright.sync_api import BrowserContext, expect

from gemma_space import hub
from gemma_space.playground import Playground
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.browser.fake_library import FakeLibrary
from tests.browser.fake_playground import FakePlayground
from tests.browser.models_page import ModelsPage
from tests.browser.test_looks import CONTRAST, PHONE

READABLE = (
    ".model-title", ".model-id a", ".model-facts", ".in-memory", ".models-count",
    ".precision.fits small", ".precision.loaded small", ".precision.too-large small",
    ".precision.refused b", ".precision.refused small", ".fit-head b", ".fit-key li", ".fit p",
    ".headline p", "#models-dock .problem", ".fit-instead .pill", "#chat-with-it",
)  # fmt: skip
GATED_PAGE = hub.repo_url("fake/base").partition("://")[2]


@pytest.fixture
def models(chat: ChatPage) -> ModelsPage:
    return ModelsPage(chat).open()


# --- what the list says -------------------------------------------------------------------------


def test_each_precision_says_whether_it_fits(models: ModelsPage) -> None:
    expect(models.cell("fake/large", "int8")).to_contain_text(re.compile(r"int8\s+6\.8 GiB\s+fits"))
    expect(models.cell("fake/large", "bf16")).to_contain_text("too large")
    expect(models.cell("fake/large", "bf16")).to_have_attribute(
        "title", re.compile(r"Needs 11\.2 GiB .* the budget is 8\.0 GiB")
    )
    refused = models.cell("fake/large", "fp16")
    expect(refused).to_contain_text("not offered")
    expect(refused).to_have_attribute("title", re.compile("overflows in fp16"))
    expect(models.cell("fake/chat", "bf16")).to_contain_text("in memory")
    expect(models.row("fake/chat")).to_contain_text("in memory: bf16")
    for words in ("6 B parameters", "128K tokens of context", "Apache 2.0", "Open", "Instruct"):
        expect(models.row("fake/large")).to_contain_text(words)
    expect(models.row("fake/base")).to_contain_text("Gated: needs a token · Base")
    link = models.row("fake/base").get_by_role("link", name="fake/base")
    expect(link).to_have_attribute("href", hub.repo_url("fake/base"))
    expect(link).to_have_attribute("rel", "noopener")


def test_filters(models: ModelsPage) -> None:
    count = models.page.locator(".models-count")
    expect(count).to_have_text("5 models")
    search = models.page.get_by_label("Search")
    search.fill("instruct GEMMA large")
    expect(models.rows).to_have_count(0)
    expect(models.page.get_by_text("No model matches.")).to_be_visible()
    search.fill("instruct large")
    expect(count).to_have_text("1 of 5 models")
    assert models.titles() == ["Scripted Large"]
    search.fill("")
    expect(models.rows).to_have_count(5)
    models.page.get_by_role("combobox", name="Family").click()
    models.page.get_by_role("option", name="Gemma 3", exact=True).click()
    expect(models.rows).to_have_count(2)
    expect(models.page.locator("#model-list section:visible h3")).to_have_text(["Gemma 3"])
    models.page.get_by_role("combobox", name="Family").click()
    models.page.get_by_role("option", name="All families").click()
    models.page.get_by_label("Only what fits").check()
    expect(models.rows).to_have_count(4)
    expect(models.row("fake/huge")).to_be_hidden()
    expect(models.page.get_by_role("heading", name="Gemma 2", exact=True)).to_be_hidden()


def test_the_length_of_the_conversation_counts(models: ModelsPage) -> None:
    models.page.get_by_label("Search").fill("large")
    models.page.get_by_label("128K", exact=True).check()
    expect(models.cell("fake/large", "int8")).to_contain_text("too large")
    expect(models.cell("fake/large", "int4")).to_contain_text(re.compile(r"9\.\d GiB"))
    assert models.titles() == ["Scripted Large"]  # the filter outlives the new sizes
    models.page.get_by_label("2K", exact=True).check()
    expect(models.cell("fake/large", "int8")).to_contain_text("fits")
    expect(models.cell("fake/large", "int8")).to_have_attribute("title", re.compile("of 2K tokens"))


# --- choosing -----------------------------------------------------------------------------------


def test_a_precision_chooses_for_the_whole_page(models: ModelsPage, fake: FakePlayground) -> None:
    models.choose("fake/large", "int8")
    expect(models.model).to_have_value("Scripted Large")
    expect(models.precision).to_have_value(re.compile("^int8"))
    expect(models.title).to_have_text("Scripted Large")
    for meter in (models.meter, models.sidebar.locator(".fit")):
        expect(meter).to_contain_text("✓ Fits int8")
        expect(meter).to_contain_text("6.8 of 8.0 GiB")
        expect(meter).to_contain_text("KV cache, 8K tokens 320.0 MiB")
    models.press("Chat with it")
    models.chat.ask("Hello")
    request = fake.requests[-1]
    assert (request.model, request.precision) == ("fake/large", "int8")
    models.open()
    expect(models.cell("fake/large", "int8")).to_have_attribute("aria-pressed", "true")


def test_too_large_says_why_and_what_fits_instead(models: ModelsPage) -> None:
    models.choose("fake/large", "bf16")
    expect(models.meter).to_contain_text("✕ Does not fit bf16")
    expect(models.meter).to_contain_text("the budget is 8.0 GiB")
    expect(models.meter).to_contain_text("Beyond what there is 3.5 GiB")
    models.sidebar.get_by_role("button", name="Use int4").click()
    expect(models.precision).to_have_value(re.compile("^int4"))
    expect(models.meter).to_contain_text("✓ Fits int4")
    expect(models.cell("fake/large", "int4")).to_have_attribute("aria-pressed", "true")


def test_a_refused_precision_says_why_and_leaves_the_choice(models: ModelsPage) -> None:
    models.cell("fake/large", "fp16").click()
    said = models.dock.get_by_role("alert")
    expect(said).to_contain_text("Gemma 4 overflows in fp16")
    expect(models.title).to_have_text("Scripted Chat")
    expect(models.model).to_have_value("Scripted Chat")
    models.choose("fake/large", "int8")
    expect(said).to_have_count(0)
    models.precision.click()
    options = models.page.get_by_role("option")
    expect(options).to_contain_text(["auto", "fp32", "bf16", "int8", "int4"])


def test_auto_is_explained(models: ModelsPage) -> None:
    expect(models.meter).to_contain_text("auto means bf16 here.")
    models.chat.choose_model("Scripted Large")
    expect(models.meter).to_contain_text("auto chose int8, because bf16 does not fit")
    expect(models.cell("fake/large", "int8")).to_have_attribute("aria-pressed", "true")


def test_who_would_leave(models: ModelsPage, fake: FakePlayground) -> None:
    fake.library.evicts = ("Gemma 2B in bf16", "Gemma 7B in int4")
    models.choose("fake/base", "int8")
    words = "Gemma 2B in bf16 and Gemma 7B in int4 would leave."
    expect(models.sidebar.locator(".fit")).to_contain_text(words)


def test_files_of_one_precision_leave_no_choice(models: ModelsPage) -> None:
    models.chat.choose_model("Scripted Eight")
    expect(models.precision).to_be_disabled()
    expect(models.precision).to_have_value(re.compile("^int8"))
    expect(models.sidebar).to_contain_text("Its files are quantized to int8")
    models.chat.choose_model("Scripted Base")
    expect(models.precision).to_be_enabled()
    expect(models.precision).to_have_value(re.compile("^auto"))


def test_looking_through_the_list_changes_nothing(models: ModelsPage) -> None:
    models.choose("fake/large", "int4")
    models.model.click()
    models.model.press("Escape")
    models.page.get_by_label("Search").click()
    expect(models.precision).to_have_value(re.compile("^int4"))
    expect(models.model).to_have_value("Scripted Large")


def test_chat_with_a_base_model_opens_the_prompt_tab(models: ModelsPage) -> None:
    models.choose("fake/base", "bf16")
    models.press("Chat with it")
    expect(models.page.get_by_role("textbox", name="Prompt", exact=True)).to_be_visible()


# --- names that are typed -----------------------------------------------------------------------


def test_another_gemma(models: ModelsPage, fake: FakePlayground) -> None:
    models.another.fill("someone/no-gemma")
    models.page.get_by_role("button", name="Find it").click()
    said = models.page.locator("#another-result")
    expect(said.get_by_role("alert")).to_contain_text("There is no model “someone/no-gemma” here.")
    expect(models.another).to_have_value("someone/no-gemma")
    expect(models.title).to_have_text("Scripted Chat")
    models.another.fill(" someone/other-gemma ")
    models.another.press("Enter")
    expect(models.title).to_have_text("other-gemma")
    expect(models.model).to_have_value("someone/other-gemma")
    expect(models.another).to_have_value("")
    expect(said.get_by_role("alert")).to_have_count(0)
    expect(models.page.locator('section[data-group="Yours"] .model')).to_have_count(1)
    models.choose("fake/base", "bf16")
    models.choose("someone/other-gemma", "int8")
    models.press("Chat with it")
    models.chat.ask("Hello")
    assert (fake.requests[-1].model, fake.requests[-1].precision) == ("someone/other-gemma", "int8")


def test_a_name_typed_in_the_sidebar(models: ModelsPage, fake: FakePlayground) -> None:
    models.type_model("someone/no-gemma")
    expect(models.sidebar.get_by_role("alert")).to_contain_text("There is no model")
    expect(models.model).to_have_value("someone/no-gemma")
    models.type_model("someone/other-gemma")
    expect(models.sidebar.get_by_role("alert")).to_have_count(0)
    expect(models.title).to_have_text("other-gemma")
    expect(models.row("someone/other-gemma")).to_be_visible()
    models.page.get_by_role("tab", name="Prompt").click()
    prompt = models.page.get_by_role("textbox", name="Prompt", exact=True)
    prompt.fill("Once upon a time")
    expect(models.page.locator("#token-count")).to_contain_text("5 of 2,048 tokens")
    fake.library.load_steps = 100
    models.chat.button("Run").click()
    expect(models.page.locator("#completion-footer")).to_contain_text("Loading other-gemma…")
    fake.library.load_steps = 0
    expect(models.page.locator("#completion textarea")).to_have_value("A short reply.")
    assert fake.completions[-1].model == "someone/other-gemma"


def test_a_wrong_name_costs_no_message(models: ModelsPage, fake: FakePlayground) -> None:
    models.type_model("nonsense")
    expect(models.sidebar.get_by_role("alert")).to_contain_text("There is no model")
    models.page.get_by_role("tab", name="Chat").click()
    models.chat.send("Hello")
    expect(models.page.locator("#notice")).to_contain_text("There is no model “nonsense” here.")
    models.model.fill("")
    models.page.get_by_role("option", name="Scripted Chat").click()
    expect(models.sidebar.get_by_role("alert")).to_have_count(0)
    models.chat.button("Try again").click()
    expect(models.chat.reply).to_have_text("A short reply.")


def test_where_only_the_list_is_served(new_context: Callable[..., BrowserContext]) -> None:
    fake = FakePlayground(library=FakeLibrary(takes_any=False))
    with served(cast(Playground, fake)) as url:
        models = ModelsPage(ChatPage(new_context().new_page(), url).open()).open()
        expect(models.another).to_have_count(0)
        models.type_model("someone/other-gemma")
        models.page.get_by_label("Search").click()
        expect(models.model).to_have_value("Scripted Chat")
        models.choose("fake/base", "int8")
        expect(models.model).to_have_value(re.compile("Scripted Base"))
        models.page.goto("about:blank")


# --- keyboard, small screens, colours -----------------------------------------------------------


def test_by_keyboard(models: ModelsPage) -> None:
    keyboard = models.page.keyboard
    models.cell("fake/chat", "bf16").focus()
    keyboard.press("ArrowDown")
    expect(models.cell("fake/base", "bf16")).to_be_focused()
    keyboard.press("ArrowRight")
    keyboard.press("ArrowRight")
    keyboard.press("Enter")
    expect(models.title).to_have_text("Scripted Base")
    expect(models.precision).to_have_value(re.compile("^int8"))
    expect(models.cell("fake/base", "int8")).to_be_focused()
    expect(models.cell("fake/base", "int8")).to_be_in_viewport()
    expect(models.dock.locator(".access")).to_contain_text("Scripted Base is gated")
    keyboard.press("Tab")  # the list is one stop
    expect(models.dock.get_by_role("link", name=GATED_PAGE)).to_be_focused()
    keyboard.press("Tab")
    expect(models.dock.get_by_role("button", name="Check again")).to_be_focused()
    keyboard.press("Tab")
    expect(models.dock.get_by_role("button", name="Load", exact=True)).to_be_focused()
    keyboard.press("Enter")
    expect(models.meter).to_contain_text("In memory")


def test_on_a_phone(fake: FakePlayground, open_chat: Callable[..., ChatPage]) -> None:
    models = ModelsPage(open_chat(**PHONE)).open()
    assert models.chat.scroll_width() == 390
    models.choose("fake/large", "bf16")
    expect(models.title).to_be_in_viewport()
    expect(models.dock.get_by_role("button", name="Chat with it")).to_be_in_viewport()
    assert models.chat.scroll_width() == 390
    boxes = [cell.bounding_box() for cell in models.row("fake/large").get_by_role("button").all()]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(
    scheme: str, fake: FakePlayground, open_chat: Callable[..., ChatPage]
) -> None:
    models = ModelsPage(open_chat(color_scheme=scheme)).open()
    models.choose("fake/large", "bf16")
    models.cell("fake/large", "fp16").click()
    expect(models.dock.get_by_role("alert")).to_be_visible()
    found = {selector: models.page.evaluate(CONTRAST, selector) for selector in READABLE}
    assert {selector: ratio for selector, ratio in found.items() if (ratio or 0) < 4.5} == {}
