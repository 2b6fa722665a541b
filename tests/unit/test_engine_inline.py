"""An engine without a worker: those who wait take the steps, in their own threads.

The way of a process that forks, where no thread may be there before.
"""

import threading
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_space.engine.batch import BatchEngine
from gemma_space.errors import InvalidRequestError
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_engine_exact import WORDS, at_once, speak
from tests.unit.test_engine_isolation import NEW_TOKENS, alone, request
from tests.unit.test_exactness import greedy


@pytest.fixture(scope="module")
def model(checkpoints: Checkpoints) -> Any:
    folder = checkpoints.folder(tiny.GEMMA_3)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture
def engine(model: Any) -> BatchEngine:
    return BatchEngine(model, frozenset(), 1 << 20, inline=True)


def test_no_thread_comes_to_be(engine: BatchEngine, model: Any) -> None:
    before, seen = threading.active_count(), 0
    one = request(0)
    ids = []
    for chunk in engine.stream(tuple(one.ids), one.params):
        seen = max(seen, threading.active_count())
        ids += [chunk.token_id] * (chunk.token_id is not None)
    assert (ids, seen) == (alone(model, 0), before)
    assert engine.requests == 0


def test_callers_at_once_say_what_they_say_alone(engine: BatchEngine, model: Any) -> None:
    asked = [request(number) for number in range(4)]
    said = at_once(
        [lambda one=one: speak(engine, one.ids, max_new_tokens=NEW_TOKENS) for one in asked]
    )
    assert [ids for ids, *_ in said] == [alone(model, number) for number in range(4)]


def test_the_next_turn_reads_only_what_is_new(engine: BatchEngine) -> None:
    prompt = tuple(WORDS[:20])
    first = [c.token_id for c in engine.stream(prompt, greedy(max_new_tokens=4, ignore_eos=True))]
    longer = (*prompt, *(i for i in first if i is not None), *WORDS[30:35])
    *_, last = engine.stream(longer, greedy(max_new_tokens=2, ignore_eos=True))
    assert last.cached_tokens == len(prompt) + 3  # all but the last one written


def test_closing_frees_the_place(engine: BatchEngine, model: Any) -> None:
    stream: Any = engine.stream(tuple(WORDS[:20]), greedy(max_new_tokens=10_000, ignore_eos=True))
    for _ in range(5):
        next(stream)
    stream.close()
    assert not engine._steps.has_work
    assert engine.requests == 0
    one = request(1)
    assert speak(engine, one.ids, max_new_tokens=NEW_TOKENS)[0] == alone(model, 1)


def test_one_callers_failure_is_not_the_others(engine: BatchEngine, model: Any) -> None:
    one = request(2)
    good: Any = engine.stream(tuple(one.ids), one.params)
    ids = [next(good).token_id for _ in range(3)]
    with pytest.raises(InvalidRequestError, match="does not know"):
        list(engine.stream((10**6,), greedy(max_new_tokens=2)))
    ids += [chunk.token_id for chunk in good]
    assert [i for i in ids if i is not None] == alone(model, 2)
