"""A checkpoint large enough to be weighed, with random weights that say nothing."""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from tests.tiny_checkpoints import GEMMA_3, build_tokenizer


def write(folder: Path, *, hidden: int = 1024, layers: int = 2) -> Path:
    """A Gemma 3 in bf16; as it is, it takes 68 MB."""
    config = transformers.Gemma3TextConfig(
        vocab_size=512, hidden_size=hidden, intermediate_size=4 * hidden, num_attention_heads=8,
        num_key_value_heads=8, head_dim=hidden // 8, num_hidden_layers=layers,
        layer_types=["sliding_attention"] * (layers - 1) + ["full_attention"],
        max_position_embeddings=8192, dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device("meta"):
        empty: Any = transformers.Gemma3ForCausalLM(config)
    weights = {
        name: torch.randn(weight.shape, dtype=torch.bfloat16) * 0.02
        for name, weight in empty.named_parameters()
    }
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["Gemma3ForCausalLM"]
    config.save_pretrained(folder)
    transformers.GenerationConfig(**GEMMA_3.generation).save_pretrained(folder)
    build_tokenizer(GEMMA_3).save_pretrained(folder)
    return folder
