"""A link to a prompt in a real browser: opened once, copied whatever the browser allows."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from gemma_space import share_link
from gemma_space.assets import ASSETS
from gemma_space.errors import GemmaSpaceError
from gemma_space.share_link import SharedPrompt
from gemma_space.ui.events import Updates, Values, asked_by, listen
from gemma_space.ui.page import launch_options
from gemma_space.ui.scripted import for_script, heard, scripted
from tests.browser.fake_playground import FakePlayground

MODEL = "google/gemma-3-1b-it"
TEXT = "Zwölf Boxkämpfer <b>jagen</b>\nViktor 東京 🙂 & co"
CLIPBOARD = ["clipboard-read", "clipboard-write"]
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
NO_COPYING = f"{NO_CLIPBOARD}; document.execCommand = () => false;"


def build() -> gr.Blocks:
    """A page with one tab in front of the prompt, as small as the wiring allows."""
    with gr.Blocks() as demo, asked_by(FakePlayground().visitors):
        opener = scripted("GemmaSpace.link.mount(trigger);", visible="hidden")
        with gr.Tabs(selected="first") as tabs:
            with gr.Tab("First", id="first"):
                gr.Textbox(label="Elsewhere")
            with gr.Tab("Prompt", id="prompt"):
                prompt = gr.Textbox(label="Prompt", lines=3)
                share = gr.Button("Copy link")
                scripted("GemmaSpace.link.place(element);", elem_id="link")
                outbox = heard("GemmaSpace.link.made(props.value);")

    def on_open(event: gr.EventData) -> Updates:
        shared = share_link.read(event._data["run"])
        return {prompt: shared.prompt, tabs: gr.Tabs(selected="prompt")}

    def on_share(values: Values) -> Updates:
        state = SharedPrompt(prompt=values[prompt], model=MODEL)
        return hand_over({"fragment": share_link.encode(state)})

    def not_shared(text: str, _values: Values) -> Updates:
        return hand_over({"problem": text})

    def hand_over(made: dict[str, Any]) -> Updates:
        return {outbox: for_script({**made, "stamp": time.time_ns() // 1000})}

    with demo, asked_by(FakePlayground().visitors):
        listen([opener.select], on_open, outputs=[prompt, tabs])
        listen([share.click], on_share, {prompt}, [outbox], on_error=not_shared)
    return demo


@pytest.fixture(scope="module")
def url(browser: Browser) -> Iterator[str]:
    demo, options = build(), launch_options()
    own = (ASSETS / "js" / "link.js").read_text(encoding="utf-8")
    options["head"] += f"\n<script>\n{own}\n</script>"
    _, address, _ = demo.launch(
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        run_history=False,
        _frontend=False,
        **options,
    )
    yield address
    demo.close()


@pytest.fixture
def open_page(url: str, new_context: Callable[..., BrowserContext]) -> Callable[..., Page]:
    """The page at an address that goes on like this, perhaps after a script of the test's own."""

    def make(rest: str = "", script: str = "", **options: object) -> Page:
        page = new_context(**options).new_page()
        if script:
            page.add_init_script(script)
        page.goto(url + rest)
        return page

    return make


def fragment(text: str = TEXT) -> str:
    return share_link.encode(SharedPrompt(prompt=text, model=MODEL))


