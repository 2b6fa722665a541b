"""What goes wrong around a page: its server is killed, its browser goes, its files are odd."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import BrowserContext, expect

from gemma_space.access import Access
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.ui import transcript
from tests import stand_in_hub
from tests import tiny_checkpoints as tiny
from tests.api.conftest import free_port
from tests.api.test_shutdown import until
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.running_app import running
from tests.tiny_checkpoints import Checkpoints, no_hub

# What a page says while its server is away.
AWAY = ["503 (Service Unavailable)", "Failed to fetch", "ERR_CONNECTION", "ERR_INCOMPLETE",
        "Connection errored out", "Server stopped"]  # fmt: skip


def until_ready(url: str) -> None:
    """Wait for the model, which loads behind the page."""
    until(lambda: httpx.get(f"{url}healthz", timeout=None).json()["ready"])


def ask_for_a_long_reply(chat: ChatPage, text: str) -> None:
    """Send a message and wait for the first of eight thousand tokens."""
    chat.open_settings()
    number = chat.page.get_by_label("number input for Max new tokens").first
    number.fill("8000")
    number.press("Enter")
    chat.page.get_by_role("button", name="Advanced").click()
    chat.page.get_by_label("Ignore the end-of-turn token").check()
    before = chat.replies.count()
    chat.send(text)
    expect(chat.replies).to_have_count(before + 1)
    expect(chat.reply).not_to_be_empty()


# --- the server goes -----------------------------------------------------------------------------


def test_a_server_killed_in_the_middle_of_a_reply_costs_no_conversation(
    checkpoints: Checkpoints,
    new_context: Callable[..., BrowserContext],
    tolerated: list[str],
    tmp_path: Path,
) -> None:
    tolerated += AWAY
    told = {"GEMMA_SPACE_MODELS": str(checkpoints.folder(tiny.GEMMA_3)),
            "GEMMA_SPACE_MAX_NEW_TOKENS": "8000"}  # fmt: skip
    home, port = tmp_path / "home", free_port()
    with stand_in_hub.serve() as hub:
        with running(home, hub, port=port, **told) as app:
            until_ready(app.url)
            chat = ChatPage(new_context().new_page(), app.url).open()
            chat.ask("Before")
            earlier = chat.stored()[0]["messages"]
            ask_for_a_long_reply(chat, "Hello <there>")
            app.process.kill()
            app.process.wait()
        expect(chat.user_messages).to_have_count(2)
        with running(home, hub, port=port, **told) as app:
            until_ready(app.url)
            chat.reload()
            expect(chat.user_messages).to_have_text(["Before", transcript.escape("Hello <there>")])
            assert chat.stored()[0]["messages"][:2] == earlier
            chat.button("Try again").click()
            chat.finished()
            expect(chat.replies).to_have_count(2)


# --- the browser goes ----------------------------------------------------------------------------


def test_a_page_closed_in_the_middle_of_a_reply_frees_the_engine(
    checkpoints: Checkpoints, new_context: Callable[..., BrowserContext]
) -> None:
    rows = served_checkpoints([str(checkpoints.folder(tiny.GEMMA_3))])
    chosen = Settings(max_new_tokens=8000)
    playground = Playground(rows, Access(probe=no_hub), chosen)

    def is_idle() -> bool:
        status = playground.library.status()
        return status.queue == 0 and all(row.leases == 0 for row in status.loaded)

    with served(playground, settings=chosen) as url:
        context = new_context()
        chat = ChatPage(context.new_page(), url).open()
        ask_for_a_long_reply(chat, "Hello")
        assert not is_idle()
        context.close()
        until(is_idle)


# --- files are odd -------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=6) | st.sampled_from(
    ["user", "assistant", "model", "system", "text", "__proto__", "\ud83e",
     "gemma-space-conversation"]
)  # fmt: skip
NAMES = st.sampled_from(["role", "content", "footer", "title", "messages", "record", "type",
                         "text", "format", "version", "system_prompt", "__proto__"])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=3),
    max_leaves=6,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "model", "system"]), "content": TEXTS},
    optional={"footer": st.dictionaries(NAMES, TEXTS | JSON, max_size=4)},
)
FILES = JSON | st.lists(MESSAGE | JSON, max_size=3) | st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, max_size=3)},
    optional={"title": JSON, "system_prompt": JSON, "format": JSON, "version": JSON},
)  # fmt: skip
READ = """(texts) => texts.map((text) => {
  try {
    const read = GemmaSpace.transfer.fromJson(text);
    return JSON.stringify({messages: read.messages, title: GemmaSpace.store.titleOf(read)});
  } catch (error) {
    if (!(error instanceof GemmaSpace.transfer.ImportProblem)) throw error;
    return JSON.stringify({problem: error.message});
  }
})"""


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(files=st.lists(FILES, min_size=20, max_size=40))
def test_a_file_of_any_shape_is_a_conversation_or_a_sentence(
    chat: ChatPage, files: list[Any]
) -> None:
    for text in chat.page.evaluate(READ, [json.dumps(value) for value in files]):
        told = json.loads(text)
        if "problem" in told:
            assert told["problem"].endswith(".")
        else:
            opened = transcript.from_stored(told["messages"])
            assert len(opened) == len(told["messages"])


def test_half_a_character_in_a_file_costs_no_conversation(chat: ChatPage) -> None:
    messages = [{"role": "user", "content": "half \ud83e"}, {"role": "model", "content": "b"}]
    chat.import_text(json.dumps({"system_prompt": "\ud83e", "messages": messages}))
    expect(chat.user_messages).to_have_text("half ?")
    chat.ask("And now?")
    chat.reload()
    expect(chat.replies).to_have_count(2)
