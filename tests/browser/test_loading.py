"""Loading and unloading from the page: the same in the sidebar and in the Models tab."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from gemma_space.assets import DEMO_ADAPTER
from gemma_space.catalog import DEMO_ADAPTER_ID, DEMO_REPO_ID
from gemma_space.playground import Playground
from tests.browser.chat_page import ChatPage
from tests.browser.fake_playground import FakePlayground
from tests.browser.models_page import ModelsPage


@pytest.fixture
def models(chat: ChatPage) -> ModelsPage:
    return ModelsPage(chat).open()


def test_load_and_unload(models: ModelsPage, fake: FakePlayground) -> None:
    models.choose("fake/base", "int8")
    fake.library.load_steps = 100
    models.press("Load")
    for place in (models.dock, models.sidebar):  # the same in both places
        expect(place.locator(".load")).to_contain_text(
            re.compile(r"Loading Scripted Base… .+ of 8\.0 MiB, 2\.5 MiB/s, about 40 s left")
        )
        expect(place.get_by_role("button", name="Cancel")).to_be_visible()
        expect(place.get_by_role("button", name="Load", exact=True)).to_be_hidden()
    fake.library.load_steps = 0
    expect(models.meter).to_contain_text("● In memory int8")
    expect(models.cell("fake/base", "int8")).to_contain_text("in memory")
    expect(models.page.locator(".status-card")).to_contain_text("Scripted Base int8")
    expect(models.dock.get_by_role("button", name="Cancel")).to_be_hidden()
    models.sidebar.get_by_role("button", name="Unload").click()
    expect(models.meter).to_contain_text("✓ Fits int8")
    expect(models.cell("fake/base", "int8")).to_contain_text("fits")
    assert fake.library.loads == [("fake/base", "int8", "auto")]


def test_cancel_in_the_other_place(models: ModelsPage, fake: FakePlayground) -> None:
    models.choose("fake/base", "int8")
    fake.library.load_steps = 100
    models.press("Load")
    expect(models.sidebar.locator(".load")).to_contain_text("Loading")
    models.sidebar.get_by_role("button", name="Cancel").click()
    expect(models.dock.get_by_role("button", name="Load", exact=True)).to_be_visible()
    expect(models.page.locator(".load")).to_have_count(0)
    assert ("fake/base", "int8") not in fake.library.in_memory


def test_a_load_that_fails_says_so(models: ModelsPage, fake: FakePlayground) -> None:
    fake.library.fail_load = "The files are <b>torn</b>."
    models.choose("fake/base", "bf16")
    models.press("Load")
    expect(models.dock.get_by_role("alert")).to_have_text("The files are <b>torn</b>. Try again.")
    expect(models.dock.get_by_role("button", name="Load", exact=True)).to_be_visible()
    models.choose("fake/base", "int8")
    expect(models.page.get_by_role("alert")).to_have_count(0)


def test_unloading_what_is_gone_says_so(models: ModelsPage, fake: FakePlayground) -> None:
    fake.library.in_memory = []  # evicted for somebody else meanwhile
    models.press("Unload")
    expect(models.dock.get_by_role("alert")).to_contain_text("This model is not loaded")
    expect(models.dock.get_by_role("button", name="Load", exact=True)).to_be_visible()
    expect(models.dock.get_by_role("button", name="Unload")).to_be_hidden()


def test_another_precision_of_the_same_model_counts(models: ModelsPage) -> None:
    expect(models.meter).not_to_contain_text("Stays in memory")
    models.choose("fake/chat", "int8")
    expect(models.meter).to_contain_text("Stays in memory 14.8 MiB")
    models.press("Load")
    expect(models.meter).to_contain_text("● In memory int8")
    expect(models.meter).to_contain_text("Stays in memory 14.8 MiB")
    expect(models.row("fake/chat")).to_contain_text("in memory: bf16, int8")


def test_attention_reaches_the_model(
    fake: FakePlayground, open_chat: Callable[..., ChatPage]
) -> None:
    fake.library.in_memory = []
    models = ModelsPage(open_chat()).open()
    expect(models.page.get_by_role("combobox", name="Attention")).to_be_hidden()
    models.sidebar.get_by_role("button", name="More").click()
    models.page.get_by_role("combobox", name="Attention").click()
    models.page.get_by_role("option", name="eager").click()
    models.press("Load")
    expect(models.meter).to_contain_text("In memory")
    models.page.get_by_role("tab", name="Chat").click()
    models.chat.ask("Hello")
    models.page.get_by_role("tab", name="Prompt").click()
    models.chat.button("Run").click()
    expect(models.page.locator("#completion textarea")).to_have_value("A short reply.")
    assert fake.library.loads == [("fake/chat", "auto", "eager")]
    assert fake.requests[-1].attention == fake.completions[-1].attention == "eager"


def test_the_demo_in_int8(real_chat: ChatPage, real_server: tuple[Playground, str]) -> None:
    library = real_server[0].library
    if (DEMO_REPO_ID, "int8") in [(row.repo_id, row.precision) for row in library.status().loaded]:
        library.unload(DEMO_REPO_ID, "int8")  # another file's tests had it loaded
    models = ModelsPage(real_chat).open()
    expect(models.row("google/gemma-3-27b-it")).to_be_attached()
    assert models.row(DEMO_ADAPTER_ID).count() == int(DEMO_ADAPTER.is_dir())
    models.choose(DEMO_REPO_ID, "int8")
    models.press("Load")
    expect(models.meter).to_contain_text("● In memory int8", timeout=60_000)
    expect(models.row(DEMO_REPO_ID)).to_contain_text(re.compile(r"in memory: .*int8"))
    models.press("Chat with it")
    real_chat.ask("What is this playground?")
    expect(real_chat.reply).to_have_text(re.compile(r"\w{3}"))
    real_chat.footer.get_by_role("button").first.click()
    expect(real_chat.footer).to_contain_text(f"{DEMO_REPO_ID} · int8")
