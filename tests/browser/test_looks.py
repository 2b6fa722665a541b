"""Small and large screens, light and dark: nothing overflows, covers the page or fades away."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat_page import ChatPage
from tests.browser.fake_playground import FakePlayground

PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True}
LONG = (
    "# Heading\n\n```python\nprint('" + "x" * 300 + "')\n```\n\n$$" + "x + " * 80 + "y$$\n\n"
    + "| " + " | ".join(["wide column"] * 12) + " |\n|" + "---|" * 12 + "\n\n" + "w" * 400
    + " https://example.com/" + "a" * 300 + "\n\n`" + "c" * 200 + "`"
)  # fmt: skip

# WCAG contrast of an element's text against the first opaque background behind it.
CONTRAST = """(selector) => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const element = [...document.querySelectorAll(selector)].find((one) => one.offsetParent);
  if (!element) return null;
  let behind = element, back = [0, 0, 0, 0];
  while (behind && (back[3] ?? 1) === 0) {
    back = parse(getComputedStyle(behind).backgroundColor);
    behind = behind.parentElement;
  }
  const [one, other] = [luminance(parse(getComputedStyle(element).color)), luminance(back)];
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""
READABLE = (
    "[data-testid=user] .prose p", "[data-testid=bot] .prose p", ".thought-group .title .prose p",
    ".thought-group .duration", ".meter-text", ".hint", ".section-title h2", ".facts li",
    ".model-note p", ".status-card", ".status-card b", ".conversation .title", ".link-button",
    ".tab-container button.selected", ".tab-container button:not(.selected)",
    "#settings .label-wrap span", ".problem", "#system-prompt label span", ".example",
    ".placeholder p", "#next-steps button", "#transcript .token.comment",
)  # fmt: skip


def contrasts(page: Page) -> dict[str, float]:
    found = {selector: page.evaluate(CONTRAST, selector) for selector in READABLE}
    return {selector: ratio for selector, ratio in found.items() if ratio is not None}


def test_nothing_overflows_on_a_phone(
    fake: FakePlayground, open_chat: Callable[..., ChatPage]
) -> None:
    chat = open_chat(**PHONE)
    assert chat.scroll_width() == 390
    expect(chat.page.get_by_role("heading", name="What would you like to try?")).to_be_in_viewport()
    expect(chat.box).to_be_in_viewport()
    fake.words, fake.finish_reason = (LONG,), "length"
    chat.ask("w" * 300)
    assert chat.scroll_width() == 390
    chat.open_settings()
    assert chat.scroll_width() == 390
    chat.page.get_by_role("tab", name="Prompt").click()
    expect(chat.page.get_by_role("textbox", name="Prompt", exact=True)).to_be_visible()
    assert chat.scroll_width() == 390


def test_the_sidebar_on_a_phone(fake: FakePlayground, open_chat: Callable[..., ChatPage]) -> None:
    chat = open_chat(**PHONE)
    model = chat.page.get_by_role("combobox", name="Checkpoint")
    expect(model).not_to_be_in_viewport()
    chat.page.get_by_role("button", name="Toggle Sidebar").click()
    expect(model).to_be_in_viewport()
    chat.page.locator(".new-conversation").click()
    expect(model).not_to_be_in_viewport()
    expect(chat.box).to_be_focused()


def test_the_composer_stays_in_sight(chat: ChatPage, fake: FakePlayground) -> None:
    fake.words = ("line\n\n" * 100,)
    chat.ask("Long, please")
    expect(chat.box).to_be_in_viewport()
    expect(chat.footer).to_be_in_viewport()  # the page followed the reply


def test_dark_follows_the_system_and_the_switch(
    fake: FakePlayground, open_chat: Callable[..., ChatPage]
) -> None:
    chat = open_chat(color_scheme="dark")
    body = chat.page.locator("body")
    expect(body).to_contain_class("dark")
    chat.button("Switch to light colours").click()
    expect(body).not_to_contain_class("dark")
    chat.reload()
    expect(body).not_to_contain_class("dark")
    chat.button("Switch to dark colours").click()
    expect(body).to_contain_class("dark")
    chat.page.emulate_media(color_scheme="light")  # nothing chosen any more: the system decides
    expect(body).not_to_contain_class("dark")


@pytest.mark.parametrize(("asked", "other"), [("dark", "light"), ("light", "dark")])
def test_the_page_looks_as_the_one_that_frames_it_asks(
    fake: FakePlayground, open_chat: Callable[..., ChatPage], asked: str, other: str
) -> None:
    """The Hub adds `__theme` to a Space's address; what the person chose here comes first."""
    chat = open_chat(color_scheme=other)
    page = chat.page
    page.goto(f"{page.url}?__theme={asked}")
    assert chat.ready()
    # A frame of another site may have no storage.
    no = "{ get() { throw new DOMException('no'); } }"
    page.add_script_tag(content=f"Object.defineProperty(window, 'localStorage', {no})")
    is_dark = "document.body.classList.contains('dark')"
    page.wait_for_function(f"{is_dark} === {str(asked == 'dark').lower()}")
    chat.button(f"Switch to {other} colours").click()
    page.wait_for_function(f"{is_dark} === {str(other == 'dark').lower()}")
    chat.button(f"Switch to {asked} colours").click()
    page.wait_for_function(f"{is_dark} === {str(asked == 'dark').lower()}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(
    scheme: str, fake: FakePlayground, open_chat: Callable[..., ChatPage]
) -> None:
    chat = open_chat(color_scheme=scheme)
    found = contrasts(chat.page)
    code = "```python\ndef f(): # comment\n  g('text', 42)\n```\n[link](https://example.com)"
    fake.words, fake.finish_reason, fake.notes = (code,), "length", ("A note.",)
    chat.ask("Hello")
    chat.open_settings()
    found |= contrasts(chat.page)
    chat.send("Fail")
    expect(chat.page.locator("#notice .problem")).to_be_visible()
    found |= contrasts(chat.page)
    assert set(READABLE) <= set(found)
    assert {selector: ratio for selector, ratio in found.items() if ratio < 4.5} == {}
