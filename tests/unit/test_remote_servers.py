"""Several servers: who is asked, what happens when one dies, and that a closed stream is let go."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from gemma_space import redaction
from gemma_space.environment import hide_secrets
from gemma_space.errors import ServerError, SettingsError
from gemma_space.remote.servers import REST_SECONDS, Servers
from gemma_space.remote.wire import Wire
from gemma_space.settings import Settings
from gemma_space.types import ChatRequest, Controls, Generation
from tests.stand_in_server import StandInServer, standing_in
from tests.unit.test_remote import HELLO, MODEL, chat, playground_on

LONG = Controls(max_new_tokens=20, seed=5)
SECONDS = 20


@pytest.fixture
def two() -> Iterator[tuple[StandInServer, StandInServer]]:
    with standing_in(StandInServer()) as one, standing_in(StandInServer()) as other:
        yield one, other


def begun(playground: Any) -> Any:
    """A reply with its first word written."""
    updates = playground.chat(ChatRequest(messages=HELLO, model=MODEL, controls=LONG))
    for update in updates:
        if isinstance(update, Generation) and update.text:
            return updates
    raise AssertionError("it ended")


def test_requests_go_where_fewest_are(two: tuple[StandInServer, StandInServer]) -> None:
    playground = playground_on(*two)
    for server in two:
        server.gate.clear()
    with ExitStack() as stack:
        for server in two:
            server.gate.set()
        chat(playground)
        chat(playground)  # both were tried by now
        for server in two:
            server.gate.clear()
        before = [len(server.asked()) for server in two]
        for _ in range(4):
            stack.enter_context(closing(begun(playground)))
        after = [len(server.asked()) for server in two]
        assert [b - a for a, b in zip(before, after, strict=True)] == [2, 2]
        assert playground.library.status().queue == 4
    assert playground.library.status().queue == 0


def test_a_closed_stream_is_hung_up_on_even_while_nothing_comes(
    two: tuple[StandInServer, StandInServer],
) -> None:
    server = two[0]
    playground = playground_on(server)
    chat(playground)
    server.gate.clear()
    updates = begun(playground)
    assert server.busy.wait(SECONDS)
    updates.close()
    assert server.left.wait(SECONDS)


def test_a_server_that_dies_ends_its_reply_and_the_next_goes_elsewhere(
    two: tuple[StandInServer, StandInServer],
) -> None:
    one, other = two
    playground = playground_on(one, other)
    chat(playground)
    chat(playground)
    one.breaks_after = other.breaks_after = 3
    updates = playground.chat(ChatRequest(messages=HELLO, model=MODEL, controls=LONG))
    texts: list[str] = []

    def follow() -> None:
        for update in updates:
            texts.append(update.text if isinstance(update, Generation) else "")

    with pytest.raises(ServerError, match=r"connection to the server broke|broke the reply off"):
        follow()
    assert len(texts[-1].split()) == 3
    one.breaks_after = other.breaks_after = None
    assert playground.library.servers.answering == 1
    asked = [len(one.asked()), len(other.asked())]
    assert chat(playground).finish_reason == "stop"
    assert chat(playground).finish_reason == "stop"
    later = [len(one.asked()), len(other.asked())]
    assert sorted(b - a for a, b in zip(asked, later, strict=True)) == [0, 2]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_refuses_before_a_word_is_replaced_unseen(
    two: tuple[StandInServer, StandInServer], status: int
) -> None:
    playground = playground_on(*two)
    chat(playground)
    chat(playground)
    two[0].refuses = (status, "")
    assert [chat(playground).finish_reason for _ in range(3)] == ["stop"] * 3


def test_a_dead_server_is_asked_again_after_a_while() -> None:
    clock = [0.0]
    with ExitStack() as stack:
        server = StandInServer()
        with standing_in(server):
            port = int(server.url.rpartition(":")[2])
        servers = Servers([server.url], Wire(), [MODEL], clock=lambda: clock[0])
        servers.look()
        assert servers.answering == 0
        stack.enter_context(standing_in(server, port))
        servers.look()
        assert servers.answering == 0  # it rests
        clock[0] += REST_SECONDS[0]
        servers.look()
        assert servers.answering == 1
        assert [s.failures for s in servers.serving(MODEL)] == [0]


def test_it_rests_longer_each_time() -> None:
    clock, waits = [0.0], []
    servers = Servers(["http://127.0.0.1:9"], Wire(), [MODEL], clock=lambda: clock[0])
    for _ in range(9):
        servers.look()
        (server,) = servers._all
        waits.append(server.rests_until - clock[0])
        clock[0] = server.rests_until
    assert waits == [*REST_SECONDS, 60.0, 60.0]


def test_the_only_server_is_asked_once_more_before_anybody_gives_up() -> None:
    server = StandInServer()
    with standing_in(server):
        port = int(server.url.rpartition(":")[2])
        playground = playground_on(server)
        chat(playground)
    with pytest.raises(ServerError, match="does not answer"):
        chat(playground)
    with standing_in(server, port):
        assert chat(playground).finish_reason == "stop"


def test_many_at_once_are_told_apart(two: tuple[StandInServer, StandInServer]) -> None:
    playground = playground_on(*two)
    found: dict[int, Generation] = {}

    def ask(seed: int) -> None:
        found[seed] = chat(playground, controls={"seed": seed})

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seed: reply.text for seed, reply in found.items()} == {
        seed: "".join(two[0].reply({"seed": seed})[:8]) for seed in range(8)
    }


# --- settings -----------------------------------------------------------------------------------


def test_addresses_are_read_with_or_without_v1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_SPACE_ENGINE_URL", "http://a:8000/v1/, https://b/api/v1 ,http://c")
    assert Settings.from_env().engine_url == ("http://a:8000", "https://b/api", "http://c")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a", "http://", "http://me:pass@a"])
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GEMMA_SPACE_ENGINE_URL", url)
    with pytest.raises(SettingsError, match="GEMMA_SPACE_ENGINE_URL cannot be used"):
        Settings.from_env()


def test_the_key_is_nowhere_to_be_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GEMMA_SPACE_ENGINE_KEY", "open sesame")
    settings = Settings.from_env()
    hide_secrets()
    assert settings.engine_key is not None
    assert "sesame" not in repr(settings)
    monkeypatch.setattr(redaction, "_named", {"open sesame"})
    before = logging.getLogRecordFactory()
    try:
        redaction.install()
        logging.getLogger("test").warning("refused: %s", "the key open sesame is wrong")
    finally:
        logging.setLogRecordFactory(before)
    assert "sesame" not in caplog.text
    assert redaction.PLACE_OF_A_SECRET in caplog.text
