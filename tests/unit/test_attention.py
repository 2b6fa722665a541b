"""Attention: what is offered really runs and computes the same; what is refused says why."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from gemma_space import attention
from gemma_space.catalog import Checkpoint
from gemma_space.errors import InvalidRequestError, LoadError, PrecisionUnsupportedError
from gemma_space.loading import load
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.types import Attention, Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints

EVERY = pytest.mark.parametrize("checkpoint", tiny.EVERY, ids=lambda t: t.name)
BF16, FP32 = Precision.BF16, Precision.FP32


def loaded(folder: Path, wanted: Attention) -> Any:
    row = local_checkpoint(folder)
    return load(row, folder, FP32, lambda d, t: None, lambda: False, attention=wanted).model


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=torch.tensor([[2, *range(370, 420)]])).logits


def in_use(model: Any) -> str:
    return model.config.get_text_config(decoder=True)._attn_implementation


def of_family(checkpoints: Checkpoints, family: str) -> Checkpoint:
    return replace(local_checkpoint(checkpoints.folder(tiny.GEMMA_3)), family=family)


@EVERY
def test_whatever_is_offered_loads_and_computes_the_same(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny
) -> None:
    folder = checkpoints.folder(checkpoint)
    offered = attention.offered(local_checkpoint(folder), "cpu")
    assert offered[0] is Attention.AUTO
    models = {name: loaded(folder, name) for name in offered}
    used = {name: in_use(model) for name, model in models.items()}
    own = "eager" if checkpoint.family == "gemma2" else "sdpa"
    assert used == {name: own if name is Attention.AUTO else str(name) for name in offered}
    wanted = logits(models[Attention.AUTO])
    for model in models.values():
        torch.testing.assert_close(logits(model), wanted, rtol=0.0, atol=1e-3)


@EVERY
def test_on_a_cpu_everything_but_flash_is_offered(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny
) -> None:
    wanted = [Attention.AUTO, Attention.EAGER]
    if checkpoint.family != "gemma2":
        wanted.append(Attention.SDPA)
    row = local_checkpoint(checkpoints.folder(checkpoint))
    assert sorted(attention.offered(row, "cpu")) == sorted(wanted)


def test_what_gemma_2_is_refused_the_library_refuses_too(checkpoints: Checkpoints) -> None:
    row = local_checkpoint(checkpoints.folder(tiny.GEMMA_2))
    reason = attention.refusal(row, Attention.SDPA, BF16, "cpu")
    assert reason == "Gemma 2 caps its attention scores, which sdpa cannot do."
    with pytest.raises(LoadError):
        loaded(checkpoints.folder(tiny.GEMMA_2), Attention.SDPA)


@pytest.mark.parametrize(
    ("family", "precision", "device", "installed", "reason"),
    [
        ("gemma3", BF16, "cpu", True, "needs an NVIDIA GPU"),
        ("gemma4", BF16, "cpu", True, "heads of 512"),
        ("gemma4", BF16, "cuda", True, "heads of 512"),
        ("gemma3", BF16, "cuda", False, "flash-attn is not installed"),
        ("gemma3", FP32, "cuda", True, "16 bits only"),
        ("gemma3", BF16, "cuda", True, ""),
        ("gemma2", BF16, "cuda", True, ""),
        ("gemma3", Precision.INT4, "cuda", True, ""),
    ],
)
def test_flash_attention_is_refused_with_the_reason(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch,
    family: str, precision: Precision, device: str, installed: bool, reason: str,
) -> None:  # fmt: skip
    found = find_spec("json") if installed else None
    monkeypatch.setattr(attention, "find_spec", lambda name: found)
    row = of_family(checkpoints, family)
    told = attention.refusal(row, Attention.FLASH, precision, device)
    assert reason in told
    assert bool(told) is bool(reason)
    if not reason:
        attention.require(row, Attention.FLASH, precision, device)
        return
    with pytest.raises(PrecisionUnsupportedError, match=reason) as caught:
        attention.require(row, Attention.FLASH, precision, device)
    assert caught.value.hint == "Choose auto."


def test_flash_attention_is_not_offered_where_it_is_not_installed(
    checkpoints: Checkpoints,
) -> None:
    if find_spec("flash_attn") is not None:
        pytest.skip("flash-attn is installed here")
    assert Attention.FLASH not in attention.offered(of_family(checkpoints, "gemma3"), "cuda")


@pytest.mark.parametrize("name", ["", "flash", None, 7, "x" * 1000])
def test_other_names_are_refused_with_the_four(name: object) -> None:
    with pytest.raises(InvalidRequestError, match="There is no attention") as caught:
        attention.parse(name)
    assert all(known in caught.value.hint for known in Attention)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", list(Attention))
def test_the_four_names_are_read(name: Attention) -> None:
    assert attention.parse(str(name)) is name
