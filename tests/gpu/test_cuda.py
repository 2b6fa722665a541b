"""The engine on a GPU: exact, in company, recorded and not, and whole after it ran out of memory.

Runs where there is one and the tests may see it: `CUDA_VISIBLE_DEVICES=0 pytest tests/gpu`.
"""

import itertools
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gemma_space.engine import joined, kv_layer, prefix_cache
from gemma_space.engine.batch import BatchEngine
from gemma_space.errors import GenerationError
from gemma_space.types import Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_engine_exact import (
    PLENTY,
    TALKS,
    WORDS,
    at_once,
    check_conversations,
    converse,
    distance,
    speak,
)
from tests.unit.test_exactness import Reference
from tests.unit.test_precision_traps import loaded, loud

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
ON_GPU: dict[str, Any] = {"place": {"device_map": "cuda:0"}}
NEAR_TIE_BF16 = 0.5  # as on a CPU, in parts of the logits' standard deviation


def engine_of(reference: Reference) -> BatchEngine:
    reference.model.to("cuda")
    return BatchEngine(reference.model, frozenset(), PLENTY)


@pytest.fixture(params=["recorded", "direct"])
def recorded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Record from the first step on, or never; buffers grow in the middle of replies."""
    yes = request.param == "recorded"
    monkeypatch.setattr(joined, "STEADY_STEPS", 0 if yes else 10**9)
    monkeypatch.setitem(kv_layer.ROOM_COLUMNS, "cuda", 6)
    monkeypatch.setattr(prefix_cache, "FEWEST_COPIED", 1)
    return yes


@pytest.mark.parametrize("checkpoint", tiny.CHATTING, ids=lambda t: t.name)
def test_conversations_at_once_equal_generate(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny, recorded: bool
) -> None:
    reference = Reference(checkpoints.folder(checkpoint), frozenset((-1,)))
    engine = engine_of(reference)
    check_conversations(reference, engine, checkpoint is not tiny.GEMMA_1)
    assert engine._steps._recording.recorder is not None
    assert engine._steps._recording.is_trusted is recorded


@pytest.mark.parametrize(
    "checkpoint", [tiny.GEMMA_2, tiny.GEMMA_3, tiny.GEMMA_4], ids=lambda t: t.name
)
def test_in_bf16_only_near_ties_differ(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny, recorded: bool
) -> None:
    reference = Reference(checkpoints.folder(checkpoint), frozenset((-1,)))
    reference.model.to(torch.bfloat16)
    engine = engine_of(reference)
    talks = at_once(lambda number=number: converse(engine, number, True) for number in range(TALKS))
    found = [distance(reference, turn) for turn in itertools.chain(*talks)]
    differing = [far for far in found if far is not None]
    logging.warning("bf16 %s: %d of %d differ, gaps up to %.3f", checkpoint.name,
                    len(differing), len(found), max(differing, default=0))  # fmt: skip
    assert all(far < NEAR_TIE_BF16 for far in differing)


@pytest.mark.parametrize("checkpoint", [tiny.GEMMA_3, tiny.GEMMA_4], ids=lambda t: t.name)
def test_a_seeded_text_is_the_same_in_company(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny, recorded: bool
) -> None:
    reference = Reference(checkpoints.folder(checkpoint), frozenset((-1,)))
    sampled: dict[str, Any] = {"temperature": 1.0, "top_k": 40, "top_p": 0.95}

    def ask(engine: BatchEngine, number: int) -> Callable[[], list[int]]:
        prompt = random.Random(number).choices(WORDS, k=1 + 7 * number)
        return lambda: speak(engine, prompt, max_new_tokens=24, seed=number, **sampled)[0]

    alone = [ask(engine_of(reference), number)() for number in range(9)]
    assert len({tuple(text) for text in alone}) == 9
    engine = engine_of(reference)
    for shift in range(3):
        order = random.Random(shift).sample(range(9), 9)
        assert at_once(ask(engine, n) for n in order) == [alone[n] for n in order]


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8, Precision.INT4])
def test_large_numbers_survive(checkpoints: Checkpoints, precision: Precision) -> None:
    """Trap 1 on CUDA: int8 casts its input to fp16 there, all but the columns that stand out."""
    folder = checkpoints.variant("loud", lambda path: tiny.write(tiny.GEMMA_3, path, change=loud))
    wanted = _logits(folder, Precision.FP32)
    found = _logits(folder, precision)
    assert torch.isfinite(found).all()
    error = ((found - wanted).norm() / wanted.norm()).item()
    assert error < {Precision.BF16: 0.1, Precision.INT8: 0.15, Precision.INT4: 1.0}[precision]


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8, Precision.INT4])
def test_every_precision_writes(checkpoints: Checkpoints, precision: Precision) -> None:
    model = loaded(checkpoints.folder(tiny.GEMMA_3), precision, **ON_GPU)
    engine = BatchEngine(model.model, frozenset(), PLENTY)
    prompts = [random.Random(n).choices(WORDS, k=20) for n in range(4)]
    texts = at_once(
        lambda prompt=prompt: speak(engine, prompt, max_new_tokens=24)[0] for prompt in prompts
    )
    assert [len(text) for text in texts] == [24] * 4
    is_recorded = engine._steps._recording.recorder is not None
    assert is_recorded is (precision is not Precision.INT8)  # which asks the device at each layer


@torch.inference_mode()
def _logits(folder: Path, precision: Precision) -> torch.Tensor:
    model = loaded(folder, precision, **ON_GPU).model
    return model(torch.tensor([list(range(400, 420))], device="cuda")).logits.float().cpu()


def test_running_out_of_memory_ends_one_reply_and_no_other(checkpoints: Checkpoints) -> None:
    reference = Reference(checkpoints.folder(tiny.GEMMA_1), frozenset((-1,)))
    engine = engine_of(reference)
    prompt = random.Random(1).choices(WORDS, k=30)
    wanted = speak(engine, prompt, max_new_tokens=200)[0]
    engine.kept.clear()
    torch.cuda.empty_cache()
    ballast = torch.empty(torch.cuda.mem_get_info()[0] - 400 * 2**20, dtype=torch.uint8,
                          device="cuda")  # fmt: skip
    endless = random.Random(2).choices(WORDS, k=400_000)

    def too_long() -> str:
        try:
            speak(engine, endless, max_new_tokens=1)
        except GenerationError as error:
            return str(error)
        return "it fitted"

    found = at_once([too_long, lambda: speak(engine, prompt, max_new_tokens=200)[0]])
    assert "ran out of memory" in found[0]
    assert found[1] == wanted
    del ballast
    torch.cuda.empty_cache()
    assert speak(engine, prompt, max_new_tokens=200)[0] == wanted
