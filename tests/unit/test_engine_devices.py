"""A model spread over devices by accelerate: its hooks move what a layer is given.

Without a second GPU the other place is the disk, from which each layer's weights come for its
own step; the hooks and their arguments are the same.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_space.engine.batch import BatchEngine
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_engine_exact import at_once, speak
from tests.unit.test_engine_isolation import NEW_TOKENS, alone, request


@pytest.mark.parametrize("checkpoint", [tiny.GEMMA_2, tiny.GEMMA_3, tiny.GEMMA_4])
def test_replies_are_those_of_the_model_in_one_place(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny, tmp_path: Path
) -> None:
    folder = checkpoints.folder(checkpoint)
    whole: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    places: dict[str, Any] = {name: "cpu" for name, _ in whole.named_children() if name != "model"}
    places |= {f"model.{name}": "cpu" for name, _ in whole.model.named_children()}
    del places["model.layers"]
    last = len(whole.model.layers) // 2
    places |= {
        f"model.layers.{at}": "cpu" if at < last else "disk"
        for at in range(len(whole.model.layers))
    }
    spread: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map=places, offload_folder=str(tmp_path)
    ).eval()
    assert spread.model.layers[-1].self_attn.q_proj.weight.device.type == "meta"
    engine = BatchEngine(spread, frozenset(), 1 << 20)
    asked = [request(number) for number in range(3)]
    said = at_once(
        [lambda one=one: speak(engine, one.ids, max_new_tokens=NEW_TOKENS) for one in asked]
    )
    assert [ids for ids, _ in said] == [alone(whole, number) for number in range(3)]
