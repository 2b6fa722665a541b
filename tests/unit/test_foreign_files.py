"""Files that somebody else has prepared: quantized already, of another kind, or nonsense."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gemma_space.access import Access
from gemma_space.engine.batch import BatchEngine
from gemma_space.errors import GemmaSpaceError, ModelNotFoundError
from gemma_space.library import Library
from gemma_space.loading import LoadedModel, load
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.memory import weights_bytes
from gemma_space.settings import Settings
from gemma_space.shelf import Shelf
from gemma_space.types import Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub
from tests.unit.test_exactness import greedy

QUANTIZED = {Precision.INT8: "Linear8bitLt", Precision.INT4: "Linear4bit"}


def loaded(folder: Path, precision: Precision) -> LoadedModel:
    row = local_checkpoint(folder)
    return load(row, folder, precision, lambda d, t: None, lambda: False)


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=torch.tensor([[2, *range(370, 400)]])).logits.float()


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads((folder / name).read_text())
    change(told)
    (folder / name).write_text(json.dumps(told))


@pytest.fixture
def folder(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    """A Gemma 3 to be edited."""
    return Path(shutil.copytree(checkpoints.folder(tiny.GEMMA_3), tmp_path / "copy"))


# --- quantized already -------------------------------------------------------------------------


@pytest.mark.parametrize("precision", QUANTIZED)
@pytest.mark.parametrize(
    "checkpoint",
    [tiny.GEMMA_1, tiny.GEMMA_3_MULTIMODAL, tiny.GEMMA_4_MOE, tiny.GEMMA_3N],
    ids=lambda t: t.name,
)
def test_files_quantized_already_load_as_they_are(
    checkpoints: Checkpoints, tmp_path: Path, checkpoint: tiny.Tiny, precision: Precision
) -> None:
    """Whatever precision a key says: the files are what there is."""
    first = loaded(checkpoints.folder(checkpoint), precision)
    first.model.save_pretrained(tmp_path)
    first.tokenizer.save_pretrained(tmp_path)
    row = local_checkpoint(tmp_path)
    assert (row.quantization, row.precisions) == (precision, (precision,))
    wanted = logits(first.model)
    # What is not quantized follows the key; in the mixture that is nearly everything.
    others = [] if checkpoint is tiny.GEMMA_4_MOE else [Precision.FP32, *QUANTIZED]
    for asked in (precision, *others):
        again = loaded(tmp_path, asked)
        kinds = {type(module).__name__ for module in again.model.modules()}
        assert QUANTIZED[precision] in kinds
        assert torch.equal(logits(again.model), wanted)
        assert again.nbytes == pytest.approx(first.nbytes, rel=0.01)
    assert weights_bytes(row, precision) == pytest.approx(first.nbytes, rel=0.05)


@pytest.fixture
def old_style(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    """An 8-bit Gemma 1 as it was saved two years ago: fp16 rest, private and legacy keys."""
    first = loaded(checkpoints.folder(tiny.GEMMA_1), Precision.INT8)
    folder = tmp_path / "old"
    first.model.save_pretrained(folder)
    first.tokenizer.save_pretrained(folder)
    file = folder / "model.safetensors"
    tensors = {
        name: tensor.half() if tensor.dtype == torch.bfloat16 else tensor
        for name, tensor in load_file(file).items()
        if not name.endswith("weight_format")
    }
    save_file(tensors, file, metadata={"format": "pt"})

    def make_old(config: dict[str, Any]) -> None:
        for name in ("dtype", "rope_parameters", "hidden_activation"):
            config.pop(name, None)
        config |= {
            "torch_dtype": "float16", "rope_theta": 10000.0, "rope_scaling": None,
            "hidden_act": "gelu_pytorch_tanh", "transformers_version": "4.38.0",
            "quantization_config": {
                "_load_in_4bit": False, "_load_in_8bit": True, "bnb_4bit_compute_dtype": "float32",
                "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False,
                "llm_int8_enable_fp32_cpu_offload": False, "llm_int8_has_fp16_weight": False,
                "llm_int8_skip_modules": None, "llm_int8_threshold": 6.0,
                "load_in_4bit": False, "load_in_8bit": True, "quant_method": "bitsandbytes",
            },
        }  # fmt: skip

    edit(folder, "config.json", make_old)
    return folder


@pytest.mark.parametrize("spelled", ["load_in_8bit", "_load_in_8bit"])
def test_old_8_bit_files_are_recognized_and_computed_with(
    checkpoints: Checkpoints, old_style: Path, spelled: str
) -> None:
    other = {"load_in_8bit": "_load_in_8bit", "_load_in_8bit": "load_in_8bit"}[spelled]
    edit(old_style, "config.json", lambda told: told["quantization_config"].pop(other))
    row = local_checkpoint(old_style)
    assert (row.quantization, row.precisions) == ("int8", (Precision.INT8,))
    assert row.parameters == local_checkpoint(checkpoints.folder(tiny.GEMMA_1)).parameters
    if spelled == "_load_in_8bit":  # the library itself knows this by the public name alone
        return
    found = loaded(old_style, Precision.INT8)
    assert {p.dtype for p in found.model.parameters()} == {torch.int8, torch.float16}
    *_, last = BatchEngine(found.model, found.stop_ids).stream((2, 300), greedy(max_new_tokens=3))
    assert last.finish_reason


@pytest.mark.parametrize(
    "told",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        {"quant_method": "awq"},
        {"quant_method": "bitsandbytes"},
        {},
    ],
    ids=str,
)
def test_other_quantizations_are_refused_in_words(folder: Path, told: dict[str, Any]) -> None:
    edit(folder, "config.json", lambda config: config.update(quantization_config=told))
    with pytest.raises(ModelNotFoundError, match="is quantized with") as caught:
        local_checkpoint(folder)
    assert "original checkpoint" in caught.value.hint


# --- no text model, or nonsense ----------------------------------------------------------------


@pytest.mark.parametrize(
    "heads", [["Gemma3TextModel"], ["Gemma3Model"], ["Gemma3ForSequenceClassification"]], ids=str
)
def test_gemmas_that_write_no_text_are_refused(folder: Path, heads: list[str]) -> None:
    edit(folder, "config.json", lambda config: config.update(architectures=heads))
    with pytest.raises(ModelNotFoundError, match="writes no text") as caught:
        local_checkpoint(folder)
    assert heads[0] in caught.value.message


@pytest.mark.parametrize("heads", [None, []])
def test_a_config_without_a_head_is_taken_for_a_text_model(folder: Path, heads: object) -> None:
    edit(folder, "config.json", lambda config: config.update(architectures=heads))
    assert local_checkpoint(folder).family == "gemma3"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"sliding_window": "wide"}),
        ("config.json", {"head_dim": None}),
        ("config.json", {"layer_types": ["full_attention"]}),
        ("config.json", {"text_config": None}),
        ("config.json", {"text_config": [1]}),
        ("config.json", {"max_position_embeddings": "many"}),
        ("config.json", {"max_position_embeddings": None}),
        ("config.json", {"architectures": 5}),
        ("config.json", {"quantization_config": []}),
        ("generation_config.json", {"eos_token_id": "end"}),
        ("generation_config.json", {"eos_token_id": ["end"]}),
    ],
    ids=str,
)
def test_nonsense_is_said_in_words(folder: Path, name: str, change: dict[str, Any]) -> None:
    """Visitors may name any repository; an exception without words would reach them."""
    edit(folder, name, lambda told: told.update(change))
    access = Access(probe=no_hub)
    library = Library(Shelf((), access, takes_any=True), access, Settings())
    with pytest.raises(GemmaSpaceError) as caught:
        list(library.load(str(folder)))
    assert caught.value.message.endswith(".")
    assert not library.status().loaded
