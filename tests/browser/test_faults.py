"""What goes wrong around a page: its browser goes, or its server is killed."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from gemma_space.access import Access
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.ui import transcript
from tests import stand_in_hub
from tests import tiny_checkpoints as tiny
from tests.api.conftest import free_port
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.running_app import running
from tests.stand_in_hub import StandInHub
from tests.tiny_checkpoints import Checkpoints, no_hub

# What is over sooner would not be cut off: almost all that the context has room for.
TOKENS, TOKENS_OF_DEMO = 8000, 1900
PATIENCE_SECONDS = 60
# What a page says while its server is away.
AWAY = ["503 (Service Unavailable)", "Failed to fetch", "ERR_CONNECTION", "ERR_INCOMPLETE",
        "ERR_EMPTY_RESPONSE", "network error", "Connection errored out",
        "Server stopped"]  # fmt: skip


def until(happens: Callable[[], object]) -> float:
    """Wait until it does; how many seconds that took."""
    begun = time.monotonic()
    while not happens():
        assert time.monotonic() - begun < PATIENCE_SECONDS
        time.sleep(0.01)
    return time.monotonic() - begun


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
        ChatPage(page, url).open().begin_a_long_reply("Hello", TOKENS)
        assert not is_idle()
        page.close()
        print(f"idle {until(is_idle):.2f} s after the page was closed")


# --- the server goes -----------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with stand_in_hub.serve() as served:
        yield served


def test_a_server_killed_in_the_middle_of_a_reply_costs_no_conversation(
    hub: StandInHub,
    new_context: Callable[..., BrowserContext],
    tolerated: list[str],
    tmp_path: Path,
) -> None:
    tolerated += AWAY
    told = {"GEMMA_SPACE_MAX_NEW_TOKENS": str(TOKENS_OF_DEMO)}
    home, port = tmp_path / "home", free_port()
    with running(home, hub, GRADIO_SERVER_PORT=str(port), **told) as app:
        until(lambda: httpx.get(f"{app.url}healthz", timeout=PATIENCE_SECONDS).json()["ready"])
        chat = ChatPage(new_context().new_page(), app.url).open()
        chat.ask("Before")
        earlier = chat.stored()[0]["messages"]
        chat.begin_a_long_reply("Hello <there>", TOKENS_OF_DEMO)
        until(lambda: len(chat.stored()[0]["messages"]) == 4)  # what it says so far is kept
        chat.box.fill("Half a question")
        chat.page.evaluate("window.ofTheFirst = true")
        app.process.kill()
        app.process.wait()
    with running(home, hub, GRADIO_SERVER_PORT=str(port), **told):
        # The page finds the server again by itself, and loads anew.
        chat.page.wait_for_function("() => !window.ofTheFirst", timeout=1000 * PATIENCE_SECONDS)
        chat.ready()
        expect(chat.box).to_have_value("Half a question")
        asked = ["Before", transcript.escape("Hello <there>")]
        expect(chat.user_messages).to_have_text(asked)
        *kept, _, begun = chat.stored()[0]["messages"]
        assert kept == earlier
        assert begun["content"]
        expect(chat.replies).to_have_count(2)
        chat.button("Continue").click()
        expect(chat.footer).to_contain_text("Ended its turn")
        chat.until(lambda: "footer" in chat.stored()[0]["messages"][3])
        chat.finished()
        went_on = chat.stored()[0]["messages"][3]
        assert went_on["content"].startswith(begun["content"])
        chat.ask("After")
        expect(chat.box).to_have_value("")
        expect(chat.user_messages).to_have_text([*asked, "After"])
        expect(chat.replies).to_have_count(3)
        said = [message["content"] for message in chat.stored()[0]["messages"]]
        assert said[2:5:2] == ["Hello <there>", "After"]
