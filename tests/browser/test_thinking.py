"""A model that thinks: the switch where there is one, and thoughts that fold up by themselves."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, expect

from gemma_space.playground import Playground
from gemma_space.types import Generation
from gemma_space.ui.present import THOUGHT_AWAY
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.browser.fake_playground import FakePlayground

SECONDS = 30


class Thinker(FakePlayground):
    """Thinks, waits for `go_on`, and then says its words, or ends there if it has none."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def _generate(self, text: str) -> Iterator[Generation]:
        plan = replace(self._generation(text, 1, None), thinking="A plan\nin two lines")
        yield plan
        self.go_on.wait(SECONDS)
        if not self.words:
            yield replace(plan, finish_reason="length")
        for update in super()._generate(text):
            yield replace(update, thinking=plan.thinking)


@pytest.fixture(scope="module")
def thinking_server(browser: Browser) -> Iterator[tuple[Thinker, str]]:
    thinker = Thinker()
    with served(cast(Playground, thinker)) as url:
        yield thinker, url


@pytest.fixture
def thinker(thinking_server: tuple[Thinker, str]) -> Thinker:
    thinker, _ = thinking_server
    thinker.reset()
    thinker.go_on.clear()
    return thinker


@pytest.fixture
def thinking(
    thinker: Thinker,
    thinking_server: tuple[Thinker, str],
    new_context: Callable[..., BrowserContext],
) -> ChatPage:
    return ChatPage(new_context().new_page(), thinking_server[1]).open()


def thoughts(chat: ChatPage) -> Locator:
    return chat.page.locator("#transcript .thought-group").first


def answer(chat: ChatPage) -> Locator:
    """The last reply's text: what has no thoughts and no footer in it."""
    messages = chat.page.locator("#transcript [data-testid=bot]")
    return messages.filter(has_not=chat.page.locator(".thought-group")).last


def test_the_switch_is_there_for_models_that_know_it(thinking: ChatPage, thinker: Thinker) -> None:
    thinker.go_on.set()
    thinking.open_settings()
    switch = thinking.page.get_by_label("Thinking", exact=True)
    expect(switch).to_have_count(0)
    thinking.choose_model("Scripted Large")
    expect(switch).to_be_visible()
    switch.check()
    thinking.ask("Hello")
    assert thinker.requests[-1].thinking is True
    thinking.choose_model("Scripted Chat")
    expect(switch).to_have_count(0)
    thinking.ask("Hello again")
    assert thinker.requests[-1].thinking is None


def test_thoughts_show_while_they_come_and_fold_up_after(
    thinking: ChatPage, thinker: Thinker
) -> None:
    thinking.send("Hello")
    expect(thoughts(thinking)).to_contain_text("in two lines")
    expect(thinking.footer).to_contain_text("Thinking…")
    thinker.go_on.set()
    thinking.finished()
    expect(answer(thinking)).to_have_text("A short reply.")
    expect(thoughts(thinking)).to_contain_text("Thinking")
    expect(thoughts(thinking)).not_to_contain_text("in two lines")
    thoughts(thinking).get_by_role("button").first.click()
    expect(thoughts(thinking)).to_contain_text("in two lines")
    thinking.reload()
    expect(answer(thinking)).to_have_text("A short reply.")
    expect(thoughts(thinking)).not_to_contain_text("in two lines")
    thoughts(thinking).get_by_role("button").first.press("Enter")
    expect(thoughts(thinking)).to_contain_text("in two lines")
    thinking.ask("And?")
    assert [m.content for m in thinker.requests[-1].messages] == [
        "Hello", "A short reply.", "And?",
    ]  # fmt: skip


def test_a_budget_spent_on_thoughts_can_be_tried_again(
    thinking: ChatPage, thinker: Thinker
) -> None:
    thinker.words = ()
    thinker.go_on.set()
    thinking.ask("Hello")
    expect(thinking.footer).to_contain_text(THOUGHT_AWAY)
    expect(thinking.button("Continue")).to_have_count(0)
    thinker.words = ("Four.",)
    thinking.button("Try again").click()
    expect(answer(thinking)).to_have_text("Four.")
    thinking.finished()
    assert [m.content for m in thinker.requests[-1].messages] == ["Hello"]
    expect(thinking.button("Try again")).to_have_count(0)


def test_stopped_while_thinking_the_thoughts_stay(thinking: ChatPage, thinker: Thinker) -> None:
    thinking.send("Hello")
    expect(thoughts(thinking)).to_contain_text("in two lines")
    thinking.stop_button.click()
    expect(thinking.footer).to_contain_text("Stopped by you")
    thinker.go_on.set()
    thinking.finished()
    expect(thinking.button("Try again")).to_be_visible()
    thinking.until(lambda: len(thinking.stored()[0]["messages"]) == 2)
    assert thinking.stored()[0]["messages"][1]["thinking"] == "A plan\nin two lines"


def test_what_is_edited_of_a_reply_is_its_text(thinking: ChatPage, thinker: Thinker) -> None:
    thinker.go_on.set()
    thinking.ask("Hello")
    transcript = thinking.page.locator("#transcript")
    transcript.get_by_label("Edit", exact=True).nth(1).click()
    boxes = transcript.locator("textarea:visible")
    expect(boxes).to_have_count(1)
    expect(boxes).to_have_value("A short reply.")
    boxes.fill("My words")
    transcript.get_by_label("Submit", exact=True).click()
    expect(answer(thinking)).to_have_text("My words")
    thinking.page.wait_for_function("GemmaSpace.store.list()[0].messages[1].content === 'My words'")
    assert thinking.stored()[0]["messages"][1]["thinking"] == "A plan\nin two lines"
