"""Every architecture in every precision: whole, the right size, and computing what it should.

Logits are compared on models whose layers add little to what the embedding says: with these, one
rounding stays one rounding. Quantized models are held against two references: the original, and
the fp32 model with exactly the weights that quantization left over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit

from gemma_space.catalog import ALL_PRECISIONS
from gemma_space.engine.batch import BatchEngine
from gemma_space.loading import LoadedModel, load
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.memory import weights_bytes
from gemma_space.types import Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_exactness import greedy

PROMPT = (2, *range(370, 420))  # three times the sliding window
QUANTIZED = (Precision.INT8, Precision.INT4)
FROM_ONE = ("gemma1", "gemma2", "gemma3")  # their norms multiply by one plus the weight
# Of the logits' norm. 16 bits round by up to 0.4 % at each step; int8 rounds activations too.
# Against the original, nf4 adds what half a step of 16 levels does to every weight (9 %).
SAME_WEIGHTS = 0.05
ORIGINAL = {
    Precision.FP32: 1e-6, Precision.BF16: 0.05, Precision.FP16: 0.05, Precision.INT8: 0.08,
    Precision.INT4: 0.2,
}  # fmt: skip
# What rounding a normally distributed weight costs: int8 has 255 levels to a row, nf4 16 to 64.
WEIGHTS = {Precision.INT8: 0.01, Precision.INT4: 0.1}
CASES = [
    pytest.param(checkpoint, precision, id=f"{checkpoint.name}-{precision}")
    for checkpoint in tiny.EVERY
    for precision in ALL_PRECISIONS
    if precision is not Precision.FP16 or checkpoint.family in ("gemma1", "gemma2")
]


def calm(checkpoint: tiny.Tiny, model: Any) -> None:
    """Have every layer add a twentieth, and attention look around evenly."""
    offset = 1 if checkpoint.family in FROM_ONE else 0
    for name, weight in model.named_parameters():
        if checkpoint.family == "gemma1" and name.endswith(("o_proj.weight", "down_proj.weight")):
            weight *= 0.05
        elif checkpoint.family != "gemma1" and "post_" in name and name.endswith("norm.weight"):
            weight.fill_(0.05 - offset)
        elif name.endswith(("layernorm.weight", "q_norm.weight", "k_norm.weight")):
            weight.fill_((0.5 if "_norm" in name else 1.0) - offset)


def original(checkpoint: tiny.Tiny) -> Any:
    model = tiny.build_model(checkpoint)
    with torch.no_grad():
        calm(checkpoint, model)
    return model


@pytest.fixture
def calm_folder(checkpoints: Checkpoints, checkpoint: tiny.Tiny) -> Path:
    def build(path: Path) -> None:
        tiny.write(checkpoint, path, change=lambda model: calm(checkpoint, model))

    return checkpoints.variant(f"calm-{checkpoint.name}", build)


def loaded(folder: Path, precision: Precision) -> LoadedModel:
    row = local_checkpoint(folder)
    return load(row, folder, precision, lambda d, t: None, lambda: False)


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=torch.tensor([PROMPT])).logits.float()


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@dataclass(frozen=True)
class Layer:
    name: str
    weights: torch.Tensor  # what its numbers stand for


def quantized_layers(model: Any) -> Iterator[Layer]:
    for name, module in model.named_modules():
        weight: Any = getattr(module, "weight", None)
        if type(module).__name__ == "Linear8bitLt":
            yield Layer(name, weight.data * weight.SCB[:, None] / 127)
        elif type(module).__name__ == "Linear4bit":
            yield Layer(name, dequantize_4bit(weight.data, weight.quant_state).float())


@pytest.mark.parametrize(("checkpoint", "precision"), CASES)
def test_it_computes_what_its_files_say(
    calm_folder: Path, checkpoint: tiny.Tiny, precision: Precision
) -> None:
    found, reference = loaded(calm_folder, precision), original(checkpoint)
    plain, modules = logits(reference), dict(reference.named_modules())
    layers = list(quantized_layers(found.model))
    for layer in layers:
        weight = modules[layer.name].weight.data
        assert apart(layer.weights, weight) < WEIGHTS[precision], layer.name
        weight.copy_(layer.weights)
    assert bool(layers) is (precision in QUANTIZED)
    computed = logits(found.model)
    assert apart(computed, plain) < ORIGINAL[precision]
    assert apart(computed, logits(reference)) < SAME_WEIGHTS


@pytest.mark.parametrize(("checkpoint", "precision"), CASES)
def test_it_takes_the_bytes_computed_and_writes_text(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny, precision: Precision
) -> None:
    folder = checkpoints.folder(checkpoint)
    found = loaded(folder, precision)
    assert found.nbytes == pytest.approx(
        weights_bytes(local_checkpoint(folder), precision), rel=0.01
    )
    engine = BatchEngine(found.model, found.stop_ids)
    *_, last = engine.stream(PROMPT, greedy(max_new_tokens=4))
    assert last.finish_reason


@pytest.mark.parametrize("precision", QUANTIZED)
@pytest.mark.parametrize("checkpoint", tiny.EVERY, ids=lambda t: t.name)
def test_all_linear_layers_are_quantized_and_nothing_else(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny, precision: Precision
) -> None:
    """What stays in 16 bits: the output layer, and the AltUp layers of Gemma 3n."""
    model = loaded(checkpoints.folder(checkpoint), precision).model
    quantized = {layer.name for layer in quantized_layers(model)}
    linears = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    spared = {name for name in linears if name == "lm_head" or ".altup." in name}
    assert quantized == linears - spared
    assert len(spared) == (1 + 6 * 3 if checkpoint.family == "gemma3n" else 1)
    rest = {
        parameter.dtype
        for name, parameter in model.named_parameters()
        if name.removesuffix(".weight") not in quantized
    }
    assert rest == {torch.bfloat16}


@pytest.mark.parametrize("precision", QUANTIZED)
def test_a_mixtures_fused_experts_stay_in_16_bits(
    checkpoints: Checkpoints, precision: Precision
) -> None:
    model = loaded(checkpoints.folder(tiny.GEMMA_4_MOE), precision).model
    experts = [p for name, p in model.named_parameters() if ".experts." in name]
    assert len(experts) == 2 * 6
    assert {(p.dtype, p.dim()) for p in experts} == {(torch.bfloat16, 3)}


def test_of_a_multimodal_gemma_3n_the_text_half_is_loaded(checkpoints: Checkpoints) -> None:
    whole = loaded(checkpoints.folder(tiny.GEMMA_3N_MULTIMODAL), Precision.FP32).model
    half = loaded(checkpoints.folder(tiny.GEMMA_3N), Precision.FP32).model
    assert type(whole).__name__ == "Gemma3nForCausalLM"
    assert whole.config.model_type == "gemma3n_text"
    assert torch.equal(logits(whole), logits(half))
