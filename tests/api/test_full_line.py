"""More people than may wait: each is told so in a sentence, whichever way they came.

The real app with room for one who waits, and replies that end when the test lets them.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from gemma_space import journal
from gemma_space.admission import Admission
from gemma_space.app import build_app, launch_options
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.visits import COOKIE
from tests.api.conftest import free_port
from tests.browser.fake_playground import FakePlayground

PLACES = 4
FULL = r"Too many people are asking right now: 5 requests.*Your text is kept: try again in a minute"
ASKED = {"model": "fake/chat", "messages": [{"role": "user", "content": "Hello"}]}


@dataclass
class Crowded:
    """The app: its address, a client, who is in line."""

    url: str
    client: Client
    admission: Admission
    endpoints: set[str]

    def until(self, happens: Callable[[Admission], bool]) -> None:
        """Until that is so of the line; the test's own limit ends this."""
        while not happens(self.admission):
            time.sleep(0.02)


@contextmanager
def served(settings: Settings) -> Iterator[Crowded]:
    fake = FakePlayground(words=("word ",) * 3000, seconds=0.1)
    demo = build_app(cast(Playground, fake), settings)
    _, url, _ = demo.launch(
        prevent_thread_lock=True, quiet=True, server_port=free_port(), **launch_options(demo)
    )
    public = {
        str(fn.api_name)
        for fn in demo.fns.values()
        if fn.api_visibility == "public" and fn.concurrency_id == "generation"
    }
    try:
        yield Crowded(url, Client(url, verbose=False), demo.beside.admission, public)
    finally:
        demo.close()


@pytest.fixture(scope="module")
def crowded() -> Iterator[Crowded]:
    with served(Settings(concurrent_requests=PLACES, queue_size=1)) as app:
        yield app


@pytest.fixture
def full(crowded: Crowded) -> Iterator[Crowded]:
    with ExitStack() as line:
        for _ in range(PLACES + 1):
            line.enter_context(crowded.admission.enter())
        yield crowded


def test_real_callers_fill_the_line_and_the_next_is_refused(crowded: Crowded) -> None:
    first, second = crowded.client, Client(crowded.url, verbose=False)
    running: list[Any] = [first.submit("Hello", api_name="/chat") for _ in range(PLACES)]
    crowded.until(lambda line: line.running == PLACES)
    waiting: Any = second.submit("Hello", api_name="/chat")
    crowded.until(lambda line: line.full)
    with pytest.raises(AppError, match=FULL):
        first.predict("Hello", api_name="/chat")
    running[0].cancel()  # Gradio cancels all that one client asked of one endpoint
    crowded.until(lambda line: line.running == 1)
    assert next(iter(waiting))["text"].startswith("word")
    waiting.cancel()
    crowded.until(lambda line: not line.running)


@pytest.mark.parametrize("path", ["call/chat", "call/v2/chat", "call/v2/chat/", "call/v2/score"])
def test_a_plain_caller_is_answered_503_with_the_sentence(full: Crowded, path: str) -> None:
    body = {"text": "x"} if "score" in path else {"message": "x"} if "v2" in path else {"data": []}
    answer = httpx.post(full.url + "gradio_api/" + path, json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert answer.json().keys() == {"detail"}
    assert "Your text is kept: try again in a minute." in answer.json()["detail"]


def test_the_endpoints_that_are_refused_are_those_that_generate(crowded: Crowded) -> None:
    assert crowded.endpoints == {"chat", "generate", "score"}


@pytest.mark.parametrize("endpoint", ["/chat", "/generate", "/score"])
def test_a_gradio_client_is_told_the_same(full: Crowded, endpoint: str) -> None:
    with pytest.raises(AppError, match=FULL):
        full.client.predict("Hello", api_name=endpoint)


def test_openais_clients_get_their_429(full: Crowded) -> None:
    answer = httpx.post(full.url + "v1/chat/completions", json=ASKED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")


def test_what_needs_no_model_goes_on(full: Crowded) -> None:
    assert full.client.predict(api_name="/status")["device"] == "CPU"
    assert httpx.get(full.url).status_code == 200


def test_the_log_has_whoever_was_refused(full: Crowded, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, journal.NAME):
        httpx.post(full.url + "gradio_api/call/v2/chat", json={"message": "x"})
        with pytest.raises(AppError):
            full.client.predict("Hello", api_name="/chat")
    told = [r.getMessage() for r in caplog.records if r.name == journal.NAME]
    assert [line.split("endpoint=")[1].split()[0] for line in told] == ["api", "api"]
    assert all("finish_reason=BusyError" in line for line in told)


# --- one visitor's part of the line ---------------------------------------------------------------


def test_what_waits_counts_as_its_visitors_and_leaves_room_for_others() -> None:
    def asked_by(number: int, **more: str) -> httpx.Response:
        """A request of that browser's, through a proxy that hides the network."""
        return httpx.post(
            app.url + "gradio_api/call/v2/chat", json={"message": "x", **more},
            headers={"Via": "1.1 proxy", "Cookie": f"{COOKIE}={number:043}"},
        )  # fmt: skip

    with served(Settings(concurrent_requests=PLACES, queue_size=8, per_visitor=2)) as app:
        for number in range(PLACES):
            assert asked_by(number // 2).status_code == 200
        app.until(lambda line: line.running == PLACES)
        assert [asked_by(100).status_code for _ in range(3)] == [200, 200, 429]
        refused = asked_by(100)
        assert refused.json()["detail"].startswith("You have 2 requests on the way here")
        assert int(refused.headers["retry-after"]) > 0
        assert asked_by(0).status_code == 429
        assert asked_by(200).status_code == 200
        # A token says more than the address and the browser that two may share.
        assert asked_by(100, oauth_token="hf_another").status_code == 200
        assert (app.admission.running, app.admission.waiting) == (PLACES, 4)
