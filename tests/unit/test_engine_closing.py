"""Who goes away frees its place within one step; a worker that dies tells everybody.

Places and order are counted in steps and forward passes, never in seconds.
"""

import itertools
import threading
from typing import Any

import pytest
import torch

from gemma_space.chunks import GenerationChunk
from gemma_space.engine import steps
from gemma_space.engine.batch import BatchEngine
from gemma_space.engine.request import Request
from gemma_space.engine.steps import Steps
from gemma_space.errors import GenerationError
from tests.unit import test_engine_isolation as isolation
from tests.unit.test_engine_exact import WORDS, speak
from tests.unit.test_engine_isolation import (
    CHUNK,
    NEW_TOKENS,
    Faulty,
    alone,
    finish,
    make_steps,
    raises,
    reply,
    request,
)
from tests.unit.test_exactness import greedy

faulty, plain_model = isolation.faulty, isolation.plain_model  # fixtures
LONG = (WORDS[9], *WORDS[20:100])  # several chunks


def waits(engine: Steps, one: Request) -> bool:
    return one in engine.waiting


@pytest.mark.parametrize("state", ["waiting", "prefilling", "decoding"])
def test_who_closes_leaves_within_one_step(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setitem(steps.MAX_ROWS, "cpu", 1)
    engine = make_steps(faulty.model)
    first, second, third = (
        Request(list(LONG), greedy(max_new_tokens=NEW_TOKENS)),
        request(1),
        request(2),
    )
    engine.waiting.extend((first, second, third))
    for _ in range(9 if state == "decoding" else 2):
        engine.step()
    assert (first.written > 0) == (state == "decoding")
    assert waits(engine, second)
    if state == "waiting":
        second.cancelled = True
        engine.step()
        assert list(engine.waiting) == [third]
        assert first in engine.running()
        second = third
    else:
        first.cancelled = True
        engine.step()
        assert list(engine.running()) == [second]
    finish(engine)
    number = 2 if state == "waiting" else 1
    assert reply(second) == (alone(faulty.model, number), None)
    known = engine._kept.take([*LONG, 2])
    assert known is not None, "what was done of it is kept"
    assert known[1] == (2 * CHUNK if state == "prefilling" else len(LONG))


@pytest.mark.parametrize("chunks", [1, 2, 5], ids=["waiting", "prefilling", "decoding"])
def test_closing_a_stream_lets_a_newcomer_in(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    monkeypatch.setitem(steps.MAX_ROWS, "cpu", 1)
    engine = BatchEngine(faulty.model, frozenset())
    forever = greedy(max_new_tokens=100_000, ignore_eos=True)
    stream: Any = engine.stream(LONG, forever)
    for _ in range(chunks):
        next(stream)
    assert engine.requests == 1
    stream.close()
    assert engine.requests == 0
    one = request(1)
    assert speak(engine, one.ids, max_new_tokens=NEW_TOKENS)[0] == alone(faulty.model, 1)


def test_a_long_prefill_ends_between_two_chunks(faulty: Faulty) -> None:
    engine = make_steps(faulty.model)
    one = Request(list(LONG), greedy(max_new_tokens=NEW_TOKENS))
    engine.waiting.append(one)
    engine.step()
    engine.step()
    one.cancelled = True
    finish(engine)
    assert faulty.calls == [(1, CHUNK)] * 2
    assert reply(one) == ([], None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("state", ["prefilling", "decoding", "scoring"])
def test_a_time_limit_frees_the_place_within_one_step(faulty: Faulty, state: str) -> None:
    engine, clock = make_steps(faulty.model), Clock()
    late = Request(
        list(LONG), greedy(max_new_tokens=100), max_time=5.0, clock=clock,
        scores_prompt=state == "scoring",
    )  # fmt: skip
    other = request(1)
    clock.now = 100.0  # the wait for a place does not count
    engine.waiting.extend((late, other))
    for _ in range(14 if state == "decoding" else 1):
        engine.step()
    assert late in engine.running()
    clock.now = 105.0
    engine.step()
    if state != "decoding":  # its chunk's turn comes after the other's
        engine.step()
    assert late not in engine.running()
    told = [late.told.get_nowait() for _ in range(late.told.qsize())]
    reasons = [one.finish_reason for one in told if isinstance(one, GenerationChunk)]
    assert reasons == [*[None] * (len(told) - 1), "time_limit"]
    finish(engine)
    assert reply(other) == (alone(faulty.model, 1), None)


def test_newcomers_hold_running_replies_up_for_one_chunk_at_a_time(faulty: Faulty) -> None:
    engine = make_steps(faulty.model)
    running = [request(0), request(1)]
    engine.waiting.extend(running)
    while not all(one.written for one in running):
        engine.step()
    faulty.calls.clear()
    newcomers = [Request([WORDS[n], *LONG], greedy(max_new_tokens=2)) for n in (10, 11)]
    engine.waiting.extend(newcomers)
    engine.step()
    while any(one in engine._prefilling for one in newcomers):
        engine.step()
    prefills = [columns > 1 for _, columns in faulty.calls]
    assert not any(one and other for one, other in itertools.pairwise(prefills))
    assert sum(prefills) >= 2 * (len(LONG) // CHUNK)
    assert max(columns for _, columns in faulty.calls) == CHUNK
    finish(engine)
    for number, one in enumerate(running):
        assert reply(one) == (alone(faulty.model, number), None)


def test_prompts_take_turns_with_their_chunks(faulty: Faulty) -> None:
    """A short prompt does not wait for a long one that came first."""
    engine = make_steps(faulty.model)
    long, short = Request(list(LONG), greedy(max_new_tokens=2)), request(0)
    engine.waiting.extend((long, short))
    while not short.written:
        engine.step()
    assert long.done == CHUNK


@pytest.mark.parametrize("moment", ["prefill", "decoding", "one by one"])
def test_a_worker_that_dies_tells_everybody_and_is_replaced(
    faulty: Faulty, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    seen, joint = [], []
    all_here = threading.Event()  # who comes after the death gets a new worker, and a reply

    def dies(ids: torch.Tensor) -> bool:
        assert all_here.wait(60)
        seen.append(ids.shape)
        if moment == "prefill":
            return len(seen) == 4
        if ids.shape[0] > 1 and moment == "one by one":
            joint.append(ids.shape)
            raise RuntimeError("first this")
        return bool(joint) or (moment == "decoding" and ids.shape[0] > 1)

    faulty.before = raises(SystemExit(3), dies)
    engine = BatchEngine(faulty.model, frozenset())
    streams = [engine.stream(tuple(request(n).ids), request(n).params) for n in range(3)]
    for stream in streams:
        next(stream)  # it waits in the engine now
    all_here.set()
    errors: list[GenerationError] = []
    for stream in streams:
        with pytest.raises(GenerationError) as caught:
            list(stream)
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3, "a shared error keeps everybody's frames"
    assert any("worker died" in record.message for record in caplog.records)
    faulty.before = lambda ids, out: None
    assert engine.requests == 0
    said, _ = speak(engine, request(1).ids, max_new_tokens=NEW_TOKENS)
    assert said == alone(faulty.model, 1)


def test_a_newcomer_in_the_middle_of_a_step_hurts_nobody(faulty: Faulty) -> None:
    """Callers append to the queue while the worker looks through it."""
    engine = make_steps(faulty.model)

    class Crowd(Request):
        def __getattribute__(self, name: str) -> Any:
            if name == "cancelled" and len(engine.waiting) < 5:
                engine.waiting.append(request(len(engine.waiting)))
            return super().__getattribute__(name)

    engine.waiting.extend((Crowd(request(3).ids, greedy(max_new_tokens=2)), request(0)))
    finish(engine)


def test_each_overflow_is_an_error_of_its_own(faulty: Faulty) -> None:
    faulty.after = isolation.spoils(lambda ids: torch.ones(len(ids), dtype=torch.bool), torch.nan)
    one, other = request(0), request(1)
    finish(make_steps(faulty.model), one, other)
    (_, first), (_, second) = reply(one), reply(other)
    assert first is not None
    assert first is not second
    assert str(first) == str(second)
