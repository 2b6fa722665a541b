"""What the model was given, from any reply: on the demo model, by mouse, keyboard and phone."""

import json
import re
from collections.abc import Callable

from playwright.sync_api import BrowserContext, Locator, expect

from gemma_space.playground import Playground
from tests.browser.chat_page import ChatPage

GIVEN = "What the model was given"
SAME = re.compile(r"These are the ([\d,]+) tokens that produced this reply\.")


def panel(chat: ChatPage) -> Locator:
    return chat.page.locator("#xray")


def footer(chat: ChatPage, number: int) -> Locator:
    return chat.page.locator("#transcript .thought-group").nth(number)


def prompt_tokens(chat: ChatPage, number: int) -> str:
    """How many tokens a reply's own line counts."""
    found = re.search(r"([\d,]+) prompt", footer(chat, number).inner_text())
    assert found
    return found[1]


def open_link(chat: ChatPage, number: int) -> None:
    footer(chat, number).get_by_role("button").first.click()
    footer(chat, number).get_by_role("link", name=GIVEN).click()


def test_the_last_replys_prompt_opens_and_closes(real_chat: ChatPage) -> None:
    real_chat.open_settings()
    real_chat.page.get_by_label("System prompt", exact=True).fill("Be brief.")
    real_chat.ask("What is <start_of_turn>?")
    real_chat.button(GIVEN).click()
    shown = panel(real_chat)
    expect(shown).to_contain_text(SAME)
    found = SAME.search(shown.inner_text())
    assert found
    assert found[1] == prompt_tokens(real_chat, 0)
    expect(shown).to_contain_text("1 BOS")
    marks = shown.locator(".xray-text .control").all_inner_texts()
    assert marks == ["<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_turn>"]
    text = shown.get_by_role("region", name="The prompt").text_content()
    assert text == (
        "<bos><start_of_turn>user\nBe brief.\n\nWhat is <start_of_turn>?<end_of_turn>\n"
        "<start_of_turn>model\n"
    )
    expect(real_chat.page.locator("#xray-title")).to_be_focused()
    real_chat.page.keyboard.press("Escape")
    expect(shown).to_have_count(0)
    expect(real_chat.button(GIVEN)).to_be_focused()


def test_an_older_reply_after_a_reload_by_keyboard_alone(real_chat: ChatPage) -> None:
    for text in ("What is this playground?", "Tell me more.", "And what is a token?"):
        real_chat.ask(text)
    count = prompt_tokens(real_chat, 1)
    assert "prompt_ids" not in json.dumps(real_chat.stored())
    real_chat.reload()
    footer(real_chat, 1).get_by_role("button").first.focus()
    real_chat.page.keyboard.press("Enter")
    link = footer(real_chat, 1).get_by_role("link", name=GIVEN)
    expect(link).to_be_visible()
    link.focus()
    real_chat.page.keyboard.press("Enter")
    shown = panel(real_chat)
    expect(shown).to_contain_text("Reply 2 of 3")
    expect(shown).to_contain_text(f"These are the {count} tokens that produced this reply.")
    expect(shown).to_contain_text("Tell me more.")
    expect(shown).not_to_contain_text("And what is a token?")
    shown.get_by_role("button", name="Close").click()
    expect(shown).to_have_count(0)
    expect(real_chat.user_messages).to_have_count(3)


def test_a_changed_conversation_is_told(real_chat: ChatPage) -> None:
    real_chat.ask("Hello")
    real_chat.ask("Who are you?")
    real_chat.edit(1, "My own words")
    expect(real_chat.replies.first).to_have_text("My own words")
    open_link(real_chat, 0)
    expect(panel(real_chat)).to_contain_text("this reply, which you have edited since.")
    open_link(real_chat, 1)
    expect(panel(real_chat)).to_contain_text("The conversation or the model has changed since")
    expect(panel(real_chat)).to_contain_text("My own words")


def test_a_conversation_kept_without_records_still_opens(real_chat: ChatPage) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    real_chat.import_text(json.dumps({"messages": messages}))
    expect(real_chat.reply).to_have_text("Hello.")
    real_chat.button(GIVEN).click()
    expect(panel(real_chat)).to_contain_text("Nothing was kept about how this reply was made.")
    expect(panel(real_chat).locator(".xray-text").first).to_contain_text("Hi")


def test_records_travel_in_exported_files(real_chat: ChatPage) -> None:
    real_chat.ask("Hello")
    kept = real_chat.stored()[0]
    real_chat.import_text(json.dumps({"messages": kept["messages"]}))
    expect(real_chat.page.get_by_text("Imported “Hello”.")).to_be_visible()
    expect(real_chat.conversations).to_have_count(2)
    real_chat.reload()
    real_chat.button(GIVEN).click()
    expect(panel(real_chat)).to_contain_text(SAME)


def test_the_panel_leaves_when_the_conversation_goes_on(real_chat: ChatPage) -> None:
    real_chat.ask("Hello")
    real_chat.button(GIVEN).click()
    expect(panel(real_chat)).to_contain_text(SAME)
    real_chat.ask("And now?")
    expect(panel(real_chat)).to_have_count(0)
    real_chat.button(GIVEN).click()
    expect(panel(real_chat)).to_contain_text("Reply 2 of 2")
    real_chat.press_on_reply("Undo")
    expect(panel(real_chat)).to_have_count(0)
    expect(real_chat.user_messages).to_have_count(1)


def test_it_opens_while_another_reply_is_written(real_chat: ChatPage) -> None:
    real_chat.ask("Hello")
    real_chat.begin_a_long_reply("Write me a poem about Machine Learning.")
    expect(footer(real_chat, 1)).to_contain_text("Writing…")
    open_link(real_chat, 0)
    expect(panel(real_chat)).to_contain_text("Reply 1 of 2")
    expect(panel(real_chat)).to_contain_text(SAME)
    real_chat.stop_button.click()
    expect(footer(real_chat, 1)).to_contain_text("Stopped by you")
    expect(panel(real_chat)).to_contain_text("Reply 1 of 2")
    open_link(real_chat, 1)
    expect(panel(real_chat)).to_contain_text("Reply 2 of 2")
    expect(panel(real_chat)).to_contain_text(SAME)


def test_on_a_phone_nothing_is_cut_off(
    real_server: tuple[Playground, str], new_context: Callable[..., BrowserContext]
) -> None:
    context = new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    chat = ChatPage(context.new_page(), real_server[1]).open()
    chat.ask("https://example.org/" + "long" * 60)
    footer(chat, 0).get_by_role("button").first.tap()
    footer(chat, 0).get_by_role("link", name=GIVEN).tap()
    expect(panel(chat)).to_contain_text(SAME)
    panel(chat).get_by_text("Token by token").tap()
    expect(panel(chat).locator(".xray-tokens li").first).to_be_visible()
    assert chat.scroll_width() <= 390
