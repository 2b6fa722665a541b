"""What goes wrong around a page: its browser goes."""

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from gemma_space.access import Access
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from tests import tiny_checkpoints as tiny
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.tiny_checkpoints import Checkpoints, no_hub

# What is over sooner would not be cut off: almost all that the context has room for.
TOKENS = 8000
PATIENCE_SECONDS = 60


def until(happens: Callable[[], object]) -> float:
    """Wait until it does; how many seconds that took."""
    begun = time.monotonic()
    while not happens():
        assert time.monotonic() - begun < PATIENCE_SECONDS
        time.sleep(0.01)
    return time.monotonic() - begun


def ask_for_a_long_reply(chat: ChatPage, text: str, tokens: int) -> None:
    """Send a message and wait for the first of so many tokens."""
    chat.open_settings()
    settings = chat.page.locator("#settings")
    settings.get_by_role("button", name="Advanced").click()
    settings.get_by_label("Ignore the end-of-turn token").check()
    number = settings.get_by_label("number input for Max new tokens")
    number.fill(str(tokens))
    number.press("Enter")
    for control in ("ignore_eos", "max_new_tokens"):
        expect(settings.locator(f".control-{control}[data-changed]")).to_be_attached()
    chat.send(text)
    expect(chat.footer).to_contain_text("Writing…")


# --- the browser goes ----------------------------------------------------------------------------


@pytest.fixture
def playground(checkpoints: Checkpoints) -> Playground:
    rows = served_checkpoints([str(checkpoints.folder(tiny.GEMMA_3))])
    return Playground(rows, Access(probe=no_hub), Settings(max_new_tokens=TOKENS))


def test_a_page_closed_in_the_middle_of_a_reply_frees_the_engine(
    playground: Playground, new_context: Callable[..., BrowserContext]
) -> None:
    """At once, not when the reply would have ended: others wait for its place."""

    def is_idle() -> bool:
        status = playground.library.status()
        return status.queue == 0 and all(row.leases == 0 for row in status.loaded)

    with served(playground, settings=Settings(max_new_tokens=TOKENS)) as url:
        playground.warm_up()
        page = new_context().new_page()
        ask_for_a_long_reply(ChatPage(page, url).open(), "Hello", TOKENS)
        assert not is_idle()
        page.close()
        print(f"idle {until(is_idle):.2f} s after the page was closed")
