"""The Prompt tab: a raw text, continued."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from gemma_space.playground import Playground
from tests.browser.chat_page import ChatPage
from tests.browser.fake_playground import FakePlayground


def open_tab(chat: ChatPage) -> ChatPage:
    chat.page.get_by_role("tab", name="Prompt").click()
    expect(prompt(chat)).to_be_visible()
    return chat


def prompt(chat: ChatPage) -> Locator:
    return chat.page.get_by_role("textbox", name="Prompt", exact=True)


def completion(chat: ChatPage) -> Locator:
    return chat.page.locator("#completion textarea")


def footer(chat: ChatPage) -> Locator:
    return chat.page.locator("#completion-footer")


@pytest.fixture
def tab(chat: ChatPage) -> ChatPage:
    return open_tab(chat)


def tokens_counted(count: Locator) -> int:
    found = re.search(r"(\d+) of", count.inner_text())  # Gradio says “processing” in front
    assert found is not None
    return int(found[1])


def test_a_real_completion(real_chat: ChatPage, real_server: tuple[Playground, str]) -> None:
    open_tab(real_chat)
    prompt(real_chat).fill("<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n")
    count = real_chat.page.locator("#token-count")
    expect(count).to_contain_text(re.compile(r"\d+ of 2,048 tokens"))
    as_tokens = tokens_counted(count)
    real_chat.page.get_by_label("Read control tokens").uncheck()
    expect(count).not_to_contain_text(re.compile(rf"\b{as_tokens} of"))
    assert tokens_counted(count) > as_tokens
    real_chat.page.get_by_label("Read control tokens").check()
    real_chat.button("Run").click()
    reason = re.compile("Ended its turn|Reached the token limit")
    expect(footer(real_chat)).to_contain_text(reason, timeout=60_000)
    expect(footer(real_chat)).to_contain_text(f"{as_tokens} prompt")
    expect(completion(real_chat)).not_to_have_value("")


@pytest.mark.parametrize("keys", ["Control+Enter", "Meta+Enter"])
def test_the_keyboard_runs_what_is_written(tab: ChatPage, fake: FakePlayground, keys: str) -> None:
    prompt(tab).fill("Once")
    prompt(tab).press("Enter")
    prompt(tab).press(keys)
    expect(footer(tab)).to_contain_text("Ended its turn")
    expect(prompt(tab)).to_have_value("Once\n")  # Enter alone is a line, and the last one is not


def test_run_and_continue_from_output(tab: ChatPage, fake: FakePlayground) -> None:
    prompt(tab).fill("Once upon a time")
    expect(tab.page.locator("#token-count")).to_contain_text("5 of 2,048 tokens")
    expect(tab.button("Continue from output")).to_be_disabled()
    tab.button("Run").click()
    expect(completion(tab)).to_have_value("A short reply.")
    expect(footer(tab)).to_contain_text("Ended its turn")
    expect(footer(tab)).to_contain_text("15 prompt + 3 new tokens")
    tab.button("Continue from output").click()
    expect(prompt(tab)).to_have_value("Once upon a timeA short reply.")
    expect(tab.button("Run")).to_be_enabled()
    assert [request.prompt for request in fake.completions] == [
        "Once upon a time", "Once upon a timeA short reply.",
    ]  # fmt: skip


def test_stop_keeps_the_completion(tab: ChatPage, fake: FakePlayground) -> None:
    fake.words, fake.seconds = tuple(f"word{n} " for n in range(200)), 0.05
    tab.button("Run").click()
    expect(completion(tab)).to_have_value(re.compile("word3 "))
    tab.page.locator("#stop").click()
    expect(footer(tab)).to_contain_text("Stopped by you")
    expect(completion(tab)).to_have_value(re.compile("word3 "))
    expect(tab.button("Continue from output")).to_be_enabled()
    expect(tab.button("Run")).to_be_enabled()
    tab.until(lambda: fake.events == ["started", "closed"])


def test_stop_while_the_model_loads(tab: ChatPage, fake: FakePlayground) -> None:
    fake.library.load_steps = 100
    tab.button("Run").click()
    expect(footer(tab)).to_contain_text("Loading Scripted Chat…")
    tab.page.locator("#stop").click()
    expect(footer(tab)).to_contain_text("Stopped before the first token.")


def test_switches_and_controls_reach_the_model(tab: ChatPage, fake: FakePlayground) -> None:
    tab.page.get_by_label("Add BOS").uncheck()
    tab.page.get_by_label("Read control tokens").uncheck()
    tab.page.get_by_role("button", name="Generation settings").click()
    tab.page.locator("#prompt-settings").get_by_label("Seed").fill("42")
    prompt(tab).fill("  Exactly <bos> this\n")
    tab.button("Run").click()
    expect(completion(tab)).to_have_value("A short reply.")
    request = fake.completions[-1]
    assert request.prompt == "  Exactly <bos> this\n"
    assert (request.add_bos, request.parse_special, request.controls.seed) == (False, False, 42)


def test_an_error_keeps_the_prompt(tab: ChatPage, fake: FakePlayground) -> None:
    prompt(tab).fill("Fail")
    tab.button("Run").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("The model <b>stumbled</b>. Try again.")
    expect(prompt(tab)).to_have_value("Fail")
    expect(tab.button("Run")).to_be_enabled()


def test_an_error_keeps_the_run_before_and_is_no_run(tab: ChatPage, fake: FakePlayground) -> None:
    tab.button("Run").click()
    expect(completion(tab)).to_have_value("A short reply.")
    fake.words, fake.fail_after = ("", "never said"), 1
    tab.button("Run").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("stumbled")
    expect(completion(tab)).to_have_value("A short reply.")
    expect(tab.page.locator("#runs")).to_be_hidden()
    fake.words, fake.fail_after = ("Once ", "upon "), 1
    tab.button("Run").click()
    expect(completion(tab)).to_have_value("Once ")
    expect(tab.page.locator("#runs")).to_contain_text("broken off by an error")
    expect(tab.page.locator("#runs")).not_to_contain_text("stopped by you")
    tab.page.locator("#runs").get_by_role("radio").first.check()
    expect(completion(tab)).to_have_value("A short reply.")
    tab.page.locator("#runs").get_by_role("radio").last.check()
    expect(footer(tab)).to_contain_text("Broken off by an error")


def test_a_score_that_is_stopped_leaves_the_run(tab: ChatPage, fake: FakePlayground) -> None:
    tab.button("Run").click()
    expect(completion(tab)).to_have_value("A short reply.")
    fake.words, fake.seconds = ("word ",) * 200, 0.05
    tab.page.get_by_label("Add BOS").uncheck()
    prompt(tab).fill("Some text")
    tab.page.locator("#score").click()
    expect(footer(tab)).to_contain_text("of 200 tokens scored")
    tab.page.locator("#stop").click()
    expect(footer(tab)).to_contain_text("Stopped by you")
    expect(completion(tab)).to_have_value("A short reply.")
    expect(tab.button("Continue from output")).to_be_enabled()
    assert [(score.text, score.add_bos) for score in fake.scores] == [("Some text", False)]


def test_both_tabs_keep_their_own(
    chat: ChatPage, fake: FakePlayground, open_chat: Callable[..., ChatPage]
) -> None:
    chat.ask("Hello")
    open_tab(chat)
    chat.page.get_by_role("tab", name="Chat").click()
    expect(chat.user_messages).to_have_text("Hello")
