"""A conversation, from the first word to the last button."""

import re

from playwright.sync_api import expect

from gemma_space.playground import Playground
from gemma_space.types import Message
from tests.browser.chat_page import ChatPage
from tests.browser.fake_playground import FakePlayground

SLOW_WORDS = tuple(f"word{number} " for number in range(200))


def test_a_reply_streams_to_its_end(real_chat: ChatPage) -> None:
    real_chat.send("What is this playground?")
    expect(real_chat.stop_button).to_be_visible()
    real_chat.finished()
    expect(real_chat.reply).to_have_text(re.compile(r"\w{3}"))
    expect(real_chat.footer).to_contain_text(re.compile("Ended its turn|Reached the token limit"))
    expect(real_chat.footer).to_contain_text(re.compile(r"\d+ prompt \+ \d+ new tokens"))
    expect(real_chat.footer).to_contain_text("tokens/s")
    expect(real_chat.footer).to_contain_text("first after")
    expect(real_chat.page.locator("#context-meter")).to_contain_text("of 2,048 tokens")
    expect(real_chat.page.locator(".status-card")).to_contain_text("Gemma Space Demo")
    expect(real_chat.box).to_have_value("")


def test_stop_keeps_what_there_is_and_frees_the_engine(
    real_chat: ChatPage, real_server: tuple[Playground, str]
) -> None:
    playground, _ = real_server
    real_chat.begin_a_long_reply("Write me a poem about Machine Learning.")
    real_chat.stop_button.click()
    expect(real_chat.footer).to_contain_text("Stopped by you")
    real_chat.until(lambda: playground.library.status().queue == 0)
    real_chat.until(lambda: all(r.leases == 0 for r in playground.library.status().loaded))
    kept = real_chat.reply.inner_text()
    assert kept.strip()
    expect(real_chat.button("Continue")).to_be_visible()
    real_chat.reload()
    expect(real_chat.reply).to_have_text(kept, use_inner_text=True)
    expect(real_chat.footer).to_contain_text("Stopped by you")


def test_a_message_sent_right_after_stop_is_answered(chat: ChatPage, fake: FakePlayground) -> None:
    fake.words, fake.seconds = SLOW_WORDS, 0.05
    chat.send("Count")
    expect(chat.reply).to_contain_text("word3 ")
    chat.stop_button.click()
    expect(chat.send_button).to_be_visible()
    fake.words, fake.seconds = ("Yes.",), 0.0
    chat.send("Still there?")
    expect(chat.reply).to_have_text("Yes.")
    chat.finished()
    expect(chat.reply).to_have_text("Yes.")
    expect(chat.replies.first).to_contain_text("word3 ")
    expect(chat.replies.first).not_to_contain_text("Yes.")
    chat.until(lambda: fake.events == ["started", "closed", "started", "finished"])
    assert fake.requests[-1].messages[1].content.startswith("word0 word1 ")


def test_stop_while_the_model_loads(chat: ChatPage, fake: FakePlayground) -> None:
    fake.library.load_steps = 100
    chat.send("Hello")
    expect(chat.footer).to_contain_text("Loading Scripted Chat…")
    chat.stop_button.click()
    expect(chat.button("Try again")).to_be_visible()
    expect(chat.replies).to_have_count(0)
    expect(chat.user_messages).to_have_text("Hello")
    assert fake.events == []
    fake.library.load_steps = 0
    chat.button("Try again").click()
    expect(chat.reply).to_have_text("A short reply.")


def test_enter_sends_and_shift_enter_breaks_the_line(chat: ChatPage, fake: FakePlayground) -> None:
    chat.box.fill("one")
    chat.box.press("Shift+Enter")
    chat.box.type("two")
    chat.box.press("Enter")
    expect(chat.reply).to_have_text("A short reply.")
    assert fake.requests[-1].messages == (Message(role="user", content="one\ntwo"),)
    expect(chat.box).to_have_value("")


