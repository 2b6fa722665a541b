"""Conversations in the browser: kept, listed, renamed, deleted, carried in and out as files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from playwright.sync_api import BrowserContext, Download, expect

from gemma_space.playground import Playground
from gemma_space.types import Message
from gemma_space.ui import transcript
from tests.api.conftest import free_port
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.browser.fake_playground import FakePlayground


def titles(chat: ChatPage) -> list[str]:
    return chat.conversations.locator(".title").all_inner_texts()


def downloaded(chat: ChatPage, button: str) -> tuple[str, str]:
    """What a button downloads: file name and text."""
    with chat.page.expect_download() as waiting:
        chat.button(button).click()
    download: Download = waiting.value
    return download.suggested_filename, Path(download.path()).read_text(encoding="utf-8")


def test_a_reload_keeps_the_conversation(chat: ChatPage) -> None:
    chat.ask("Keep <this>")
    chat.reload()
    expect(chat.user_messages).to_have_text(transcript.escape("Keep <this>"))
    expect(chat.reply).to_have_text("A short reply.")
    expect(chat.footer).to_contain_text("Ended its turn")
    expect(chat.footer).to_contain_text("15 prompt + 3 new tokens · first after 0.07 s · 41.3")
    chat.ask("And go on")
    expect(chat.replies).to_have_count(2)


def test_a_reload_while_a_reply_streams(chat: ChatPage, fake: FakePlayground) -> None:
    fake.words, fake.seconds = tuple(f"word{n} " for n in range(200)), 0.05
    chat.send("Count")
    expect(chat.reply).to_contain_text("word3 ")
    chat.reload()
    expect(chat.user_messages).to_have_text("Count")
    fake.words, fake.seconds = ("Done.",), 0.0
    chat.button("Try again").click()
    expect(chat.reply).to_have_text("Done.")


def test_a_reload_before_the_first_word_offers_retry(chat: ChatPage, fake: FakePlayground) -> None:
    fake.library.load_steps = 100
    chat.send("Hello")
    expect(chat.footer).to_contain_text("Loading")
    chat.reload()
    fake.library.load_steps = 0
    expect(chat.user_messages).to_have_text("Hello")
    chat.button("Try again").click()
    expect(chat.reply).to_have_text("A short reply.")


def test_conversations_survive_a_server_restart(
    new_context: Callable[..., BrowserContext], tolerated: list[str]
) -> None:
    # What the page may meet while one server goes and the next comes.
    tolerated += ["503 (Service Unavailable)", "Server stopped unexpectedly.", "Failed to fetch",
                  "ERR_CONNECTION_REFUSED"]  # fmt: skip
    fake = cast(Playground, FakePlayground())
    port = free_port()
    with served(fake, port=port) as url:
        chat = ChatPage(new_context().new_page(), url).open()
        chat.ask("Remember me")
        chat.page.goto("about:blank")
    with served(fake, port=port) as again:
        assert again == url
        chat.open()
        expect(chat.user_messages).to_have_text("Remember me")
        chat.ask("Still there?")


def test_new_switch_rename_delete(chat: ChatPage) -> None:
    chat.ask("First conversation of all, with a title that is too long to show in full")
    chat.button("New conversation").first.click()
    expect(chat.user_messages).to_have_count(0)
    chat.ask("Second one")
    assert titles(chat) == ["Second one", "First conversation of all, with a title that is…"]

    chat.conversations.nth(1).locator(".title").click()
    expect(chat.user_messages).to_contain_text("First conversation of all")

    chat.conversations.nth(1).get_by_role("button", name="Rename").click()
    chat.page.get_by_role("textbox", name="New title").fill("Renamed <b>")
    chat.page.keyboard.press("Enter")
    expect(chat.conversations.first.locator(".title")).to_have_text("Renamed <b>")
    chat.reload()
    assert titles(chat) == ["Renamed <b>", "Second one"]

    chat.conversations.first.get_by_role("button", name="Delete").click()
    chat.button("Keep").click()
    expect(chat.conversations).to_have_count(2)
    chat.conversations.first.get_by_role("button", name="Delete").click()
    chat.page.locator(".deleting").get_by_role("button", name="Delete", exact=True).click()
    expect(chat.conversations).to_have_count(1)
    expect(chat.user_messages).to_have_text("Second one")
    assert [one["messages"][0]["content"] for one in chat.stored()] == ["Second one"]


def test_leaving_a_conversation_keeps_what_was_said(chat: ChatPage, fake: FakePlayground) -> None:
    fake.words, fake.seconds = tuple(f"word{n} " for n in range(200)), 0.05
    chat.send("Slow question")
    expect(chat.reply).to_contain_text("word3 ")
    chat.page.locator(".new-conversation").click()
    expect(chat.replies).to_have_count(0)
    expect(chat.send_button).to_be_visible()
    fake.words, fake.seconds = ("Quick.",), 0.0
    chat.ask("Quick question")
    expect(chat.reply).to_have_text("Quick.")
    chat.conversations.locator(".title", has_text="Slow question").click()
    expect(chat.reply).to_contain_text("word0 word1 word2 word3")
    expect(chat.footer).to_contain_text("Stopped by you")
    expect(chat.button("Continue")).to_be_visible()
    chat.until(lambda: fake.events == ["started", "closed", "started", "finished"])


def test_leaving_at_once_after_sending_mixes_nothing(chat: ChatPage, fake: FakePlayground) -> None:
    chat.ask("First")
    chat.page.locator(".new-conversation").click()
    expect(chat.replies).to_have_count(0)
    fake.words, fake.seconds = ("slow ", "but ", "sure"), 0.3
    chat.send("Second")
    first = chat.conversations.locator(".title", has_text="First")
    first.click()
    expect(chat.page.locator(".conversation.open")).to_have_count(1)
    chat.finished()
    first.click()
    expect(chat.user_messages).to_have_text("First")
    expect(chat.reply).to_have_text("A short reply.")
    kept = {one["messages"][0]["content"]: len(one["messages"]) for one in chat.stored()}
    assert kept in ({"First": 2, "Second": 2}, {"First": 2, "Second": 1})


def test_two_tabs_do_not_wipe_each_other(chat: ChatPage) -> None:
    other = ChatPage(chat.page.context.new_page(), chat.url).open()
    chat.ask("From the first tab")
    expect(other.conversations.locator(".title", has_text="From the first tab")).to_be_visible()
    other.ask("From the second tab")
    chat.ask("Again from the first tab")
    asked = [[m["content"] for m in one["messages"][::2]] for one in chat.stored()]
    assert sorted(asked) == [
        ["From the first tab", "Again from the first tab"],
        ["From the second tab"],
    ]
    other.conversations.locator(".title", has_text="From the first tab").click()
    expect(other.user_messages).to_have_count(2)
    other.ask("Joined")
    expect(chat.user_messages).to_have_count(3)


def test_export_and_import_as_json(chat: ChatPage) -> None:
    chat.ask("Export <me>")
    name, text = downloaded(chat, "Export JSON")
    assert name == "export-me.json"
    before = chat.stored()[0]
    assert json.loads(text)["messages"] == before["messages"]
    chat.import_text(text)
    expect(chat.conversations).to_have_count(2)
    expect(chat.page.get_by_text("Imported “Export <me>”.")).to_be_visible()
    imported = chat.stored()[0]
    assert imported["id"] != before["id"]
    assert imported["messages"] == before["messages"]
    expect(chat.footer).to_contain_text("41.3 tokens/s")


def test_export_as_markdown(chat: ChatPage) -> None:
    chat.ask("Export me")
    name, text = downloaded(chat, "Export Markdown")
    assert name == "export-me.md"
    assert text.startswith("# Export me\n\n## You\n\nExport me\n\n## Gemma\n\nA short reply.")
    assert "Ended its turn" in text


def test_an_empty_conversation_is_not_exported(chat: ChatPage) -> None:
    chat.button("Export JSON").click()
    expect(chat.page.get_by_text("nothing to export yet")).to_be_visible()


def test_a_list_of_messages_in_openais_shape(chat: ChatPage, fake: FakePlayground) -> None:
    chat.import_text(json.dumps([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": t} for t in ("Hel", "lo")]},
        {"role": "assistant", "content": "Hi."},
    ]))  # fmt: skip
    expect(chat.user_messages).to_have_text("Hello")
    chat.ask("And now?")
    assert fake.requests[-1].system_prompt == "Be brief."
    assert fake.requests[-1].messages[:2] == (
        Message(role="user", content="Hello"),
        Message(role="assistant", content="Hi."),
    )


BAD_FILES = {
    "not JSON": ("{", "This file is not JSON"),
    "a number": ("7", "holds no list of messages"),
    "null": ("null", "holds no list of messages"),
    "a text": ('"hello"', "holds no list of messages"),
    "no messages": ("{}", "holds no list of messages"),
    "messages is an object": ('{"messages": {"0": 1}}', "holds no list of messages"),
    "empty": ("[]", "has no messages"),
    "numbers as messages": ("[1, 2]", "Message 1 is not an object"),
    "null as message": ('[{"role":"user","content":"a"}, null]', "Message 2 is not an object"),
    "unknown role": ('[{"role":"wizard","content":"a"}]', "has the role “wizard”"),
    "no role": ('[{"content":"a"}]', "has the role"),
    "no content": ('[{"role":"user"}]', "Message 1 has no text"),
    "an image": (
        '[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]',
        "Only text messages",
    ),
    "a newer version": (
        '{"format":"gemma-space-conversation","version":2,"messages":[]}', "newer version",
    ),
    "too many messages": (
        json.dumps([{"role": "user", "content": "a"}] * 2001), "more than 2000 messages",
    ),
}  # fmt: skip


@pytest.mark.parametrize("names", [tuple(BAD_FILES)], ids=["all"])
def test_a_bad_import_says_what_is_wrong(chat: ChatPage, names: tuple[str, ...]) -> None:
    chat.ask("Stay")
    for name in names:
        text, message = BAD_FILES[name]
        chat.import_text(text)
        expect(chat.page.locator(".conversations-message"), name).to_contain_text(message)
    expect(chat.conversations).to_have_count(1)
    chat.ask("Still working?")


def test_an_import_brings_only_known_fields(chat: ChatPage) -> None:
    footer = {"title": "<img src=x>", "log": 7, "detail": ["x"], "extra": {"deep": []}}
    chat.import_text(json.dumps({
        "title": "<script>", "system_prompt": 7, "id": "../../x", "__proto__": {"polluted": 1},
        "messages": [
            {"role": "user", "content": "a", "footer": 1},
            {"role": "model", "content": "b", "footer": footer},
        ],
    }))  # fmt: skip
    expect(chat.reply).to_have_text("b")
    kept = chat.stored()[0]
    assert kept["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b",
         "footer": {"title": "<img src=x>", "log": "", "detail": ""}},
    ]  # fmt: skip
    assert kept["system_prompt"] == ""
    expect(chat.page.locator("#transcript img")).to_have_count(0)


def test_damaged_entries_are_left_alone(chat: ChatPage) -> None:
    chat.ask("Sound")
    chat.page.evaluate("""() => {
      const put = (name, text) => localStorage.setItem("gemma-space:conversation:" + name, text);
      put("bad", "{nonsense");
      put("odd", JSON.stringify({id: "odd", messages: 3}));
    }""")
    chat.reload()
    assert titles(chat) == ["Sound"]


def test_a_full_browser_storage_is_reported(chat: ChatPage) -> None:
    chat.page.evaluate("""() => {
      let size = 1 << 22;
      for (let n = 0; size > 50; n += 1) {
        try { localStorage.setItem(`filler${n}`, "x".repeat(size)); } catch { size >>= 1; }
      }
    }""")
    chat.ask("No room for this one")
    expect(chat.reply).to_have_text("A short reply.")
    expect(chat.page.get_by_text("This browser cannot keep the conversation")).to_be_visible()
