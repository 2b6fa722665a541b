"""The configurations of Google's own checkpoints, as far as shapes go: no weights.

From the constants of the official conversion scripts. Keyed by one repository of each size.
"""

from collections.abc import Callable
from typing import Any

import transformers
from transformers import PreTrainedConfig


def _layers(count: int, sliding_in_a_row: int) -> list[str]:
    """Every so many sliding layers a global one; the last is always global."""
    return [
        "full_attention"
        if (i + 1) % (sliding_in_a_row + 1) == 0 or i == count - 1
        else "sliding_attention"
        for i in range(count)
    ]


def _shape(
    layers: int, hidden: int, wide: int, heads: int, kv: int, head: int = 256
) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": wide,
        "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": head,
    }  # fmt: skip


def _gemma_1(*shape: int) -> PreTrainedConfig:
    return transformers.GemmaConfig(**_shape(*shape), vocab_size=256_000)


def _gemma_2(*shape: int) -> PreTrainedConfig:
    return transformers.Gemma2Config(**_shape(*shape), vocab_size=256_000, sliding_window=4096)


def _gemma_3(*shape: int, vocabulary: int = 262_144, window: int = 512) -> PreTrainedConfig:
    return transformers.Gemma3TextConfig(
        **_shape(*shape), vocab_size=vocabulary, sliding_window=window
    )


def _gemma_3_multimodal(*shape: int) -> PreTrainedConfig:
    return transformers.Gemma3Config(
        text_config=_gemma_3(*shape, vocabulary=262_208, window=1024).to_dict(),
        vision_config={
            "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
            "num_attention_heads": 16, "image_size": 896, "patch_size": 14,
            "vision_use_head": False,
        },
        mm_tokens_per_image=256,
    )  # fmt: skip


def _gemma_3n(layers: int, wide: int, shared: int) -> PreTrainedConfig:
    text: dict[str, Any] = _shape(layers, 2048, wide, 8, 2) | {"intermediate_size": [wide] * layers}
    half = transformers.Gemma3nTextConfig(
        **text, vocab_size=262_400, vocab_size_per_layer_input=262_144,
        hidden_size_per_layer_input=256, num_kv_shared_layers=shared,
        layer_types=_layers(layers, 4),
        activation_sparsity_pattern=[0.95] * 10 + [0.0] * (layers - 10),
    )  # fmt: skip
    return transformers.Gemma3nConfig(text_config=half.to_dict())


def _text_4(*shape: int, global_kv: int, sliding: int = 5, **features: Any) -> dict[str, Any]:
    return {
        **_shape(*shape), "vocab_size": 262_144, "global_head_dim": 512,
        "num_global_key_value_heads": global_kv, "layer_types": _layers(shape[0], sliding),
        **features,
    }  # fmt: skip


def _gemma_4_small(text: dict[str, Any]) -> PreTrainedConfig:
    """E2B and E4B: per-layer embeddings, a window of 512, the small encoders."""
    own = {"hidden_size_per_layer_input": 256, "sliding_window": 512}
    return transformers.Gemma4Config(text_config=text | own, vision_config={}, audio_config={})


def _gemma_4_large(text: dict[str, Any]) -> PreTrainedConfig:
    """26B-A4B and 31B: keys used as values in global layers, the large vision encoder."""
    own = {
        "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "sliding_window": 1024,
        "attention_k_eq_v": True,
    }  # fmt: skip
    vision = {
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 72,
    }  # fmt: skip
    return transformers.Gemma4Config(text_config=text | own, vision_config=vision)


def _gemma_4_unified(text: dict[str, Any]) -> PreTrainedConfig:
    own = {"num_kv_shared_layers": 0, "sliding_window": 1024, "attention_k_eq_v": True}
    return transformers.Gemma4UnifiedConfig(
        text_config=text | own, vision_config={}, audio_config={}
    )


SIZES: dict[str, Callable[[], PreTrainedConfig]] = {
    "google/gemma-2b": lambda: _gemma_1(18, 2048, 16_384, 8, 1),
    "google/gemma-7b": lambda: _gemma_1(28, 3072, 24_576, 16, 16),
    "google/gemma-2-2b": lambda: _gemma_2(26, 2304, 9216, 8, 4),
    "google/gemma-2-9b": lambda: _gemma_2(42, 3584, 14_336, 16, 8),
    "google/gemma-2-27b": lambda: _gemma_2(46, 4608, 36_864, 32, 16, 128),
    "google/gemma-3-270m": lambda: _gemma_3(18, 640, 2048, 4, 1),
    "google/gemma-3-1b-it": lambda: _gemma_3(26, 1152, 6912, 4, 1),
    "google/gemma-3-4b-it": lambda: _gemma_3_multimodal(34, 2560, 10_240, 8, 4),
    "google/gemma-3-12b-it": lambda: _gemma_3_multimodal(48, 3840, 15_360, 16, 8),
    "google/gemma-3-27b-it": lambda: _gemma_3_multimodal(62, 5376, 21_504, 32, 16, 128),
    "google/gemma-3n-E2B-it": lambda: _gemma_3n(30, 8192, 10),
    "google/gemma-3n-E4B-it": lambda: _gemma_3n(35, 16_384, 15),
    "google/gemma-4-E2B-it": lambda: _gemma_4_small(
        _text_4(
            35, 1536, 6144, 8, 1, global_kv=1, sliding=4,
            num_kv_shared_layers=20, use_double_wide_mlp=True,
        )
    ),
    "google/gemma-4-E4B-it": lambda: _gemma_4_small(
        _text_4(42, 2560, 10_240, 8, 2, global_kv=2, num_kv_shared_layers=18)
    ),
    "google/gemma-4-12B-it": lambda: _gemma_4_unified(
        _text_4(48, 3840, 15_360, 16, 8, global_kv=1)
    ),
    "google/gemma-4-26B-A4B-it": lambda: _gemma_4_large(
        _text_4(
            30, 2816, 2112, 16, 8, global_kv=2,
            enable_moe_block=True, num_experts=128, top_k_experts=8, moe_intermediate_size=704,
        )
    ),
    "google/gemma-4-31B-it": lambda: _gemma_4_large(_text_4(60, 5376, 21_504, 32, 16, global_kv=4)),
}  # fmt: skip