def test_an_empty_message_is_not_sent(chat: ChatPage, fake: FakePlayground) -> None:
    chat.send("   ")
    expect(chat.page.get_by_text("The message is empty.")).to_be_visible()
    expect(chat.box).to_have_value("   ")
    assert fake.requests == []


def test_a_second_message_waits_for_the_reply(chat: ChatPage, fake: FakePlayground) -> None:
    fake.words, fake.seconds = ("slow ",) * 600 + ("but sure",), 0.1
    chat.send("First")
    expect(chat.reply).to_contain_text("slow")
    chat.send("Second")
    expect(chat.page.get_by_text("A reply is on its way.")).to_be_visible()
    fake.seconds = 0.0
    expect(chat.reply).to_contain_text("slow but sure")
    expect(chat.box).to_have_value("Second")
    expect(chat.user_messages).to_have_count(1)


def test_an_example_starts_a_conversation(chat: ChatPage, fake: FakePlayground) -> None:
    chat.page.get_by_role("button", name="How do I get access to Gemma 2?").click()
    expect(chat.reply).to_have_text("A short reply.")
    chat.finished()
    assert fake.requests[-1].messages[0].content == "How do I get access to Gemma 2?"


def test_continue_goes_on_from_the_reply(chat: ChatPage, fake: FakePlayground) -> None:
    fake.finish_reason = "length"
    chat.ask("Hello")
    expect(chat.footer).to_contain_text("Reached the token limit")
    fake.finish_reason, fake.words = "stop", ("And ", "more.")
    chat.button("Continue").click()
    expect(chat.reply).to_have_text("A short reply.And more.")
    assert fake.requests[-1].reply_prefix == "A short reply."
    assert len(fake.requests[-1].messages) == 1
    expect(chat.replies).to_have_count(1)
    expect(chat.button("Continue")).to_have_count(0)


def test_retry_replaces_the_last_reply(chat: ChatPage, fake: FakePlayground) -> None:
    chat.ask("Hello")
    fake.words = ("Another ", "one.")
    chat.press_on_reply("Retry")
    expect(chat.reply).to_have_text("Another one.")
    expect(chat.replies).to_have_count(1)
    assert fake.requests[-1].messages == (Message(role="user", content="Hello"),)


def test_undo_takes_the_exchange_back(chat: ChatPage, fake: FakePlayground) -> None:
    chat.ask("First")
    chat.ask("Second")
    chat.press_on_reply("Undo")
    expect(chat.user_messages).to_have_count(1)
    expect(chat.replies).to_have_count(1)
    expect(chat.box).to_have_value("Second")
    expect(chat.page.locator(".conversation.busy")).to_have_count(0)
    said = ["First", "A short reply."]
    chat.until(lambda: [m["content"] for m in chat.stored()[0]["messages"]] == said)


def test_undoing_everything_leaves_nothing(chat: ChatPage) -> None:
    chat.ask("Only")
    chat.press_on_reply("Undo")
    expect(chat.user_messages).to_have_count(0)
    expect(chat.page.get_by_role("heading", name="What would you like to try?")).to_be_visible()
    chat.until(lambda: chat.stored() == [])


def test_editing_a_message_goes_on_from_there(chat: ChatPage, fake: FakePlayground) -> None:
    chat.ask("First")
    chat.ask("Second")
    fake.words = ("New ", "answer.")
    chat.edit(0, "Changed")
    expect(chat.reply).to_have_text("New answer.")
    expect(chat.user_messages).to_have_text(["Changed"])
    assert fake.requests[-1].messages == (Message(role="user", content="Changed"),)


def test_an_edited_reply_is_what_the_model_sees(chat: ChatPage, fake: FakePlayground) -> None:
    chat.ask("First")
    chat.edit(1, "My own words")
    expect(chat.reply).to_have_text("My own words")
    chat.ask("Second")
    assert fake.requests[-1].messages[1].content == "My own words"


