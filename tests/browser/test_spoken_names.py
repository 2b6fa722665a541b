"""What a screen reader is told: every control in every tab has a name, and says what it does."""

from collections.abc import Iterator

from playwright.sync_api import Error, Page, expect

from tests.browser.chat_page import SETTLE_MS, ChatPage
from tests.browser.fake_playground import FakePlayground

CONTROLS = {
    "button", "checkbox", "combobox", "link", "listbox", "menuitem", "radio", "searchbox", "slider",
    "spinbutton", "switch", "tab", "textbox",
}  # fmt: skip
OPEN_ALL = """() => {
  const folds = [...document.querySelectorAll("button.label-wrap:not(.open)")];
  const closed = folds.filter((fold) => fold.offsetParent);
  closed.forEach((fold) => fold.click());
  return !closed.length;
}"""
LOOKS = 20


def controls(page: Page) -> Iterator[tuple[str, str, str]]:
    """Role, name and HTML of all that Chromium's own accessibility tree has."""
    session = page.context.new_cdp_session(page)
    for node in session.send("Accessibility.getFullAXTree")["nodes"]:
        role = node.get("role", {}).get("value")
        if node.get("ignored") or role not in CONTROLS or "backendDOMNodeId" not in node:
            continue
        of_node = {"backendNodeId": node["backendDOMNodeId"]}
        try:
            html = session.send("DOM.getOuterHTML", of_node)["outerHTML"]
        except Error:  # drawn anew meanwhile
            continue
        yield role, node.get("name", {}).get("value", "").strip(), html[:200]
    session.detach()


def open_everything(page: Page) -> None:
    """Every closed fold that is visible, those inside others too."""
    page.wait_for_function(OPEN_ALL, polling=200)


def test_every_control_of_every_tab_has_a_name(real_chat: ChatPage) -> None:
    page, counts = real_chat.page, {}
    tabs = page.get_by_role("tab").all_inner_texts()
    assert len(tabs) >= 5
    for tab in tabs:
        page.get_by_role("tab", name=tab, exact=True).click()
        open_everything(page)
        found = list(controls(page))
        for _ in range(LOOKS):  # what just came is named within a second
            if all(name for _, name, _ in found):
                break
            page.wait_for_timeout(SETTLE_MS)
            found = list(controls(page))
        counts[tab] = len(found)
        assert [(tab, role, html) for role, name, html in found if not name] == []
    assert min(counts.values()) > 10, counts


def test_sending_and_stopping_are_named(fake: FakePlayground, chat: ChatPage) -> None:
    expect(chat.send_button).to_have_accessible_name("Send")
    fake.words, fake.seconds = ("word ",) * 200, 0.05
    chat.send("Hello")
    expect(chat.stop_button).to_have_accessible_name("Stop")
    chat.stop_button.click()
    expect(chat.send_button).to_have_accessible_name("Send")


def test_a_copy_button_does_not_take_a_boxes_name(chat: ChatPage) -> None:
    chat.page.get_by_role("tab", name="Prompt", exact=True).click()
    expect(chat.page.locator("#completion textarea")).to_have_accessible_name("Completion")
