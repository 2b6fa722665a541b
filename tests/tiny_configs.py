"""Each architecture's configuration with its real features, scaled down to a few kilobytes.

Every function takes the numbers that all generations share. Dimensions are multiples of 64, the
blocks that 4-bit kernels work on.
"""

from typing import Any

import transformers
from transformers import PreTrainedConfig

SLIDING_WINDOW = 16
HIDDEN = 64
LAYERS = 6
ALTERNATING = ["sliding_attention", "full_attention"] * (LAYERS // 2)
ONE_GLOBAL = ["sliding_attention"] * (LAYERS - 1) + ["full_attention"]
# What the tiny tokenizer says for pictures and sounds: ids of unused control tokens.
SOFT_TOKENS: dict[str, Any] = {
    "boi_token_id": 90, "eoi_token_id": 91, "image_token_id": 92, "video_token_id": 93,
    "boa_token_id": 94, "eoa_token_index": 95, "audio_token_id": 96,
}  # fmt: skip


def gemma_1(common: dict[str, Any]) -> PreTrainedConfig:
    return transformers.GemmaConfig(**common, head_dim=32, hidden_act="gelu_pytorch_tanh")


def gemma_2(common: dict[str, Any]) -> PreTrainedConfig:
    return transformers.Gemma2Config(
        **common, head_dim=32, query_pre_attn_scalar=32, sliding_window=SLIDING_WINDOW,
        attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    )  # fmt: skip


def gemma_3(common: dict[str, Any]) -> PreTrainedConfig:
    return transformers.Gemma3TextConfig(
        **common, head_dim=32, query_pre_attn_scalar=32, sliding_window=SLIDING_WINDOW,
        layer_types=ONE_GLOBAL,
    )  # fmt: skip


def gemma_3_multimodal(common: dict[str, Any]) -> PreTrainedConfig:
    tie = common.pop("tie_word_embeddings")
    return transformers.Gemma3Config(
        text_config=gemma_3(common).to_dict(),
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 16,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4, image_token_index=90, boi_token_index=91, eoi_token_index=92,
        tie_word_embeddings=tie,
    )  # fmt: skip


def gemma_3n(common: dict[str, Any]) -> PreTrainedConfig:
    common["intermediate_size"] = [common["intermediate_size"]] * LAYERS
    return transformers.Gemma3nTextConfig(
        **common, head_dim=32, sliding_window=SLIDING_WINDOW, layer_types=ALTERNATING,
        num_kv_shared_layers=2, vocab_size_per_layer_input=common["vocab_size"],
        hidden_size_per_layer_input=64, laurel_rank=64, activation_sparsity_pattern=[0.0] * LAYERS,
    )  # fmt: skip


def gemma_4(common: dict[str, Any]) -> PreTrainedConfig:
    """E2B's features: two head sizes, KV sharing, per-layer embeddings, wide shared layers."""
    common["global_head_dim"] = 64
    return transformers.Gemma4TextConfig(
        **common, head_dim=32, sliding_window=SLIDING_WINDOW, layer_types=ALTERNATING,
        num_kv_shared_layers=2, vocab_size_per_layer_input=common["vocab_size"],
        hidden_size_per_layer_input=64, use_double_wide_mlp=True, final_logit_softcapping=30.0,
    )  # fmt: skip


def gemma_4_multimodal(common: dict[str, Any]) -> PreTrainedConfig:
    """E2B whole: its text half between a vision and an audio encoder."""
    tie = common["tie_word_embeddings"]
    return transformers.Gemma4Config(
        text_config=gemma_4(common).to_dict(),
        vision_config=_vision_4(use_clipped_linears=True),
        audio_config={
            "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "subsampling_conv_channels": [8, 4], "output_proj_dims": 64,
        },
        tie_word_embeddings=tie, **SOFT_TOKENS,
    )  # fmt: skip


def gemma_4_moe(common: dict[str, Any]) -> PreTrainedConfig:
    """26B-A4B's features: fused experts beside a shared MLP, keys used as values globally."""
    tie = common["tie_word_embeddings"]
    text = transformers.Gemma4TextConfig(
        **common, **_K_IS_V, hidden_size_per_layer_input=0, enable_moe_block=True,
        num_experts=32, top_k_experts=8, moe_intermediate_size=32,
    )  # fmt: skip
    return transformers.Gemma4Config(
        text_config=text.to_dict(), vision_config=_vision_4(standardize=True), audio_config=None,
        tie_word_embeddings=tie, **SOFT_TOKENS,
    )  # fmt: skip


def gemma_4_unified(common: dict[str, Any]) -> PreTrainedConfig:
    """12B's features: no encoders, keys used as values globally, fewer global heads."""
    tie = common["tie_word_embeddings"]
    return transformers.Gemma4UnifiedConfig(
        text_config=transformers.Gemma4UnifiedTextConfig(**common, **_K_IS_V).to_dict(),
        vision_config={
            "patch_size": 8, "mm_embed_dim": HIDDEN, "mm_posemb_size": 16,
            "output_proj_dims": HIDDEN,
        },
        audio_config={"audio_embed_dim": 64},
        tie_word_embeddings=tie, **SOFT_TOKENS,
    )  # fmt: skip


_K_IS_V: dict[str, Any] = {
    "head_dim": 32, "global_head_dim": 64, "num_global_key_value_heads": 1,
    "attention_k_eq_v": True, "num_kv_shared_layers": 0, "sliding_window": SLIDING_WINDOW,
    "layer_types": ONE_GLOBAL, "final_logit_softcapping": 30.0,
}  # fmt: skip


def _vision_4(**features: bool) -> dict[str, Any]:
    return {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32, "patch_size": 8,
        "position_embedding_size": 16, **features,
    }  # fmt: skip
