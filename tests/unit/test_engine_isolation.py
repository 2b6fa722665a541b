"""A request that fails or goes away does so alone: nobody else's text changes.

Most of it without threads: a step at a time, with faults put into the model's forward pass. The
model is a tiny Gemma 3; every request has words of its own, and what it says alone is known.
"""

import queue
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_space.engine import steps
from gemma_space.engine.kv import RowsCache
from gemma_space.engine.kv_layer import RowsLayer
from gemma_space.engine.prefix_cache import PrefixCache
from gemma_space.engine.request import Request
from gemma_space.engine.sampling import Sampler
from gemma_space.engine.steps import Steps
from gemma_space.errors import GemmaSpaceError, GenerationError
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_engine_exact import WORDS
from tests.unit.test_exactness import greedy

NEW_TOKENS = 16
CHUNK = 16
BAD = 200  # an id that no prompt has but the one that is to fail; no reply says it either
Fault = Callable[[torch.Tensor, Any], None]


@pytest.fixture(scope="module")
def plain_model(checkpoints: Checkpoints) -> Any:
    folder = checkpoints.folder(tiny.GEMMA_3)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


class Faulty:
    """A model's forward pass with a fault: called with the ids before, and with the output after.

    `calls` are the shapes of what it was given: (rows, columns).
    """

    def __init__(self, model: Any) -> None:
        self._forward = model.forward
        self.model = model
        self.before: Fault = lambda ids, out: None
        self.after: Fault = lambda ids, out: None
        self.calls: list[tuple[int, int]] = []
        model.forward = self._wrapped

    def _wrapped(self, **given: Any) -> Any:
        ids = given["input_ids"]
        self.calls.append((ids.shape[0], ids.shape[1]))
        self.before(ids, None)
        out = self._forward(**given)
        self.after(ids, out)
        return out


