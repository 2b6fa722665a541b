"""The fold about a model in a browser: legible, operable, and always about the chosen one."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import gradio as gr
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from gemma_space import cards
from gemma_space.assets import ASSETS
from gemma_space.library import Library
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import catalogue
from gemma_space.ui import figures, page
from gemma_space.ui.about import AboutModel
from gemma_space.ui.events import asked_by
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.browser.fake_playground import FakePlayground
from tests.browser.models_page import ModelsPage
from tests.browser.test_looks import CONTRAST, PHONE

FIRST = "google/gemma-1.1-7b-it"
READABLE = (
    ".about-card p", ".about-card summary", ".about-card a", ".about-card dt", ".about-card dd",
    ".about-card pre", ".figure-told", ".footnotes li", ".footnotes p", ".bars-key li",
    ".numbers caption", ".numbers th", ".numbers td", ".terms-notice p", ".terms-notice a",
)  # fmt: skip
# The same contrast as in CONTRAST, of what a drawing is filled with.
FILLS = CONTRAST.replace(
    "[...document.querySelectorAll(selector)].find((one) => one.offsetParent)",
    "document.querySelector(selector)",
).replace("getComputedStyle(element).color", "getComputedStyle(element).fill")
OUTSIDE = """(chart) => {
  const room = chart.closest('.about-card').getBoundingClientRect();
  return [...chart.querySelectorAll('text, rect')].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.left < room.left - 0.5 || box.right > room.right + 0.5;
  }).map((one) => one.textContent);
}"""


class Catalogue:
    """Finds the rows of the catalogue, and nothing else."""

    def find(self, name: str, token: str | None = None) -> object:
        return catalogue()[name]


@pytest.fixture(scope="module")
def url(browser: Browser) -> Iterator[str]:
    """A page with nothing but a name and the fold, where the Models tab has it."""
    with gr.Blocks(analytics_enabled=False) as demo, asked_by(FakePlayground().visitors):
        chosen = gr.Textbox(FIRST, label="Chosen")
        with gr.Column(elem_id="models-dock"):
            about = AboutModel.build(catalogue()[FIRST], lends=True)
        about.wire(cast(Library, Catalogue()), chosen)
    options = page.launch_options()
    options["css_paths"] = [*{*options["css_paths"], ASSETS / "about.css"}]
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, _frontend=False, **options)
    yield address
    demo.close()


@pytest.fixture
def open_about(url: str, new_context: Callable[..., BrowserContext]) -> Callable[..., Page]:
    """The fold, unfolded."""

    def open_page(**options: object) -> Page:
        shown = new_context(**options).new_page()
        shown.goto(url)
        fold(shown).click()
        expect(shown.locator(".about-card")).to_be_visible()
        return shown

    return open_page


def fold(shown: Page) -> Locator:
    return shown.get_by_role("button", name="About this model")


def unfold_all(shown: Page) -> None:
    shown.evaluate("document.querySelectorAll('.about-card details').forEach((d) => d.open = true)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(scheme: str, open_about: Callable[..., Page]) -> None:
    shown = open_about(color_scheme=scheme)
    unfold_all(shown)
    texts = {selector: shown.evaluate(CONTRAST, selector) for selector in READABLE}
    assert None not in texts.values()
    texts |= {one: shown.evaluate(FILLS, one) for one in (".bar-name", ".bar-setting", ".bar-tick",
                                                          ".bar-value")}  # fmt: skip
    assert {selector: ratio for selector, ratio in texts.items() if ratio < 4.5} == {}
    bars = [shown.evaluate(FILLS, f"rect.series-{at}") for at in (1, 2)]
    assert min(bars) >= 3
    assert max(bars) / min(bars) > 1.4  # they differ in lightness too


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_nothing_leaves_its_place(
    options: dict[str, object], open_about: Callable[..., Page]
) -> None:
    shown = open_about(**options)
    unfold_all(shown)
    width = shown.evaluate("innerWidth")
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    assert shown.locator(".about-card").evaluate("one => one.scrollWidth - one.clientWidth") == 0
    charts = shown.locator(".about-card svg.bars")
    expect(charts).to_have_count(3)
    for chart in charts.all():
        assert chart.evaluate(OUTSIDE) == []
        widest = max(box["width"] for box in map(Locator.bounding_box, chart.locator("rect").all())
                     if box)  # fmt: skip
        assert widest > 100


def test_folds_open_by_keyboard(url: str, new_context: Callable[..., BrowserContext]) -> None:
    shown = new_context().new_page()
    shown.goto(url)
    expect(fold(shown)).to_be_visible()
    fold(shown).focus()
    shown.keyboard.press("Enter")
    limits = shown.locator("summary", has_text="Limitations")
    facts = shown.get_by_text("It is no knowledge base")
    expect(facts).to_be_hidden()
    for _ in range(40):
        shown.keyboard.press("Tab")
        if limits.evaluate("one => one === document.activeElement"):
            break
    shown.keyboard.press("Enter")
    expect(facts).to_be_visible()
    shown.keyboard.press("Enter")
    expect(facts).to_be_hidden()


def test_the_numbers_are_there_as_a_table_and_as_a_file(open_about: Callable[..., Page]) -> None:
    shown = open_about()
    shown.locator("summary", has_text="Gemma 1.1 safety").click()
    expect(shown.get_by_role("img", name=re.compile("Gemma 1.1 safety"))).to_be_visible()
    numbers = shown.get_by_role("table", name=re.compile("Gemma 1.1 safety"))
    expect(numbers).to_be_hidden()
    shown.locator("summary:visible", has_text="The numbers as a table").nth(1).click()
    cells = numbers.get_by_role("row", name="BOLD").get_by_role("cell")
    assert cells.all_inner_texts() == ["n/a", "47.76", "n/a"]
    with shown.expect_download() as download:
        shown.get_by_role("link", name="Download as CSV").click()
    assert download.value.suggested_filename == "gemma1.1-safety.csv"
    saved = Path(download.value.path()).read_bytes().decode()
    assert saved == figures.as_csv(cards.data().table("gemma1.1-safety"))


def test_it_follows_the_model_and_stays_open(open_about: Callable[..., Page]) -> None:
    shown = open_about()
    card = shown.locator(".about-card")
    expect(card).to_contain_text("always begin with “Sure,”")
    expect(card.get_by_role("note")).to_contain_text("Gemma is provided under and subject to")
    shown.get_by_label("Chosen").fill("google/gemma-4-E2B-it")
    expect(card).to_contain_text("The fourth generation")
    expect(card.get_by_role("note")).to_have_count(0)
    shown.get_by_label("Chosen").fill("nobody/knows")
    expect(card).to_have_count(0)
    shown.get_by_label("Chosen").fill("google/gemma-2-9b")
    expect(card).to_contain_text("the 9B one is this")
    expect(card).to_be_visible()


# --- in the app ---------------------------------------------------------------------------------


def test_the_models_tab_has_it(chat: ChatPage) -> None:
    models = ModelsPage(chat).open()
    card = models.dock.locator(".about-card")
    expect(card).to_be_hidden()
    fold(models.page).click()
    expect(card).to_contain_text("The files of Scripted Chat have the architecture of Gemma 3.")
    models.choose("fake/huge", "bf16")
    expect(card).to_contain_text("The files of Scripted Huge have the architecture of Gemma 2.")
    models.chat.page.get_by_role("tab", name="Chat").click()
    models.chat.choose_model("Scripted Base")
    models.open()
    expect(card).to_contain_text("The files of Scripted Base")


def test_a_reply_folds_nothing_up(chat: ChatPage) -> None:
    models = ModelsPage(chat).open()
    fold(models.page).click()
    models.dock.locator("summary", has_text="Limitations").click()
    models.page.get_by_role("tab", name="Chat").click()
    models.chat.ask("Hello")
    models.open()
    expect(models.dock.get_by_text("It is no knowledge base")).to_be_visible()


def test_the_notice_stands_on_a_page_that_lends_access(
    new_context: Callable[..., BrowserContext], tolerated: list[str]
) -> None:
    tolerated.append("BodyStreamBuffer was aborted")  # it is left while it listens
    fake = FakePlayground()
    with served(cast(Playground, fake), settings=Settings(access="deployer")) as address:
        chat = ChatPage(new_context().new_page(), address).open()
        expect(chat.page.locator(".terms-notice:visible")).to_contain_text(
            "Gemma is provided under and subject to the Gemma Terms of Use found at "
            "ai.google.dev/gemma/terms."
        )
        chat.page.goto("about:blank")
