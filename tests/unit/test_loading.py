"""Files become a trustworthy model, or a sentence about what is wrong with them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gemma_space import loading
from gemma_space.engine.batch import BatchEngine
from gemma_space.errors import LoadError, ModelTooLargeError
from gemma_space.following import LoadCancelledError
from gemma_space.loading import LoadedModel, load
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.memory import weights_bytes
from gemma_space.types import Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_exactness import greedy


def loaded(folder: Path, precision: Precision = Precision.FP32) -> LoadedModel:
    row = local_checkpoint(folder)
    return load(row, folder, precision, lambda d, t: None, lambda: False)


@pytest.fixture
def folder(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    """A Gemma 3 to be damaged."""
    copy = tmp_path / "copy"
    shutil.copytree(checkpoints.folder(tiny.GEMMA_3), copy)
    return copy


def refusal(folder: Path) -> LoadError:
    with pytest.raises(LoadError) as caught:
        loaded(folder)
    assert caught.value.hint.endswith(".")
    assert str(folder.parent) not in str(caught.value)
    return caught.value


def rewrite(folder: Path, change: Any) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [(Precision.FP32, torch.float32), (Precision.BF16, torch.bfloat16),
     (Precision.FP16, torch.float16)],
)  # fmt: skip
def test_weights_are_held_as_asked(
    checkpoints: Checkpoints, precision: Precision, dtype: torch.dtype
) -> None:
    found = loaded(checkpoints.folder(tiny.GEMMA_2), precision)
    assert {p.dtype for p in found.model.parameters()} == {dtype}
    assert not found.model.training
    row = local_checkpoint(checkpoints.folder(tiny.GEMMA_2))
    assert found.nbytes == pytest.approx(weights_bytes(row, precision), rel=0.01)


def test_int4_is_nf4_computed_in_bf16_with_its_scales_quantized_too(
    checkpoints: Checkpoints,
) -> None:
    found = loaded(checkpoints.folder(tiny.GEMMA_3), Precision.INT4)
    layers = [m for m in found.model.modules() if type(m).__name__ == "Linear4bit"]
    assert layers
    for layer in layers:
        assert layer.weight.quant_type == "nf4"
        assert layer.weight.quant_state.nested
        assert layer.compute_dtype == torch.bfloat16


def test_int8_keeps_the_rest_in_bf16(checkpoints: Checkpoints) -> None:
    found = loaded(checkpoints.folder(tiny.GEMMA_3), Precision.INT8)
    assert {p.dtype for p in found.model.parameters()} == {torch.int8, torch.bfloat16}


def test_the_demo_runs_in_every_precision_it_is_offered_in(checkpoints: Checkpoints) -> None:
    for precision in local_checkpoint(checkpoints.demo()).precisions:
        found = loaded(checkpoints.demo(), precision)
        engine = BatchEngine(found.model, found.stop_ids)
        assert list(engine.stream((2, 105), greedy(max_new_tokens=2)))[-1].finish_reason


def test_a_models_own_defaults_do_not_apply_behind_the_controls(checkpoints: Checkpoints) -> None:
    config = loaded(checkpoints.folder(tiny.GEMMA_4)).model.generation_config
    assert config.eos_token_id == [1, 106, 50]
    assert not config.do_sample
    assert config.top_k in (None, 50)
    assert config.top_p in (None, 1.0)


def test_bytes_are_reported_and_a_cancel_is_heard(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    row, size = local_checkpoint(folder), (folder / "model.safetensors").stat().st_size
    load(row, folder, Precision.FP32, lambda *step: told.append(step), lambda: False)
    assert told[0] == (0, size)
    assert told[-1] == (size, size)
    for patience in (0, 1):
        asked = iter([False] * patience + [True] * 9)
        with pytest.raises(LoadCancelledError):
            load(row, folder, Precision.FP32, lambda *step: None, lambda a=asked: next(a))


def test_a_missing_weight_is_fatal(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop("model.layers.3.mlp.up_proj.weight"))
    assert "layers.3.mlp.up_proj" in refusal(folder).message


def test_a_misshapen_weight_is_fatal(folder: Path) -> None:
    def shrink(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1].clone()

    rewrite(folder, shrink)
    refusal(folder)


def test_another_architectures_weights_are_fatal(folder: Path, checkpoints: Checkpoints) -> None:
    other = checkpoints.folder(tiny.GEMMA_3_MULTIMODAL) / "model.safetensors"
    shutil.copy(other, folder / "model.safetensors")
    refusal(folder)


@pytest.mark.parametrize("keep", [0, 7, 200, 100_000])
def test_a_truncated_file_is_said_to_be_damaged(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "damaged" in str(refusal(folder))


def test_a_damaged_header_is_said_to_be_damaged(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(b"\xff" * 64 + file.read_bytes()[64:])
    assert "damaged" in str(refusal(folder))


def test_pickled_weights_are_refused(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    error = refusal(folder)
    assert "no safetensors" in error.message
    assert ".bin" in error.hint


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_missing_or_broken_side_files_are_worded(folder: Path, name: str) -> None:
    row = local_checkpoint(folder)
    for text in ("{", None):
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)
        with pytest.raises(LoadError) as caught:
            load(row, folder, Precision.FP32, lambda d, t: None, lambda: False)
        assert caught.value.hint.endswith(".")


def test_a_full_device_is_worded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(ModelTooLargeError, match="did not fit") as caught:
        loaded(folder)
    assert "int8" in caught.value.hint
