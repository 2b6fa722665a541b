"""Every catalogue row's figures against the published architecture, built without weights.

The architecture is instantiated on the meta device from its configuration alone and its modules
are counted; the cache layout is read off the configuration's own file.
"""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM

from gemma_space import architecture
from gemma_space.catalog import Linears, hub_catalog
from gemma_space.local_checkpoint import local_checkpoint
from tests.real_sizes import SIZES

ROWS = {row.repo_id: row for row in hub_catalog()}
EVERY_SIZE = pytest.mark.parametrize("name", SIZES)


@cache
def built(name: str) -> Any:
    """What is loaded for this size, on the meta device; of Gemma 3n the text half."""
    config = SIZES[name]()
    if ROWS[name].family == "gemma3n":
        config = config.get_text_config(decoder=True)
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.tie_weights()  # undone by the move to the meta device
    return model


def linears(model: Any) -> Linears:
    found = [
        module
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and path != "lm_head" and ".altup." not in path
    ]
    return Linears(
        sum(m.weight.numel() for m in found), sum(m.out_features for m in found), len(found)
    )


@EVERY_SIZE
def test_a_row_counts_what_the_architecture_has(name: str) -> None:
    row, model = ROWS[name], built(name)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert row.parameters - row.left_out == sum(p.numel() for p in model.parameters())
    assert row.linears == linears(model)


@EVERY_SIZE
def test_the_same_files_typed_by_a_visitor_become_the_same_figures(
    name: str, tmp_path: Path
) -> None:
    """A row made from a folder's config and its tensors' names and shapes agrees with ours."""
    row = ROWS[name]
    config = SIZES[name]()
    config.architectures = ["GemmaForCausalLM"]
    config.save_pretrained(tmp_path)
    tensors = {k: ("BF16", tuple(v.shape)) for k, v in built(name).state_dict().items()}
    found = local_checkpoint(tmp_path, tensors=tensors)
    assert found.family == row.family
    assert found.parameters == row.parameters - row.left_out
    assert found.linears == row.linears
    assert architecture.kv_groups(tmp_path)
    assert Counter(architecture.kv_groups(tmp_path)) == Counter(row.kv)


def test_every_size_in_the_catalogue_was_built() -> None:
    sizes = {ROWS[name].parameters for name in SIZES}
    assert {row.parameters for row in hub_catalog()} == sizes
    for row in hub_catalog():
        twin = next(ROWS[name] for name in SIZES if ROWS[name].parameters == row.parameters)
        assert (row.linears, row.left_out) == (twin.linears, twin.left_out)
        assert row.kv == twin.kv