@pytest.fixture
def faulty(plain_model: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    monkeypatch.setitem(steps.PREFILL_TOKENS, "cpu", CHUNK)
    yield Faulty(plain_model)
    del plain_model.forward  # the class has its own


def request(number: int, **controls: Any) -> Request:
    """Prompts of different length; each begins as no other does."""
    words = random.Random(number).choices(WORDS, k=6 + 9 * number)
    params = greedy(max_new_tokens=NEW_TOKENS, ignore_eos=True, **controls)
    return Request([WORDS[number], *words], params)


def make_steps(model: Any, cache_bytes: int = 10**9) -> Steps:
    return Steps(model, frozenset(), PrefixCache[RowsCache](cache_bytes))


def finish(engine: Steps, *requests: Request) -> None:
    engine.waiting.extend(requests)
    for _ in range(300):
        if not engine.has_work:
            return
        engine.step()
    raise AssertionError("it does not come to an end")


def reply(request: Request) -> tuple[list[int], GemmaSpaceError | None]:
    """What a request was told: its ids, and the error that ended it."""
    ids: list[int] = []
    while True:
        try:
            told = request.told.get_nowait()
        except queue.Empty:
            return ids, None
        if isinstance(told, GemmaSpaceError):
            assert request.told.empty(), "an error is the last word"
            return ids, told
        if told.token_id is not None:
            ids.append(told.token_id)


def alone(model: Any, number: int, **controls: Any) -> list[int]:
    one = request(number, **controls)
    finish(make_steps(model), one)
    return reply(one)[0]


def own_word(faulty: Faulty, number: int) -> tuple[list[int], int]:
    """What request `number` of four says alone, and where in it a word is that no other says."""
    texts = [alone(faulty.model, one) for one in range(4)]
    wanted = texts.pop(number)
    others = {i for text in texts for i in text}
    at = next(i for i in range(3, NEW_TOKENS - 2)
              if wanted[i] not in others and wanted[i] not in wanted[:i])  # fmt: skip
    return wanted, at


def check_others(faulty: Faulty, others: list[Request]) -> None:
    """They said what they say alone."""
    faulty.before = faulty.after = lambda ids, out: None
    for number, other in enumerate(others):
        ids, error = reply(other)
        assert error is None
        assert ids == alone(faulty.model, number)


def test_the_texts_are_worth_comparing(faulty: Faulty) -> None:
    texts = [tuple(alone(faulty.model, number)) for number in range(5)]
    assert len(set(texts)) == 5
    assert all(len(text) == NEW_TOKENS for text in texts)


@pytest.mark.parametrize("ids", [[], [-1], [512], [2, 10**30], [400, -3, 400]], ids=str)
def test_ids_that_the_model_does_not_know_are_refused(faulty: Faulty, ids: list[int]) -> None:
    others = [request(0), request(1)]
    bad = Request(ids, greedy(max_new_tokens=4))
    engine = make_steps(faulty.model)
    finish(engine, others[0], bad, others[1])
    said, error = reply(bad)
    assert said == []
    assert isinstance(error, GenerationError)
    assert "does not know" in error.message
    check_others(faulty, others)


def raises(error: BaseException, when: Callable[[torch.Tensor], bool]) -> Fault:
    def fault(ids: torch.Tensor, out: Any) -> None:
        if when(ids):
            raise error

    return fault


def spoils(when: Callable[[torch.Tensor], torch.Tensor], number: float) -> Fault:
    """One row's logits become `number`."""

    def fault(ids: torch.Tensor, out: Any) -> None:
        out.logits[when(ids)] = number

    return fault


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("decoding", [False, True])
def test_numbers_that_overflow_end_their_row_alone(
    faulty: Faulty, number: float, decoding: bool
) -> None:
    others, bad = [request(0), request(1), request(2)], request(3)
    wanted, at = own_word(faulty, 3)
    trigger = wanted[at] if decoding else bad.ids[-1]
    faulty.after = spoils(
        lambda ids: (ids[:, -1] == trigger) & ((ids.shape[1] == 1) == decoding), number
    )
    engine = make_steps(faulty.model)
    finish(engine, *others, bad)
    said, error = reply(bad)
    assert said == (wanted[: at + 1] if decoding else [])
    assert error is not None
    assert "overflowed" in error.message
    assert engine._kept.take([*bad.ids, 2]) is None, "nobody continues from what overflowed"
    check_others(faulty, others)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_step_that_fails_once_is_done_again_one_by_one(faulty: Faulty, when: str) -> None:
    """Also where all layers had taken the tokens in already."""
    together = []

    def third_time(ids: torch.Tensor) -> bool:
        together.extend([1] * (ids.shape[0] > 2))
        return ids.shape[0] > 2 and len(together) == 3

    setattr(faulty, when, raises(RuntimeError("once"), third_time))
    others = [request(number) for number in range(4)]
    finish(make_steps(faulty.model), *others)
    assert len(together) > 3, "they are together again afterwards"
    check_others(faulty, others)


FAULTS = {
    "error": (lambda: ValueError("secret words"), "ValueError"),
    "no memory": (lambda: torch.OutOfMemoryError("CUDA out of memory."), "ran out of memory"),
}


@pytest.mark.parametrize("decoding", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_whose_step_always_fails_ends_alone(
    faulty: Faulty, fault: str, decoding: bool
) -> None:
    make, words = FAULTS[fault]
    others, bad = [request(0), request(1), request(2)], request(3)
    wanted, at = own_word(faulty, 3)
    if not decoding:
        bad.ids[20] = BAD  # in its second chunk
    trigger = wanted[at] if decoding else BAD
    faulty.before = raises(
        make(), lambda ids: (ids.shape[1] == 1) == decoding and bool((ids == trigger).any())
    )
    finish(make_steps(faulty.model), *others, bad)
    said, error = reply(bad)
    assert said == (wanted[: at + 1] if decoding else [])
    assert isinstance(error, GenerationError)
    assert words in error.message
    assert "secret" not in str(error)
    check_others(faulty, others)


def test_a_sampler_that_fails_ends_its_request_alone(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pick(self: Sampler, logits: torch.Tensor, ids: list[int]) -> int:
        if len(ids) == len(bad.ids) and len(ids) > bad.prompt_tokens + 3:
            raise IndexError("no such token")
        return int(logits.argmax())

    others, bad = [request(0), request(1)], request(2, temperature=1.0)
    monkeypatch.setattr(Sampler, "pick", pick)
    finish(make_steps(faulty.model), *others, bad)
    said, error = reply(bad)
    assert len(said) == 4
    assert error is not None
    assert "IndexError" in error.message
    check_others(faulty, others)


@pytest.mark.parametrize("method", ["add", "copy"])
@pytest.mark.parametrize("layer", [0, 3])
def test_no_memory_to_join_or_leave_costs_at_most_one_request(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch, method: str, layer: int
) -> None:
    """Also when some layers have moved the row already and others have not."""
    calls, works = [0], getattr(RowsLayer, method)

    def fails(self: RowsLayer, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == layer + 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return works(self, *args)

    others = [request(number) for number in range(4)]
    monkeypatch.setattr(RowsLayer, method, fails)
    finish(make_steps(faulty.model), *others)
    monkeypatch.setattr(RowsLayer, method, works)
    ended = [reply(one) for one in others]
    failed = [error for _, error in ended if error is not None]
    assert len(failed) <= (1 if method == "add" else 0)
    assert all("ran out of memory" in error.message for error in failed)
    for number, (ids, error) in enumerate(ended):
        assert error is not None or ids == alone(faulty.model, number)
