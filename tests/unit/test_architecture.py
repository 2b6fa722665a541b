"""What the files alone say about a model's shape, against the model that they become.

The layout of the KV cache against a real cache after a real prefill; parameters and linear layers
against torch's own modules.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from gemma_space.architecture import kv_groups
from gemma_space.catalog import KVGroup, Linears
from gemma_space.checkpoint_files import count, read_tensors
from gemma_space.loading import load
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.memory import CONVERSATION_TOKENS, kv_bytes, needs
from gemma_space.types import Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints

EVERY = pytest.mark.parametrize("checkpoint", tiny.EVERY, ids=lambda t: t.name)
WINDOW = tiny.SLIDING_WINDOW
PROMPT = 3 * WINDOW


@torch.inference_mode()
def filled(model: Any, *lengths: int) -> DynamicCache:
    """A conversation's cache after prefills and decoding steps of these many tokens."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    for length in lengths:
        ids = torch.arange(370, 370 + length)[None]
        model(input_ids=ids, past_key_values=cache, use_cache=True)
    return cache


def kept(cache: DynamicCache) -> list[torch.Tensor]:
    """Keys and values of every layer that has its own; layers that share hold nothing."""
    layers: list[Any] = cache.layers
    found: list[Any] = [t for layer in layers for t in (layer.keys, layer.values)]
    return [tensor for tensor in found if tensor is not None]


def loaded(folder: Path, precision: Precision = Precision.FP32) -> Any:
    row = local_checkpoint(folder)
    return load(row, folder, precision, lambda d, t: None, lambda: False).model


@EVERY
def test_a_conversations_cache_takes_the_bytes_computed(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny
) -> None:
    """Full layers keep all tokens. Of a sliding layer one token less than the window is needed
    for the next step, but that is a view into the memory of the whole window."""
    folder = checkpoints.folder(checkpoint)
    groups = kv_groups(folder)
    cache = filled(loaded(folder), PROMPT, 1)
    tokens = PROMPT + 1
    assert sum(t.untyped_storage().nbytes() for t in kept(cache)) == kv_bytes(groups, tokens, 4)
    sliding = [g for g in groups if g.window]
    seen = [KVGroup(g.layers, g.kv_heads, g.head_dim, WINDOW - 1) for g in sliding]
    full = [g for g in groups if not g.window]
    assert sum(t.nbytes for t in kept(cache)) == kv_bytes([*full, *seen], tokens, 4)
    assert bool(sliding) is (checkpoint.family != "gemma1")


@EVERY
def test_a_short_conversations_cache_takes_the_bytes_computed(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny
) -> None:
    folder = checkpoints.folder(checkpoint)
    cache = filled(loaded(folder, Precision.BF16), WINDOW - 2, 1)
    assert sum(t.nbytes for t in kept(cache)) == kv_bytes(kv_groups(folder), WINDOW - 1, 2)


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])
def test_the_cache_of_a_quantized_model_is_in_16_bits(
    checkpoints: Checkpoints, precision: Precision
) -> None:
    folder = checkpoints.folder(tiny.GEMMA_4)
    cache = filled(loaded(folder, precision), PROMPT, 1)
    taken = sum(t.untyped_storage().nbytes() for t in kept(cache))
    assert taken == kv_bytes(kv_groups(folder), PROMPT + 1, 2)


def test_what_a_folder_needs_counts_its_cache(checkpoints: Checkpoints) -> None:
    folder = checkpoints.folder(tiny.GEMMA_3)
    row = local_checkpoint(folder)
    for precision, size in ((Precision.FP32, 4), (Precision.INT4, 2)):
        wanted = kv_bytes(kv_groups(folder), CONVERSATION_TOKENS, size)
        assert needs(row, precision).kv_bytes == wanted > 0


def test_layers_that_share_a_cache_are_not_counted(checkpoints: Checkpoints) -> None:
    assert set(kv_groups(checkpoints.folder(tiny.GEMMA_4))) == {
        KVGroup(2, 2, 32, WINDOW), KVGroup(2, 2, 64),
    }  # fmt: skip
    assert set(kv_groups(checkpoints.folder(tiny.GEMMA_4_UNIFIED))) == {
        KVGroup(5, 2, 32, WINDOW), KVGroup(1, 1, 64),
    }  # fmt: skip


@EVERY
def test_a_row_counts_the_modules_that_its_files_become(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny
) -> None:
    folder = checkpoints.folder(checkpoint)
    row = local_checkpoint(folder)
    model = loaded(folder)
    # Of the buffers that files hold, the scalars are skipped; one table stays in (standardize).
    saved = {t.data_ptr(): t.numel() for t in model.state_dict().values() if t.numel() > 1}
    assert row.parameters - row.left_out == sum(saved.values())
    found = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head" and ".altup." not in name
    ]
    assert row.linears == Linears(
        sum(m.weight.numel() for m in found), sum(m.out_features for m in found), len(found)
    )


def test_only_gemma_3ns_towers_are_left_out(checkpoints: Checkpoints) -> None:
    for checkpoint in tiny.EVERY:
        row = local_checkpoint(checkpoints.folder(checkpoint))
        assert bool(row.left_out) is (checkpoint is tiny.GEMMA_3N_MULTIMODAL)
    tensors = read_tensors(checkpoints.folder(tiny.GEMMA_3N_MULTIMODAL))
    towers = {k: v for k, v in tensors.items() if "language_model" not in k}
    assert len(towers) == 7
    row = local_checkpoint(checkpoints.folder(tiny.GEMMA_3N_MULTIMODAL))
    assert row.left_out == count(towers)[0]
    assert (
        row.parameters - row.left_out
        == local_checkpoint(checkpoints.folder(tiny.GEMMA_3N)).parameters
    )


def test_a_mixtures_experts_are_no_linear_layers(checkpoints: Checkpoints) -> None:
    row = local_checkpoint(checkpoints.folder(tiny.GEMMA_4_MOE))
    experts = 6 * 32 * (64 * 64 + 64 * 32)  # layers, experts, gate and up, down
    assert row.parameters > experts > row.linears.parameters


@pytest.mark.parametrize(
    "change",
    [
        {"head_dim": "many"},
        {"num_hidden_layers": None},
        {"layer_types": ["no_such_attention"] * 6},
        {"layer_types": ["full_attention"]},
        {"sliding_window": "wide"},
        {"rope_parameters": 7},
        {"model_type": "no_such_model"},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_config_that_makes_no_sense_has_no_layout(
    checkpoints: Checkpoints, tmp_path: Path, change: dict[str, Any]
) -> None:
    """Anybody may name any repository; what is wrong with it is said when it is loaded."""
    shutil.copy(checkpoints.folder(tiny.GEMMA_3) / "config.json", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    assert kv_groups(tmp_path) == ()


@pytest.mark.parametrize("text", [None, "", "{", "[]", "7"])
def test_a_config_that_cannot_be_read_has_no_layout(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert kv_groups(tmp_path) == ()
