"""Traps 1 and 14: what a precision and an attention do to Gemma's numbers, on real tiny models."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from gemma_space import loading
from gemma_space.attention import offered, refusal
from gemma_space.catalog import Checkpoint, hub_catalog
from gemma_space.engine.batch import BatchEngine
from gemma_space.engine.kv import RowsCache
from gemma_space.errors import GenerationError, PrecisionUnsupportedError
from gemma_space.loading import LoadedModel, load
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.precision import require
from gemma_space.types import Attention, Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_exactness import greedy

LOUDER = 1e4  # brings activations to 1e6; fp16 ends at 65,504
PROMPT = tuple(range(400, 420))
ROWS = {row.repo_id.removeprefix("google/"): row for row in hub_catalog()}


def loud(model: Any) -> None:
    """The same function with huge numbers between up and down projection, as Gemma 3 has them."""
    for layer in model.model.layers:
        layer.mlp.up_proj.weight *= LOUDER
        layer.mlp.down_proj.weight /= LOUDER


@pytest.fixture(scope="module")
def loud_folder(checkpoints: Checkpoints) -> Path:
    return checkpoints.variant("loud", lambda path: tiny.write(tiny.GEMMA_3, path, change=loud))


def loaded(folder: Path, precision: Precision, **options: Any) -> LoadedModel:
    row = local_checkpoint(folder)
    return load(row, folder, precision, lambda done, total: None, lambda: False, **options)


@torch.inference_mode()
def logits(model: LoadedModel) -> torch.Tensor:
    return model.model(torch.tensor([PROMPT])).logits.float()


@pytest.mark.parametrize(
    "row", [r for r in hub_catalog() if r.family in ("gemma3", "gemma3n", "gemma4")],
    ids=lambda row: row.repo_id,
)  # fmt: skip
def test_trap_01_generations_that_overflow_are_refused_in_fp16_with_the_reason(
    row: Checkpoint,
) -> None:
    with pytest.raises(PrecisionUnsupportedError, match="overflows in fp16") as caught:
        require(row, Precision.FP16)
    assert "bf16" in caught.value.hint


def test_trap_01_large_activations_survive_in_every_precision_that_is_offered(
    loud_folder: Path,
) -> None:
    wanted = logits(loaded(loud_folder, Precision.FP32))
    peaks: list[float] = []
    model = loaded(loud_folder, Precision.FP32)
    model.model.model.layers[0].mlp.down_proj.register_forward_pre_hook(
        lambda module, given: peaks.append(given[0].abs().max().item())
    )
    logits(model)
    assert peaks[0] > 10 * torch.finfo(torch.float16).max, "not loud enough to prove anything"
    # int8 casts its input to fp16, but computes outliers apart, from the input as it came.
    for precision, error in ((Precision.BF16, 0.1), (Precision.INT8, 0.15)):
        found = logits(loaded(loud_folder, precision))
        assert ((found - wanted).norm() / wanted.norm()).item() < error
    assert torch.isfinite(logits(loaded(loud_folder, Precision.INT4))).all()
    assert not torch.isfinite(logits(loaded(loud_folder, Precision.FP16))).all()


def test_trap_01_numbers_that_overflow_are_told_and_not_shown_as_an_empty_reply(
    loud_folder: Path,
) -> None:
    model = loaded(loud_folder, Precision.FP16)
    with pytest.raises(GenerationError, match="overflowed") as caught:
        list(BatchEngine(model.model, model.stop_ids).stream(PROMPT, greedy()))
    assert "bf16" in caught.value.hint


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])
def test_trap_01_what_is_not_quantized_and_what_computes_is_bf16(
    checkpoints: Checkpoints, precision: Precision
) -> None:
    model = loaded(checkpoints.folder(tiny.GEMMA_3), precision).model
    floating = {p.dtype for p in model.parameters() if p.is_floating_point()}
    assert floating == {torch.bfloat16}
    computing = {getattr(m, "compute_dtype", torch.bfloat16) for m in model.modules()}
    assert computing == {torch.bfloat16}


def test_trap_01_int8_does_not_log_a_line_per_layer_and_token(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(checkpoints.folder(tiny.GEMMA_3), Precision.INT8)
    with caplog.at_level(logging.INFO):
        list(BatchEngine(model.model, model.stop_ids).stream(PROMPT, greedy(max_new_tokens=2)))
    assert [r for r in caplog.records if r.name.startswith("bitsandbytes")] == []


def test_trap_01_loads_at_once_do_not_leave_each_others_dtype_behind(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library sets torch's default dtype while it builds a model, for the whole process."""
    inside: list[int] = []
    most: list[int] = []
    real = loading.AutoModelForCausalLM.from_pretrained

    def watched(*args: Any, **kwargs: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        try:
            return real(*args, **kwargs)
        finally:
            inside.pop()

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", watched)
    folder = checkpoints.folder(tiny.GEMMA_3)
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda p: loaded(folder, p), [Precision.BF16, Precision.FP32] * 2))
    assert [m.model.dtype for m in models] == [torch.bfloat16, torch.float32] * 2
    assert max(most) == 1
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("checkpoint", tiny.CHATTING, ids=lambda t: t.name)
def test_trap_14_attention_is_the_librarys_own_choice(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny
) -> None:
    model = loaded(checkpoints.folder(checkpoint), Precision.FP32).model
    chosen = model.config.get_text_config()._attn_implementation
    assert chosen == ("eager" if checkpoint.family == "gemma2" else "sdpa")


def test_trap_14_gemma_2_is_not_offered_what_drops_its_softcap() -> None:
    row = ROWS["gemma-2-9b-it"]
    assert Attention.SDPA not in offered(row, "cuda")
    assert "caps its attention" in refusal(row, Attention.SDPA, Precision.BF16, "cuda")
    assert offered(row, "cpu") == (Attention.AUTO, Attention.EAGER)


def test_trap_14_a_cache_named_in_the_files_does_not_apply(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    """Gemma 2 and 3 ship `cache_implementation: hybrid`, which once compiled on first use."""
    folder = checkpoints.variant("hybrid", lambda path: tiny.write(tiny.GEMMA_3, path))
    config = GenerationConfig.from_pretrained(folder)
    config.cache_implementation = "hybrid"
    config.save_pretrained(folder)
    model = loaded(folder, Precision.FP32)
    assert model.model.generation_config.cache_implementation is None
    used: list[Any] = []
    forward = model.model.forward
    model.model.forward = lambda *args, **kwargs: (
        used.append(kwargs["past_key_values"]) or forward(*args, **kwargs)
    )
    list(BatchEngine(model.model, model.stop_ids).stream(PROMPT, greedy(max_new_tokens=2)))
    assert {type(cache) for cache in used} == {RowsCache}
