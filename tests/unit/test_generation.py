"""Chunks become the reply so far: text, counts, times, and why it ended."""

import itertools
from collections.abc import Generator
from typing import Any

import pytest

from gemma_space.catalog import hub_catalog
from gemma_space.chunks import GenerationChunk, ScoredToken, TokenScore
from gemma_space.generation import Recorder
from gemma_space.registry import ModelKey
from gemma_space.tokens import TextStream
from gemma_space.types import Precision
from tests import tiny_checkpoints as tiny
from tests.unit.test_exactness import greedy

KEY = ModelKey(checkpoint=hub_catalog()[0], revision="0123", precision=Precision.INT8)


class Clock:
    """Each chunk comes a tenth of a second after the one before it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.build_tokenizer(tiny.GEMMA_3)


class Engine:
    """Says what it is told and remembers whether it was closed."""

    def __init__(self, clock: Clock, chunks: list[GenerationChunk]) -> None:
        self._clock = clock
        self._chunks = chunks
        self.given = 0
        self.closed = False

    def stream(self) -> Generator[GenerationChunk, None, None]:
        try:
            for chunk in self._chunks:
                self._clock.now += 0.1
                self.given += 1
                yield chunk
        finally:
            self.closed = True


def says(tokenizer: Any, text: str, reason: Any = "length", **more: Any) -> list[GenerationChunk]:
    """The chunks of a reply; with reason "stop" a stop token follows the text."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    chunks = [GenerationChunk(), GenerationChunk(prompt_done_tokens=4, cached_tokens=3)]
    last = len(ids) - 1
    for at, token_id in enumerate(ids):
        ends = reason if reason == "length" and at == last else None
        chunks.append(
            GenerationChunk(token_id=token_id, finish_reason=ends, cached_tokens=3, **more)
        )
    if reason == "stop":
        chunks.append(GenerationChunk(token_id=106, finish_reason="stop", cached_tokens=3))
    return chunks


def recorder(tokenizer: Any, clock: Clock, stop: tuple[str, ...] = (), **more: Any) -> Recorder:
    stream = TextStream(tokenizer, stop=stop)
    return Recorder(
        KEY,
        greedy(seed=42),
        stream,
        prompt_ids=tuple(range(9)),
        tokenizer=tokenizer,
        clock=clock,
        **more,
    )


@pytest.mark.parametrize("reason", ["length", "stop"])
def test_counts_times_and_identity(tokenizer: Any, reason: str) -> None:
    clock, text = Clock(), "the answer is here"
    engine = Engine(clock, says(tokenizer, text, reason))
    made = recorder(tokenizer, clock, dropped_messages=2, notes=("told",))
    updates = list(made.record(engine.stream()))
    count = len(tokenizer.encode(text, add_special_tokens=False))
    last = updates[-1]
    assert (last.text, last.finish_reason) == (text, reason)
    assert (last.prompt_tokens, last.completion_tokens, last.cached_tokens) == (9, count, 3)
    assert (last.seed, last.dropped_messages, last.notes) == (42, 2, ("told",))
    assert (last.model, last.revision, last.precision) == (
        "google/gemma-3-270m-it", "0123", "int8",
    )  # fmt: skip
    assert last.ttft_seconds == pytest.approx(0.3)
    seconds = 0.1 * (count - 1 + (reason == "stop"))
    assert last.tokens_per_second == pytest.approx((count - 1) / seconds)
    assert [u.finish_reason for u in updates[:-1]] == [None] * (len(updates) - 1)
    for earlier, later in itertools.pairwise(updates):
        assert later.text.startswith(earlier.text)
        assert later.completion_tokens >= earlier.completion_tokens
    assert updates[0].ttft_seconds is None
    assert updates[0].tokens_per_second is None
    assert engine.closed


def test_a_stop_string_ends_and_closes_the_engine(tokenizer: Any) -> None:
    clock = Clock()
    engine = Engine(clock, says(tokenizer, "one two three four"))
    chunks = engine.stream()  # held, so that it is not closed by merely being forgotten
    *_, last = recorder(tokenizer, clock, stop=("two",)).record(chunks)
    assert (last.text, last.finish_reason) == ("one ", "stop_string")
    assert engine.closed
    assert engine.given < len(says(tokenizer, "one two three four"))


