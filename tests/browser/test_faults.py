"""What goes wrong around a page: a server that is killed, a browser that goes, files of any shape."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
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
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.running_app import running
from tests.tiny_checkpoints import Checkpoints, no_hub

# What a page says while its server is away.
AWAY = ["503 (Service Unavailable)", "Failed to fetch", "ERR_CONNECTION", "ERR_INCOMPLETE",
        "Connection errored out", "Could not", "Server stopped"]  # fmt: skip


def ask_for_a_long_reply(chat: ChatPage) -> None:
    """Send a message and wait for the first of eight thousand tokens."""
    chat.open_settings()
    number = chat.page.get_by_label("number input for Max new tokens").first
    number.fill("8000")
    number.press("Enter")
    chat.send("Hello <there>")
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
            chat = ChatPage(new_context().new_page(), app.url).open()
            chat.ask("Before")
            earlier = chat.reply.inner_text()
            ask_for_a_long_reply(chat)
            app.process.kill()
            app.process.wait()
        expect(chat.user_messages).to_have_count(2)
        with running(home, hub, port=port, **told):
            chat.reload()
            expect(chat.user_messages).to_have_text(["Before", transcript.escape("Hello <there>")])
            expect(chat.replies.first).to_have_text(earlier)
            chat.button("Try again").click()
            chat.finished()
            expect(chat.replies).to_have_count(2)
