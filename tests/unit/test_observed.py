"""Every stream is told of once, whichever way it ends; and how the log and the figures say it."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from gemma_space import journal
from gemma_space.admission import Admission
from gemma_space.api.callers import Callers
from gemma_space.errors import (
    BusyError,
    GemmaSpaceError,
    InvalidControlError,
    ModelNotFoundError,
    ServerClosingError,
    TooManyRequestsError,
)
from gemma_space.journal import Journal, line
from gemma_space.metrics import Metrics
from gemma_space.observed import CUT_OFF, NEXT_IN_LINE, Observed
from gemma_space.playground import Playground
from gemma_space.reports import LoadProgress
from gemma_space.served import Served
from gemma_space.shares import Shares
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Controls,
    Generation,
    Message,
    Precision,
    ScoreRequest,
)
from gemma_space.visitors import Visitor
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints

SECRET = "the first words of a diary"


class Watched:
    """A real playground behind one door, and what is told about it."""

    def __init__(self, playground: Playground, places: int = 4, each: int = 0) -> None:
        self.told: list[Served] = []
        self.admission = Admission(places, 2)
        self.metrics = Metrics(playground.library, self.admission)
        listeners = (self.told.append, self.metrics)
        shares = Shares(each)
        self.playground = Observed(playground, "test", self.admission, shares, listeners, True)

    def figure(self, name: str) -> float:
        (found,) = [
            text for text in self.metrics.text().decode().splitlines()
            if text.startswith(f"gemma_space_{name} ")
        ]  # fmt: skip
        return float(found.split()[-1])


@pytest.fixture
def watched(playground: Playground) -> Watched:
    return Watched(playground)


@pytest.fixture
def asked(checkpoints: Checkpoints) -> ChatRequest:
    return ChatRequest(
        messages=(Message(role="user", content=SECRET),),
        model=str(checkpoints.folder(tiny.GEMMA_3)), precision=Precision.FP32,
        controls=Controls(max_new_tokens=8, temperature=0.0, ignore_eos=True),
    )  # fmt: skip


def replies(updates: Iterator[Any]) -> list[Generation]:
    return [update for update in updates if isinstance(update, Generation)]


def test_a_reply_is_told_of_with_all_its_figures(watched: Watched, asked: ChatRequest) -> None:
    last = replies(watched.playground.chat(asked, request_id="abc"))[-1]
    (told,) = watched.told
    assert (told.request_id, told.endpoint, told.outcome) == ("abc", "test/chat", "length")
    assert (told.model, told.precision) == (asked.model, "fp32")
    assert (told.prompt_tokens, told.completion_tokens) == (last.prompt_tokens, 8)
    assert told.ttft_seconds == last.ttft_seconds
    assert told.seconds >= told.waited_seconds >= 0
    assert watched.admission.running == 0
    name = 'requests_total{endpoint="test/chat",finish_reason="length"}'
    assert watched.figure(name) == 1
    assert watched.figure('tokens_total{kind="completion"}') == 8
    assert watched.figure('tokens_total{kind="prompt"}') == last.prompt_tokens
    assert watched.figure("time_to_first_token_seconds_count") == 1
    again = replies(watched.playground.chat(asked))[-1]
    assert watched.figure('tokens_total{kind="cached"}') == again.cached_tokens > 0
    assert watched.told[1].request_id != watched.told[0].request_id


def test_completions_and_scores_have_names_of_their_own(
    watched: Watched, asked: ChatRequest
) -> None:
    request = CompletionRequest(
        prompt="Hi", model=asked.model, precision=asked.precision, controls=asked.controls
    )
    list(watched.playground.complete(request))
    list(watched.playground.score(ScoreRequest(text="Hi you", model=asked.model)))
    assert [(t.endpoint, t.outcome) for t in watched.told] == [
        ("test/generate", "length"), ("test/score", "scored")
    ]  # fmt: skip
    assert watched.told[1].prompt_tokens > 0


def test_who_stops_listening_has_cancelled_unless_it_was_over(
    watched: Watched, asked: ChatRequest
) -> None:
    for reads_on in (False, True):
        stream: Any = watched.playground.chat(asked)
        for update in stream:
            over = isinstance(update, Generation) and (
                update.finish_reason if reads_on else update.completion_tokens
            )
            if over:
                break
        assert watched.admission.running == 1
        stream.close()
        assert watched.admission.running == 0
    assert [told.outcome for told in watched.told] == ["cancelled", "length"]
    assert watched.told[0].completion_tokens > 0


def test_a_failure_is_told_by_its_name_and_raised(watched: Watched, asked: ChatRequest) -> None:
    bad = ChatRequest(
        messages=asked.messages, model=asked.model, controls=Controls(temperature=9.0)
    )
    with pytest.raises(InvalidControlError):
        list(watched.playground.chat(bad))
    (told,) = watched.told
    assert told.outcome == "InvalidControlError"
    assert watched.figure(
        'requests_total{endpoint="test/chat",finish_reason="InvalidControlError"}'
    )


def test_a_request_without_a_place_says_that_it_waits(
    playground: Playground, asked: ChatRequest
) -> None:
    watched = Watched(playground, places=1)
    with ExitStack() as before:
        before.enter_context(watched.admission.enter())
        with watched.admission.enter():
            stream = watched.playground.chat(asked)
            first = next(stream)
            assert isinstance(first, LoadProgress)
            assert "waits for one, 1 before it" in first.note
        moved_up = next(stream)
        assert isinstance(moved_up, LoadProgress)
        assert moved_up.note == NEXT_IN_LINE
        assert watched.figure("requests_waiting") == 1
    assert replies(stream)[-1].finish_reason == "length"
    assert watched.told[0].waited_seconds > 0


def test_whoever_finds_no_place_to_wait_is_told_of_too(
    playground: Playground, asked: ChatRequest
) -> None:
    watched = Watched(playground, places=1)
    with ExitStack() as line:
        for _ in range(3):
            watched.playground.require_room(Visitor())
            line.enter_context(watched.admission.enter())
        with pytest.raises(BusyError):
            next(watched.playground.chat(asked))
        with pytest.raises(BusyError):
            watched.playground.require_room(Visitor())
    refused = [(told.endpoint, told.model, told.outcome) for told in watched.told]
    assert refused == [("test/chat", asked.model, "BusyError"), ("test", "", "BusyError")]
    assert len({told.request_id for told in watched.told}) == 2
    assert watched.figure('requests_total{endpoint="test",finish_reason="BusyError"}') == 1


def test_a_callers_stream_counts_until_it_is_closed_and_a_refusal_is_told_of(
    playground: Playground,
) -> None:
    watched, closed = Watched(playground, each=1), list[bool]()
    callers, anna = Callers(watched.playground), Visitor(key="a" * 43)

    def source() -> Iterator[int]:
        try:
            yield from range(9)
        finally:
            closed.append(True)

    stream: Any = callers.held(anna, source)
    assert next(stream) == 0
    with pytest.raises(TooManyRequestsError):
        next(callers.held(anna, source))
    assert [(t.endpoint, t.outcome) for t in watched.told] == [("test", "TooManyRequestsError")]
    stream.close()
    assert closed == [True]
    assert list(callers.held(anna, source)) == list(range(9))
    assert len(watched.told) == 1, "what is no refusal is the use case's to tell"


def test_a_load_that_is_asked_for_is_told_of(watched: Watched, checkpoints: Checkpoints) -> None:
    model = str(checkpoints.folder(tiny.GEMMA_3))
    assert [*watched.playground.load(model, "fp32")][-1].phase == "ready"
    stopped = watched.playground.load(model, "fp32")
    next(stopped)
    stopped.close()
    with pytest.raises(ModelNotFoundError):
        list(watched.playground.load("nothing"))
    assert [(t.endpoint, t.model, t.precision, t.outcome) for t in watched.told] == [
        ("test/load", model, "fp32", "ready"), ("test/load", model, "fp32", "cancelled"),
        ("test/load", "nothing", "auto", "ModelNotFoundError"),
    ]  # fmt: skip
    assert watched.admission.running == 0


def test_a_closing_server_lets_a_reply_finish(watched: Watched, asked: ChatRequest) -> None:
    stream = watched.playground.chat(asked)
    next(u for u in stream if isinstance(u, Generation) and u.completion_tokens)
    watched.admission.close()
    assert replies(stream)[-1].finish_reason == "length"


def test_a_closing_server_cuts_off_with_what_there_is(watched: Watched, asked: ChatRequest) -> None:
    stream = watched.playground.chat(asked)
    before = next(u for u in stream if isinstance(u, Generation) and u.completion_tokens)
    watched.admission.close()
    watched.admission.end()
    last = replies(stream)[-1]
    assert last.finish_reason == "cancelled"
    assert last.text.startswith(before.text)
    assert CUT_OFF in last.notes
    with pytest.raises(ServerClosingError):
        list(watched.playground.chat(asked))
    assert [told.outcome for told in watched.told] == ["cancelled", "ServerClosingError"]


def test_what_has_not_begun_when_the_server_closes_is_an_error(
    watched: Watched, asked: ChatRequest
) -> None:
    stream = watched.playground.score(ScoreRequest(text="word " * 400, model=asked.model))
    next(stream)
    watched.admission.end()
    with pytest.raises(GemmaSpaceError, match="shut down"):
        list(stream)


# --- the log -------------------------------------------------------------------------------------


def test_a_request_is_one_line_without_its_prompt(
    watched: Watched, asked: ChatRequest, caplog: pytest.LogCaptureFixture
) -> None:
    list(watched.playground.chat(asked))
    with caplog.at_level(logging.INFO, journal.NAME):
        Journal()(watched.told[0])
        Journal(with_prompts=True)(watched.told[0])
    plain, full = (record.getMessage() for record in caplog.records if record.name == journal.NAME)
    assert SECRET not in plain
    assert SECRET in full
    names = [pair.split("=")[0] for pair in plain.split(" ")]
    assert names == [
        "request", "endpoint", "model", "precision", "finish_reason", "prompt_tokens",
        "cached_tokens", "completion_tokens", "seconds", "waited_seconds", "ttft_seconds",
        "tokens_per_second",
    ]  # fmt: skip


def test_nothing_that_is_sent_can_begin_a_line_of_its_own() -> None:
    served = Served(
        request_id="1", endpoint="test/chat", model='a\nrequest=2 endpoint="x"', precision="auto",
        outcome="stop", prompt="one\ntwo\u2028three",
    )  # fmt: skip
    written = line(served, with_prompt=True)
    assert len(written.splitlines()) == 1
    assert 'model="a\\nrequest=2 endpoint=\\"x\\""' in written
    assert SECRET not in repr(Served(request_id="", endpoint="", model="", precision="",
                                     outcome="", prompt=SECRET))  # fmt: skip


def test_two_apps_in_one_process_count_apart(playground: Playground, asked: ChatRequest) -> None:
    one, other = Watched(playground), Watched(playground)
    list(one.playground.chat(asked))
    assert 'endpoint="test/chat"' in one.metrics.text().decode()
    assert 'endpoint="test/chat"' not in other.metrics.text().decode()
