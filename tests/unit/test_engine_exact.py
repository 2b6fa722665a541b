"""Replies written together are those of `model.generate` alone, token for token.

Conversations at once over several turns, for every generation: rows join and leave, beginnings
are found again, windows (16 tokens) and prefill chunks are crossed. Who meets whom is up to the
threads; what comes out, and how much of it was kept from the turn before, is not.
"""

import itertools
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_space.engine import joined, kv_layer, prefix_cache, steps
from gemma_space.engine.batch import BatchEngine
from gemma_space.engine.fixed import Step
from gemma_space.engine.joined import Recording
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_exactness import Reference, greedy

PLENTY = 10**9
WORDS = range(364, 512)  # below are control tokens and bytes
# How close two logits must be for another order of additions to choose the other, in parts of the
# logits' standard deviation. In fp32 none of 1,100 replies met one. In bf16 one in six replies
# differed, at gaps of up to 0.23 (Gemma 2, 3, 3n); a wrong cache shows gaps of 1.6 to 7.
NEAR_TIE = 1e-4
NEAR_TIE_BF16 = 0.5
TALKS = 12  # more than there are rows
SIZES = (1, 9, 17, 40, 90, 150)  # of the first prompts
HABITS = (
    ("grow", "again", "grow"), ("again", "grow", "edit"), ("stop", "grow", "again"),
    ("grow", "edit", "again"), ("edit", "stop", "grow"), ("grow", "grow", "stop"),
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """What was asked and answered, and how many ids of it were kept from the turn before."""

    prompt: list[int]
    reply: list[int]
    cached: int
    least_cached: int


def speak(
    engine: BatchEngine, prompt: list[int], until: int | None = None, **controls: Any
) -> tuple[list[int], int]:
    """The ids of a reply, closed after `until` of them, and the cached tokens."""
    said: list[int] = []
    cached = 0
    stream = engine.stream(tuple(prompt), greedy(ignore_eos=True, **controls))
    for chunk in stream:
        cached = chunk.cached_tokens
        if chunk.token_id is not None:
            said.append(chunk.token_id)
        if until is not None and len(said) >= until:
            stream.close()  # pyright: ignore[reportAttributeAccessIssue]
            break
    return said, cached


def converse(engine: BatchEngine, number: int, windowed: bool) -> list[Turn]:
    """One conversation; its first id is nobody else's, so its caches are its own."""
    chance = random.Random(number)
    prompt = [WORDS[number], *chance.choices(WORDS, k=SIZES[number % 6] - 1)]
    turns: list[Turn] = []
    least = 0
    for habit in (*HABITS[number // 2], "end"):
        count = chance.randrange(4, 20)
        until = count // 2 if habit == "stop" else None
        said, cached = speak(engine, prompt, until, max_new_tokens=count)
        turns.append(Turn(prompt, said, cached, least))
        if habit == "again":
            least = len(prompt) - 1
        elif habit == "edit":
            prompt = prompt[: (len(prompt) + 1) // 2]
            least = 0 if windowed else len(prompt)
            prompt = [*prompt, *chance.choices(WORDS, k=5)]
        else:  # the last id that was said is not in the cache yet
            least = len(prompt) + len(said) - 1
            prompt = [*prompt, *said, *chance.choices(WORDS, k=chance.randrange(1, 30))]
    return turns


def at_once(jobs: Iterable[Callable[[], Any]]) -> list[Any]:
    """What the jobs return, each in a thread."""
    results: dict[int, Any] = {}

    def run(index: int, job: Callable[[], Any]) -> None:
        results[index] = job()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == len(threads), "one of them failed"
    return [results[index] for index in range(len(threads))]


@torch.inference_mode()
def distance(reference: Reference, turn: Turn) -> float | None:
    """None if the reply is the reference's; else how far apart the two logits are, in stds."""
    wanted = reference.reply(turn.prompt, len(turn.reply))
    if turn.reply == wanted:
        return None
    at = next(i for i, (one, other) in enumerate(zip(turn.reply, wanted, strict=True))
              if one != other)  # fmt: skip
    ids = torch.tensor([turn.prompt + wanted[:at]], device=reference.model.device)
    logits = reference.model(ids).logits[0, -1].float()
    return float((logits[wanted[at]] - logits[turn.reply[at]]) / logits.std())


def check_conversations(reference: Reference, engine: BatchEngine, windowed: bool) -> None:
    talks = at_once(
        lambda number=number: converse(engine, number, windowed) for number in range(TALKS)
    )
    turns = list(itertools.chain(*talks))
    assert len({i for turn in turns for i in turn.reply}) > 30, "collapsed text proves nothing"
    for turn in turns:
        assert turn.least_cached <= turn.cached < len(turn.prompt)
    assert sum(turn.cached > 0 for turn in turns) >= 2 * TALKS
    near_ties = [far for far in (distance(reference, turn) for turn in turns) if far is not None]
    assert all(far < NEAR_TIE for far in near_ties)
    assert len(near_ties) <= 2


@pytest.mark.parametrize("checkpoint", tiny.CHATTING, ids=lambda t: t.name)
def test_conversations_at_once_equal_generate(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, checkpoint: tiny.Tiny
) -> None:
    monkeypatch.setitem(steps.PREFILL_TOKENS, "cpu", tiny.SLIDING_WINDOW)
    monkeypatch.setattr(prefix_cache, "FEWEST_COPIED", 1)  # conversations here are short
    reference = Reference(checkpoints.folder(checkpoint), frozenset((-1,)))
    engine = BatchEngine(reference.model, frozenset(), PLENTY)
    check_conversations(reference, engine, checkpoint is not tiny.GEMMA_1)


@pytest.mark.parametrize("checkpoint", tiny.CHATTING, ids=lambda t: t.name)
def test_steps_of_fixed_shapes_equal_generate(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, checkpoint: tiny.Tiny
) -> None:
    """What a GPU records and replays, here taken anew each time: the same function."""
    monkeypatch.setattr(joined, "STEADY_STEPS", 0)
    monkeypatch.setitem(kv_layer.ROOM_COLUMNS, "cpu", 6)  # buffers grow in the middle of replies
    monkeypatch.setattr(prefix_cache, "FEWEST_COPIED", 1)
    reference = Reference(checkpoints.folder(checkpoint), frozenset((-1,)))
    engine = BatchEngine(reference.model, frozenset(), PLENTY)
    taken = [0]

    def as_it_is(step: Step) -> Step:
        def counted() -> torch.Tensor:
            taken[0] += 1
            return step()

        return counted

    recording = Recording(reference.model, as_it_is)
    monkeypatch.setattr(engine._steps, "_recording", recording)
    check_conversations(reference, engine, checkpoint is not tiny.GEMMA_1)
    assert recording.recorder is not None, "they were not alike"
    assert taken[0] > 10


@pytest.mark.parametrize(
    "checkpoint", [tiny.GEMMA_2, tiny.GEMMA_3, tiny.GEMMA_3N], ids=lambda t: t.name
)
def test_in_bf16_only_near_ties_differ(checkpoints: Checkpoints, checkpoint: tiny.Tiny) -> None:
    reference = Reference(checkpoints.folder(checkpoint), frozenset((-1,)))
    reference.model.to(torch.bfloat16)
    engine = BatchEngine(reference.model, frozenset(), PLENTY)
    talks = at_once(lambda number=number: converse(engine, number, True) for number in range(TALKS))
    found = [distance(reference, turn) for turn in itertools.chain(*talks)]
    differing = [far for far in found if far is not None]
    assert all(far < NEAR_TIE_BF16 for far in differing)
    assert len(differing) < len(found) / 2


@pytest.mark.parametrize("checkpoint", [tiny.GEMMA_3, tiny.GEMMA_4], ids=lambda t: t.name)
def test_a_seeded_text_is_the_same_in_company(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, checkpoint: tiny.Tiny
) -> None:
    """Eight others arrive before it, after it, and both."""
    monkeypatch.setitem(steps.MAX_ROWS, "cpu", 9)
    monkeypatch.setitem(steps.PREFILL_TOKENS, "cpu", tiny.SLIDING_WINDOW)
    folder = checkpoints.folder(checkpoint)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    sampled: dict[str, Any] = {"temperature": 1.0, "top_k": 40, "top_p": 0.95}
    prompt = random.Random(1).choices(WORDS, k=25)

    def ask(engine: BatchEngine, number: int) -> Callable[[], list[int]]:
        own = random.Random(number).choices(WORDS, k=1 + 7 * number)
        mine = prompt if number == 8 else own
        return lambda: speak(engine, mine, max_new_tokens=24, seed=number, **sampled)[0]

    alone = [ask(BatchEngine(model, frozenset()), number)() for number in range(9)]
    assert len({tuple(text) for text in alone}) == 9
    for before in (0, 3, 8):
        engine = BatchEngine(model, frozenset(), PLENTY)
        order = [*range(before), 8, *range(before, 8)]
        texts = at_once(ask(engine, number) for number in order)
        assert texts == [alone[number] for number in order]