def prompt(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Prompt", exact=True)


def status(page: Page) -> Locator:
    return page.locator("#link").get_by_role("status")


def write(page: Page, text: str = TEXT) -> Page:
    page.get_by_role("tab", name="Prompt").click()
    prompt(page).fill(text)
    return page


def press(page: Page) -> None:
    page.get_by_role("button", name="Copy link").click()


def clipboard(page: Page) -> str:
    return page.evaluate("navigator.clipboard.readText()")


# --- opening a link


def test_a_link_fills_the_tab_once(open_page: Callable[..., Page], url: str) -> None:
    page = open_page(f"?__theme=dark{fragment()}")
    expect(prompt(page)).to_have_value(TEXT)
    assert page.url == f"{url}?__theme=dark"
    page.reload()
    expect(page.get_by_role("textbox", name="Elsewhere")).to_be_visible()
    write(page, "")
    expect(prompt(page)).to_have_value("")


def test_a_link_pasted_into_an_open_page(open_page: Callable[..., Page], url: str) -> None:
    page = write(open_page(), "mine")
    for text in (TEXT, "another", TEXT):
        page.evaluate("(hash) => { location.hash = hash; }", fragment(text))
        expect(prompt(page)).to_have_value(text)
        assert page.url == url


@pytest.mark.parametrize("rest", ["", "#", "#first", "#runs=1"])
def test_other_addresses_are_left_alone(
    open_page: Callable[..., Page], url: str, rest: str
) -> None:
    page = open_page(rest)
    expect(page.get_by_role("textbox", name="Elsewhere")).to_be_visible()
    write(page, "")
    expect(prompt(page)).to_have_value("")
    assert page.url == url + rest


@pytest.mark.parametrize(
    ("rest", "words"),
    [("#run=", "damaged"), ("#run=%00<b>", "damaged"), ("#run=" + "A" * 9000, "too long")],
)
def test_a_link_that_cannot_be_read(
    open_page: Callable[..., Page], url: str, rest: str, words: str
) -> None:
    page = open_page(rest)
    expect(page.get_by_text(words)).to_be_visible()
    expect(page.get_by_role("textbox", name="Elsewhere")).to_be_visible()
    assert page.url == url


# --- making one


def test_a_copied_link_opens_the_same_prompt(open_page: Callable[..., Page], url: str) -> None:
    page = write(open_page("?__sign=secret", permissions=CLIPBOARD))
    expect(status(page)).to_have_text("")
    press(page)
    expect(status(page)).to_have_text("Link copied.")
    assert clipboard(page) == url + fragment()  # and nothing of the address it was made at
    other = open_page(fragment())
    expect(prompt(other)).to_have_value(TEXT)


def test_the_same_link_is_copied_again(open_page: Callable[..., Page]) -> None:
    page = write(open_page(permissions=CLIPBOARD))
    press(page)
    expect(status(page)).to_have_text("Link copied.")
    page.evaluate("navigator.clipboard.writeText('something else')")
    page.evaluate(
        """() => { window.said = []; new MutationObserver(() =>
        window.said.push(document.querySelector('#link [role=status]').textContent)
        ).observe(document.querySelector('#link'), {childList: true, subtree: true}); }"""
    )
    press(page)
    page.wait_for_function("window.said.at(-1) === 'Link copied.'")
    assert page.evaluate("window.said[0]") == ""  # a change that a screen reader speaks
    assert clipboard(page).endswith(fragment())


def test_copying_without_the_clipboards_api(open_page: Callable[..., Page], url: str) -> None:
    page = write(open_page(script=NO_CLIPBOARD))
    press(page)
    expect(status(page)).to_have_text("Link copied.")
    expect(page.get_by_role("button", name="Copy link")).to_be_focused()
    prompt(page).fill("")
    prompt(page).press("Control+V")
    expect(prompt(page)).to_have_value(url + fragment())


def test_a_link_to_copy_by_hand(open_page: Callable[..., Page], url: str) -> None:
    page = write(open_page(script=NO_COPYING))
    press(page)
    expect(status(page)).to_contain_text("Copy the link from this box")
    box = page.get_by_role("textbox", name="Link to this prompt")
    expect(box).to_be_focused()
    expect(box).to_have_value(url + fragment())
    selected = box.evaluate("(it) => it.value.slice(it.selectionStart, it.selectionEnd)")
    assert selected == url + fragment()
    box.press("x")
    expect(box).to_have_value(url + fragment())


def test_why_there_is_no_link(open_page: Callable[..., Page]) -> None:
    page = write(open_page(permissions=CLIPBOARD))
    press(page)
    expect(status(page)).to_have_text("Link copied.")
    page.evaluate("navigator.clipboard.writeText('mine')")
    prompt(page).fill("x" * share_link.MAX_CHARACTERS)
    press(page)
    expect(status(page)).to_contain_text("too long for a link")
    assert clipboard(page) == "mine"
    with pytest.raises(GemmaSpaceError):
        fragment("x" * share_link.MAX_CHARACTERS)