def test_what_was_held_back_is_shown_at_the_end(tokenizer: Any) -> None:
    clock = Clock()
    engine = Engine(clock, says(tokenizer, "the end is ne", "stop"))
    updates = list(recorder(tokenizer, clock, stop=("near",)).record(engine.stream()))
    assert updates[-1].text == "the end is ne"
    assert updates[-2].text == "the end is "


def test_closing_closes_the_engine(tokenizer: Any) -> None:
    clock = Clock()
    engine = Engine(clock, says(tokenizer, "the answer is here"))
    chunks = engine.stream()
    record = recorder(tokenizer, clock).record(chunks)
    for _ in range(4):
        next(record)
    assert not engine.closed
    record.close()
    assert engine.closed


def test_an_engines_failure_passes_through(tokenizer: Any) -> None:
    def fails() -> Generator[GenerationChunk]:
        yield GenerationChunk()
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        list(recorder(tokenizer, Clock()).record(fails()))


def test_the_reply_so_far_stands_in_front(tokenizer: Any) -> None:
    clock = Clock()
    engine = Engine(clock, says(tokenizer, " there"))
    updates = list(recorder(tokenizer, clock, before="Hello").record(engine.stream()))
    assert updates[0].text == "Hello"
    assert updates[-1].text == "Hello there"


def test_scores_are_named_and_leave_the_stop_token_out(tokenizer: Any) -> None:
    clock = Clock()
    e = tokenizer.convert_tokens_to_ids("e")
    byte = tokenizer.convert_tokens_to_ids("<0xE2>")
    scored = [
        GenerationChunk(
            token_id=e,
            score=ScoredToken(
                token_id=e, logprob=-0.5, entropy=1.25,
                top=(TokenScore(token_id=e, logprob=-0.5), TokenScore(token_id=byte, logprob=-2.0)),
            ),
        ),
        GenerationChunk(
            token_id=106, finish_reason="stop",
            score=ScoredToken(token_id=106, logprob=-0.1, entropy=0.5),
        ),
    ]  # fmt: skip
    engine = Engine(clock, scored)
    *_, last = recorder(tokenizer, clock).record(engine.stream())
    (piece,) = last.tokens
    assert (piece.id, piece.text, piece.logprob, piece.entropy) == (e, "e", -0.5, 1.25)
    assert [(a.id, a.text, a.logprob) for a in piece.top] == [
        (e, "e", -0.5),
        (byte, "<0xE2>", -2.0),
    ]


def test_a_branch_begins_with_what_it_was_given(tokenizer: Any) -> None:
    clock = Clock()
    given = tuple(tokenizer.encode("one two", add_special_tokens=False))
    engine = Engine(clock, says(tokenizer, " three"))
    updates = list(recorder(tokenizer, clock, begins_with=given).record(engine.stream()))
    assert updates[0].text == "one two"
    last = updates[-1]
    assert last.text == "one two three"
    assert last.token_ids[: len(given)] == given
    assert last.prompt_ids == tuple(range(9))
    assert last.prompt_tokens == 9 + len(given)
    assert last.completion_tokens == len(last.token_ids) - len(given) > 0
    assert last.params == greedy(seed=42)


def test_a_branch_that_completes_a_stop_string_asks_nobody(tokenizer: Any) -> None:
    clock = Clock()
    given = tuple(tokenizer.encode("one two", add_special_tokens=False))
    engine = Engine(clock, says(tokenizer, " three"))
    chunks = engine.stream()
    (last,) = recorder(tokenizer, clock, stop=("two",), begins_with=given).record(chunks)
    assert (last.text, last.finish_reason, engine.given) == ("one ", "stop_string", 0)


def test_a_time_limit_before_the_first_token_is_an_end(tokenizer: Any) -> None:
    clock = Clock()
    engine = Engine(clock, [GenerationChunk(), GenerationChunk(finish_reason="time_limit")])
    *_, last = recorder(tokenizer, clock).record(engine.stream())
    assert (last.text, last.finish_reason, last.ttft_seconds) == ("", "time_limit", None)
