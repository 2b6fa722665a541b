"""The token views in Chromium: keys, clicks, what reaches Python, colours, a phone.

On a page of their own, with the app's theme, styles and scripts.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from gemma_space.assets import ASSETS
from gemma_space.types import Alternative, ScoredPiece
from gemma_space.ui import page as app_page
from gemma_space.ui import token_view
from gemma_space.ui.token_scale import ENTROPY_STEPS, PROBABILITY_STEPS
from tests.browser.test_looks import CONTRAST, PHONE

WORDS = ("Gem", "ma", " is", " a", " family", ".", "\n", "\n", "    ", "\t", "<0xE2>", "<eos>",
         "</b>", "\u202e", " models")  # fmt: skip
SHARES = (*(bound + 0.001 for bound in PROBABILITY_STEPS), 0.001)
ENTROPIES = (0.0, *ENTROPY_STEPS)


def piece(at: int, text: str) -> ScoredPiece:
    """A token with the step `at % 6` of probability and, in another order, of entropy."""
    share, entropy = SHARES[at % 6], ENTROPIES[(at // 6 + at) % 6]
    top = (
        Alternative(id=1000, text=" one", logprob=-1.5),
        Alternative(id=at, text=text, logprob=-2),
    )
    return ScoredPiece(id=at, text=text, logprob=math.log(share), entropy=entropy, top=top)


@dataclass
class Served:
    """The page: what is shown next, and the events that came back."""

    url: str = ""
    tokens: list[ScoredPiece] = field(default_factory=list)
    heard: list[tuple[str, object]] = field(default_factory=list)

    def hears(self, place: str, event: gr.EventData) -> None:
        self.heard.append((place, event._data))


def build(served: Served) -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as demo, gr.Column(elem_id="tabs"):
        show = gr.Button("Show")
        listed = gr.HTML("", apply_default_css=False, elem_id="list")
        view = gr.HTML("", apply_default_css=False, js_on_load=token_view.VIEW_JS, elem_id="view")
        others = gr.HTML(
            "", apply_default_css=False, js_on_load=token_view.ALTERNATIVES_JS, elem_id="others"
        )
        done = gr.HTML("", elem_id="done")

        def on_show() -> tuple[str, str]:
            listed = token_view.token_list(served.tokens)
            return listed, token_view.probability_view(served.tokens)

        def on_token(event: gr.EventData) -> str:
            served.hears("view", event)
            pick = token_view.read_pick(event._data, served.tokens)
            assert pick is not None
            return token_view.alternatives(served.tokens[pick.token], pick.token)

        def on_branch(event: gr.EventData) -> str:
            served.hears("others", event)
            return f"heard {len(served.heard)}"

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        show.click(on_show, None, [listed, view], **private)
        view.select(on_token, None, [others], trigger_mode="multiple", **private)
        others.select(on_branch, None, [done], trigger_mode="multiple", **private)
    return demo


@pytest.fixture(scope="module")
def server(browser: Browser) -> Iterator[Served]:
    served = Served()
    options = app_page.launch_options()
    script = (ASSETS / "js" / "tokens.js").read_text(encoding="utf-8")
    options["head"] += f"<script>{script}</script>"
    options["css_paths"] = [*options["css_paths"], ASSETS / "tokens.css"]
    demo = build(served)
    _, served.url, _ = demo.launch(
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        enable_monitoring=False,
        _frontend=False,
        **options,
    )
    try:
        yield served
    finally:
        demo.close()


class TokenPage:
    """The page as a person uses it."""

    def __init__(self, page: Page, served: Served) -> None:
        self.page, self.served = page, served

    def show(self, tokens: list[ScoredPiece]) -> "TokenPage":
        self.served.tokens = tokens
        self.page.get_by_role("button", name="Show", exact=True).click()
        expect(self.tokens).to_have_count(len(tokens))
        return self

    @property
    def tokens(self) -> Locator:
        return self.page.get_by_role("option")

    @property
    def tip(self) -> Locator:
        return self.page.locator(".token-tip")

    @property
    def focused(self) -> int:
        script = (
            "() => [...document.querySelectorAll('[role=option]')].indexOf(document.activeElement)"
        )
        return self.page.evaluate(script)

    @property
    def stops(self) -> int:
        return self.page.locator("[role=option][tabindex='0']").count()

    def branch(self, name: str) -> None:
        self.page.get_by_role("button", name=f"Continue from here with {name}").click()

    def scroll_width(self) -> int:
        return self.page.evaluate("document.documentElement.scrollWidth")


@pytest.fixture
def open_page(
    server: Served, new_context: Callable[..., BrowserContext]
) -> Callable[..., TokenPage]:
    server.heard.clear()

    def open_it(**options: object) -> TokenPage:
        page = new_context(**options).new_page()
        page.goto(server.url)
        return TokenPage(page, server).show([piece(at, text) for at, text in enumerate(WORDS)])

    return open_it


def test_a_click_reaches_python_and_so_does_a_branch(open_page: Callable[..., TokenPage]) -> None:
    shown = open_page()
    for at in (4, 6, 8, 9, 13):  # a word, a newline, spaces, a tab, a character nobody sees
        shown.tokens.nth(at).click(position={"x": 3, "y": 8})
        expect(shown.page.locator("#others")).to_contain_text(f"Token {at + 1}")
        expect(shown.tokens.nth(at)).to_have_attribute("aria-selected", "true")
        expect(shown.page.locator("[aria-selected]")).to_have_count(1)
    assert shown.served.heard == [("view", {"token": at}) for at in (4, 6, 8, 9, 13)]
    shown.branch("␣one")
    expect(shown.page.locator("#done")).to_have_text("heard 6")
    assert shown.served.heard[-1] == ("others", {"token": 13, "alternative": 1000})


def test_keys_move_and_choose(open_page: Callable[..., TokenPage]) -> None:
    shown = open_page()
    shown.page.get_by_role("button", name="Entropy").focus()
    for key, at in (
        ("Tab", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Home", 0),
        ("ArrowLeft", 0), ("ArrowDown", 7), ("ArrowDown", 8), ("ArrowUp", 7), ("ArrowUp", 0),
        ("End", len(WORDS) - 1), ("ArrowRight", len(WORDS) - 1), ("ArrowLeft", len(WORDS) - 2),
    ):  # fmt: skip
        shown.page.keyboard.press(key)
        assert (key, shown.focused) == (key, at)
        assert shown.stops == 1
    expect(shown.tip).to_contain_text("‹RLO› · ")
    shown.page.keyboard.press("Escape")
    expect(shown.tip).to_have_count(0)
    shown.page.keyboard.press("Home")
    shown.page.keyboard.press("Enter")
    expect(shown.page.locator("#others")).to_contain_text("Token 1 ")
    shown.page.keyboard.press("ArrowRight")
    shown.page.keyboard.press("Space")
    expect(shown.page.locator("#others")).to_contain_text("Token 2 ")
    assert shown.served.heard == [("view", {"token": 0}), ("view", {"token": 1})]
    shown.page.keyboard.press("Tab")  # out of the text
    assert shown.focused == -1
    shown.page.keyboard.press("Shift+Tab")  # and back to where it was left
    assert shown.focused == 1


def test_a_tip_tells_what_a_token_had(open_page: Callable[..., TokenPage]) -> None:
    shown = open_page()
    shown.tokens.nth(2).hover()
    expect(shown.tip).to_have_text("␣is · 20.1 % · entropy 0.50 nats")
    assert shown.tokens.nth(2).get_attribute("aria-label") == shown.tip.text_content()
    shown.page.mouse.move(2, 2)
    expect(shown.tip).to_have_count(0)


def test_a_growing_text_keeps_focus_choice_and_colouring(
    open_page: Callable[..., TokenPage],
) -> None:
    shown = open_page()
    shown.page.get_by_role("button", name="Entropy").click()
    shown.tokens.nth(3).click()
    shown.tokens.nth(3).evaluate("(token) => { window.kept = token; }")
    longer = [piece(at, text) for at, text in enumerate(WORDS * 3)]
    shown.served.tokens = longer
    # Pressed by a script: a person who watches has the focus elsewhere.
    shown.page.get_by_role("button", name="Show", exact=True).dispatch_event("click")
    expect(shown.tokens).to_have_count(len(longer))
    assert shown.page.evaluate("window.kept.isConnected")
    assert (shown.focused, shown.stops) == (3, 1)
    expect(shown.tokens.nth(3)).to_have_attribute("aria-selected", "true")
    expect(shown.page.get_by_role("button", name="Entropy")).to_have_attribute(
        "aria-pressed", "true"
    )
    shown.show([piece(at, f" other{at}") for at in range(12)])
    expect(shown.page.locator("[aria-selected]")).to_have_count(0)
    assert shown.stops == 1


def test_the_text_reads_and_copies_as_it_is(open_page: Callable[..., TokenPage]) -> None:
    shown = open_page()
    text = shown.page.locator(".token-text")
    assert text.evaluate("(one) => one.textContent").startswith("Gemma is a family.\n\n    \t0xE2")
    tops = [shown.tokens.nth(at).bounding_box() for at in (5, 7, 8)]
    assert all(box is not None for box in tops)
    lines = [round(box["y"]) for box in tops if box]
    assert lines == sorted(set(lines))  # each on a line of its own


# Of each step, drawn in one colouring: fill, line, contrast of its text.
STEPS = """([scheme, contrast]) => [0, 1, 2, 3, 4, 5].map((step) => {
  const selector = `.token-text .${scheme}${step}`;
  const style = getComputedStyle(document.querySelector(selector));
  return [style.backgroundColor, parseFloat(style.borderBottomWidth), eval(contrast)(selector),
          eval(contrast)(`.legend-${scheme} .${scheme}${step}`)];
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_step_is_readable_and_none_is_colour_alone(
    scheme: str, open_page: Callable[..., TokenPage]
) -> None:
    shown = open_page(color_scheme=scheme)
    for colouring, prefix in (("Probability", "p"), ("Entropy", "e")):
        shown.page.get_by_role("button", name=colouring).click()
        steps = shown.page.evaluate(STEPS, [prefix, f"({CONTRAST})"])
        fills, widths, inside, legend = zip(*steps, strict=True)
        assert len(set(fills)) == 6
        assert list(widths) == [0, 1, 2, 3, 4, 5]
        assert min(*inside, *legend) >= 4.5
        assert list(inside) == sorted(inside, reverse=True)  # lightness tells the order
    shown.tokens.nth(11).click()
    expect(shown.page.locator("#others table")).to_be_visible()
    texts = (".token-list li", ".token-list li i", ".token-list .control", ".token-list .byte",
             ".token-count span", ".token-summary span", ".token-switch [aria-pressed=true]",
             ".token-switch [aria-pressed=false]", ".token-view .hint", ".alternatives .id",
             ".alternatives-head span", ".alternatives .pill", ".alternatives .it .do",
             ".alternatives .rest th", ".alternatives thead th")  # fmt: skip
    found = {selector: shown.page.evaluate(CONTRAST, selector) for selector in texts}
    assert {selector: ratio for selector, ratio in found.items() if not (ratio or 0) >= 4.5} == {}


def test_nothing_overflows_on_a_phone(open_page: Callable[..., TokenPage]) -> None:
    shown = open_page(**PHONE)
    long = [piece(at, text) for at, text in enumerate((*WORDS, "w" * 120, " " * 31, "end"))]
    long[3] = ScoredPiece(
        id=3, text="x" * 60, logprob=-9.0, entropy=1.0,
        top=tuple(Alternative(id=262_000 + i, text="y" * 60, logprob=-20.0 - i) for i in range(10)),
    )  # fmt: skip
    shown.show(long)
    assert shown.scroll_width() == 390
    shown.tokens.nth(3).tap()
    expect(shown.page.locator("#others table")).to_be_visible()
    assert shown.scroll_width() == 390
    text = shown.page.locator(".token-text")
    assert text.evaluate("(one) => one.scrollWidth <= one.clientWidth")


def test_a_long_list_unfolds_and_a_long_text_is_usable(
    open_page: Callable[..., TokenPage],
) -> None:
    shown = open_page()
    shown.show([piece(at, f" w{at}") for at in range(2048)])
    more = shown.page.get_by_text("1,448 more tokens")
    hidden = shown.page.locator("#list details li").first
    expect(hidden).not_to_be_visible()
    more.click()
    expect(hidden).to_be_visible()
    shown.tokens.nth(2047).click()
    expect(shown.page.locator("#others")).to_contain_text("Token 2,048")
