"""The model card, written from what a run measured."""

import os
import platform
from pathlib import Path

from transformers import Gemma3ForCausalLM

from training.evaluation import Score
from training.fit import Outcome

TEMPLATE = Path(__file__).with_name("card.md")


def write_card(
    folder: Path, model: Gemma3ForCausalLM, outcome: Outcome, single: Score, talks: Score
) -> None:
    """Fill the card in and put it next to the weights."""
    config = model.config
    kinds = config.layer_types or []
    cpu = f"{os.cpu_count()} {platform.machine()} CPU cores"
    text = TEMPLATE.read_text("utf-8").format(
        layers=config.num_hidden_layers,
        sliding=kinds.count("sliding_attention"),
        full=kinds.count("full_attention"),
        window=config.sliding_window,
        parameters=model.num_parameters(),
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        hidden=config.hidden_size,
        inner=config.intermediate_size,
        heads=config.num_attention_heads,
        kv=config.num_key_value_heads,
        head_dim=config.head_dim,
        context=config.max_position_embeddings,
        vocab=config.vocab_size,
        tokens=outcome.tokens,
        minutes=outcome.seconds / 60,
        machine="a GPU" if outcome.device == "cuda" else f"{cpu} shared with other work",
        loss=outcome.loss,
        single=_ratio(single.right, single.total),
        single_ended=_ratio(single.ended, single.total),
        talks=_ratio(talks.right, talks.total),
        talks_ended=_ratio(talks.ended, talks.total),
    )
    scratch = folder / "README.md.new"
    scratch.write_text(text, "utf-8")
    os.replace(scratch, folder / "README.md")


def _ratio(part: int, whole: int) -> str:
    return f"{part} / {whole} ({part / whole:.1%})"
