"""What a visitor sees when more people ask than may wait: a sentence, and nothing is lost."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from gemma_space.admission import Admission
from gemma_space.app import build_app, launch_options
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from tests.browser.chat_page import ChatPage
from tests.browser.fake_playground import FakePlayground

PLACES = 2
FULL = "Too many people are asking right now: 3 requests are running or waiting."


@pytest.fixture(scope="module")
def server(browser: Browser) -> Iterator[tuple[str, Admission]]:
    demo = build_app(
        cast(Playground, FakePlayground()), Settings(concurrent_requests=PLACES, queue_size=1)
    )
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(demo))
    yield url, demo.beside.admission
    demo.close()


@pytest.fixture
def chat(server: tuple[str, Admission], new_context: Callable[..., BrowserContext]) -> ChatPage:
    return ChatPage(new_context().new_page(), server[0]).open()


def test_a_full_line_leaves_text_and_conversation_as_they_are(
    chat: ChatPage, server: tuple[str, Admission]
) -> None:
    chat.ask("First")
    with ExitStack() as line:
        for _ in range(PLACES + 1):
            line.enter_context(server[1].enter())
        chat.send("Let me in")
        toast = chat.page.locator(".toast-body")
        expect(toast).to_contain_text(FULL)
        expect(toast).to_contain_text("Your text is kept: try again in a minute.")
        # Said once: Gradio would lay a red "Error" over the conversation too.
        expect(chat.page.locator("[data-testid=status-tracker] .error:visible")).to_have_count(0)
        expect(chat.box).to_have_value("Let me in")
        expect(chat.user_messages).to_have_text(["First"])
        toast.get_by_test_id("toast-close").click()
    chat.box.press("Enter")
    expect(chat.user_messages).to_have_text(["First", "Let me in"])
    expect(chat.footer).to_contain_text("Ended its turn")


def test_a_prompt_stays_where_it_is(chat: ChatPage, server: tuple[str, Admission]) -> None:
    page = chat.page
    page.get_by_role("tab", name="Prompt").click()
    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    prompt.fill("Once upon")
    with ExitStack() as line:
        for _ in range(PLACES + 1):
            line.enter_context(server[1].enter())
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".toast-body")).to_contain_text(FULL)
    expect(prompt).to_have_value("Once upon")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()


def test_whoever_waits_is_told_so_and_may_leave(
    chat: ChatPage, server: tuple[str, Admission]
) -> None:
    with ExitStack() as line:
        for _ in range(PLACES):
            line.enter_context(server[1].enter())
        chat.send("Hello")
        expect(chat.page.locator("#transcript")).to_contain_text("this request gets the next one")
        assert server[1].waiting == 1
        chat.stop_button.click()
        expect(chat.send_button).to_be_visible()
