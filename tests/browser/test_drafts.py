"""What was typed and not sent is there again after a reload of the page."""

from playwright.sync_api import Locator, Page, expect

from tests.browser.chat_page import ChatPage


def box(page: Page, name: str) -> Locator:
    return page.locator(f"#{name} textarea")


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def test_drafts_of_every_tab_outlive_a_reload(chat: ChatPage) -> None:
    page = chat.page
    chat.box.fill("Half a <question>\nand more")
    open_tab(page, "Prompt")
    box(page, "prompt").fill("Once upon")
    open_tab(page, "Compare")
    box(page, "compare-text").fill("Which of you")
    for _ in range(2):  # the second time no tab but the first was opened in between
        chat.reload()
        expect(chat.box).to_have_value("Half a <question>\nand more")
    open_tab(page, "Prompt")
    expect(box(page, "prompt")).to_have_value("Once upon")
    expect(page.locator("#token-count")).to_contain_text("token")
    open_tab(page, "Compare")
    expect(box(page, "compare-text")).to_have_value("Which of you")
    open_tab(page, "Chat")
    chat.box.press("Enter")
    expect(chat.user_messages).to_have_count(1)
    chat.finished()


def test_what_was_sent_or_deleted_does_not_come_back(chat: ChatPage) -> None:
    chat.ask("Sent")
    chat.box.fill("Given up")
    chat.box.fill("")
    chat.box.fill("Kept")
    chat.reload()
    expect(chat.box).to_have_value("Kept")
    chat.box.fill("")
    chat.reload()
    chat.page.wait_for_function("() => !sessionStorage.getItem('gemma-space:draft:message')")
    expect(chat.box).to_have_value("")


def test_what_is_typed_anew_wins(chat: ChatPage) -> None:
    chat.box.fill("Old")
    chat.page.reload()
    chat.box.fill("New")  # before the page has looked
    chat.ready()
    chat.page.reload()
    expect(chat.box).to_have_value("New")


def test_a_tab_of_its_own_has_drafts_of_its_own(chat: ChatPage) -> None:
    chat.box.fill("Mine alone")
    chat.reload()
    other = ChatPage(chat.page.context.new_page(), chat.url).open()
    open_tab(other.page, "Prompt")
    expect(box(other.page, "prompt")).to_have_value("")
    assert other.page.evaluate("Object.keys(sessionStorage).filter((k) => /draft/.test(k))") == []
