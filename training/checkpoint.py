"""The checkpoint folder: its architecture, its generation defaults and how it is written.

Files are replaced by rename, never rewritten in place: a running app may have them mapped.
"""

import os
import tempfile
from pathlib import Path

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
)

from training.vocabulary import TURN_END

FOLDER = Path(__file__).parent.parent / "assets" / "demo-model"
MAX_BYTES = 8_000_000
LAYERS = ["sliding_attention"] * 4 + ["full_attention"]


def make_model(vocab_size: int) -> Gemma3ForCausalLM:
    """A fresh model; every matrix side is a multiple of 64, which int8 and int4 kernels want."""
    config = Gemma3TextConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=len(LAYERS),
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        query_pre_attn_scalar=64,
        layer_types=LAYERS,
        sliding_window=256,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=[1, TURN_END],
        bos_token_id=2,
        dtype=torch.bfloat16,
    )
    model = Gemma3ForCausalLM(config).float()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.04 if "embed" in name else 0.02)
    return model


def save(model: Gemma3ForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write weights (bf16), tokenizer and settings, one rename per file."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        half = Gemma3ForCausalLM(model.config)
        half.load_state_dict(model.state_dict())
        half = half.bfloat16()
        half.generation_config = GenerationConfig(
            bos_token_id=2,
            eos_token_id=[1, TURN_END],
            pad_token_id=0,
            do_sample=True,
            temperature=0.3,
            top_k=64,
            top_p=0.95,
        )
        half.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        for file in sorted(Path(scratch).iterdir()):
            os.chmod(file, 0o644)
            os.replace(file, folder / file.name)


def load(folder: Path) -> tuple[Gemma3ForCausalLM, GemmaTokenizer]:
    """Load the checkpoint as the app would, in fp32."""
    model = Gemma3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), GemmaTokenizer.from_pretrained(folder)