def test_a_message_cannot_be_emptied(chat: ChatPage, fake: FakePlayground) -> None:
    chat.ask("First")
    chat.edit(0, "  ")
    expect(chat.page.locator("#notice")).to_contain_text("A message cannot be empty.")
    expect(chat.user_messages).to_have_text("First")
    expect(chat.reply).to_have_text("A short reply.")
    assert len(fake.requests) == 1


def test_an_error_keeps_the_message_and_offers_retry(chat: ChatPage, fake: FakePlayground) -> None:
    chat.ask("Hello")
    chat.send("Fail")
    alert = chat.page.locator("#notice .problem")
    expect(alert).to_contain_text("The model <b>stumbled</b>. Try again.")
    expect(chat.user_messages.last).to_have_text("Fail")
    failed = {"role": "user", "content": "Fail"}
    chat.until(lambda: chat.stored()[0]["messages"][-1] == failed)
    expect(chat.button("Try again")).to_be_visible()
    chat.edit(2, "Better")
    expect(chat.replies).to_have_count(2)
    expect(chat.reply).to_have_text("A short reply.")
    expect(alert).to_have_count(0)


def test_an_error_in_the_middle_keeps_what_was_said(chat: ChatPage, fake: FakePlayground) -> None:
    fake.fail_after = 2
    chat.ask("Hello")
    expect(chat.page.locator("#notice")).to_contain_text("The model <b>stumbled</b>.")
    expect(chat.reply).to_have_text("A short")
    expect(chat.footer).to_contain_text("Broken off by an error")
    chat.until(lambda: chat.stored()[0]["messages"][1]["content"] == "A short ")
    fake.fail_after = None
    chat.button("Continue").click()
    expect(chat.reply).to_have_text("A short A short reply.")
    assert fake.requests[-1].reply_prefix == "A short "


def test_a_control_out_of_range_keeps_the_message(chat: ChatPage, fake: FakePlayground) -> None:
    chat.open_settings()
    chat.page.get_by_label("Seed").fill("minus one")
    chat.send("Hello")
    expect(chat.page.locator("#notice")).to_contain_text("seed must be a whole number")
    expect(chat.user_messages).to_have_text("Hello")
    assert fake.requests == []


def test_system_prompt_and_controls_reach_the_model(chat: ChatPage, fake: FakePlayground) -> None:
    fake.notes = ("It was put in front of the first message.",)
    chat.open_settings()
    chat.page.get_by_label("System prompt", exact=True).fill("Be brief.")
    chat.page.get_by_label("Seed").fill("42")
    chat.page.get_by_role("button", name="Advanced").click()
    chat.page.get_by_label("Stop strings").fill("END\nSTOP")
    chat.ask("Hello")
    request = fake.requests[-1]
    assert request.system_prompt == "Be brief."
    assert (request.controls.seed, request.controls.stop) == (42, ("END", "STOP"))
    assert request.controls.temperature == 1.0
    chat.footer.get_by_role("button").first.click()
    expect(chat.footer).to_contain_text("It was put in front of the first message.")
    chat.reload()
    chat.open_settings()
    expect(chat.page.get_by_label("System prompt", exact=True)).to_have_value("Be brief.")


def test_a_base_model_points_to_the_prompt_tab(chat: ChatPage) -> None:
    chat.choose_model("Scripted Base")
    expect(chat.page.get_by_text("This is a base model.")).to_be_visible()
    chat.open_settings()
    expect(chat.page.get_by_label("number input for Temperature").first).to_have_value("0")
    chat.button("Open the Prompt tab").click()
    expect(chat.page.get_by_role("textbox", name="Prompt", exact=True)).to_be_visible()


def test_load_can_be_cancelled(chat: ChatPage, fake: FakePlayground) -> None:
    chat.choose_model("Scripted Base")
    fake.library.load_steps = 100
    chat.button("Load").click()
    progress = chat.page.locator("#sidebar .load")
    expect(progress).to_contain_text("Loading Scripted Base…")
    chat.button("Cancel").click()
    expect(chat.button("Load")).to_be_visible()
    expect(progress).to_have_count(0)
    expect(chat.button("Cancel")).to_have_count(0)
