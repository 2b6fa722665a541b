"""Random LoRA adapters for the tiny checkpoints, strong enough to be heard, in PEFT's layout."""

from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM

TARGETS = ("q_proj", "v_proj", "up_proj")


def write(base: Path, path: Path, *, seed: int = 1, rank: int = 4, **config: Any) -> Path:
    """Write an adapter for the checkpoint in `base` and return its folder."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = {"r": rank, "lora_alpha": 8 * rank, "target_modules": list(TARGETS), **config}
    model = peft.get_peft_model(model, peft.LoraConfig(**settings))
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
        elif "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(path)
    return path


def merged(base: Path, path: Path) -> Any:
    """The base with the adapter's changes added to its weights: what it must compute."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return peft.PeftModel.from_pretrained(model, str(path)).merge_and_unload().eval()
