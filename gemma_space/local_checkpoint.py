"""A catalogue row for a folder on this machine, made from the folder's own files.

Knows the Hub's file layout (`config.json`, `generation_config.json`, safetensors headers). Loads
nothing: sizes are read from headers, a few kilobytes each.
"""

import json
import math
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from gemma_space.catalog import ALL_PRECISIONS, DEMO_REPO_ID, GREEDY, NO_FP16, Checkpoint
from gemma_space.errors import ModelNotFoundError
from gemma_space.settings import DEMO_MODEL
from gemma_space.types import Precision

FAMILIES = {
    "gemma": "gemma1", "gemma2": "gemma2", "gemma3": "gemma3", "gemma3_text": "gemma3",
    "gemma3n": "gemma3n", "gemma3n_text": "gemma3n", "gemma4": "gemma4",
    "gemma4_text": "gemma4", "gemma4_unified": "gemma4", "gemma4_unified_text": "gemma4",
}  # fmt: skip

# What bitsandbytes saves beside quantized weights; int4 weights themselves are two to a U8.
_SCALE = re.compile(r"\.(SCB|weight_format|(nested_)?(absmax|quant_map)|quant_state\..*)$")


def demo() -> Checkpoint:
    """The checkpoint this project trains itself and ships in `assets/demo-model/`."""
    return local_checkpoint(
        DEMO_MODEL,
        repo_id=DEMO_REPO_ID,
        title="Gemma Space Demo",
        license="apache-2.0",
        note="A tiny model trained by this project, not one of Google's. It knows this "
        "playground and a little about Gemma, and nothing else.",
    )


def local_checkpoint(path: Path, *, repo_id: str = "", **fixed: str) -> Checkpoint:
    """Make a row for a folder in the Hub's layout, from its own files alone.

    Args:
        path: the folder, with `config.json` and `*.safetensors`.
        repo_id: the name it goes by; default: the path as given.
        **fixed: title, license or note where the folder's owner knows better.

    Raises:
        ModelNotFoundError: no such folder, no config.json, or no Gemma architecture.
    """
    config = read_json(path / "config.json")
    if not config:
        raise ModelNotFoundError(
            f"The folder {path} holds no readable config.json.",
            "Point GEMMA_SPACE_MODELS at a folder in the Hugging Face layout.",
        )
    text = config.get("text_config", config)
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        raise ModelNotFoundError(
            f"The folder {path} holds a “{config.get('model_type')}” model, not a Gemma.",
            "This playground serves Gemma 1, 2, 3, 3n and 4.",
        )
    generation = read_json(path / "generation_config.json")
    quantization = _quantization_of(config)
    offered = ALL_PRECISIONS if family in ("gemma1", "gemma2") else NO_FP16
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings")) is not False
    parameters, unquantized = _count_parameters(path, tied)
    return Checkpoint(
        repo_id=repo_id or str(path),
        title=fixed.get("title", path.name),
        family=family,
        parameters=parameters,
        unquantized_parameters=unquantized,
        context_length=int(text.get("max_position_embeddings", 8192)),
        variant="instruct" if has_chat_template(path) else "base",
        license=fixed.get("license", "gemma"),
        gated=False,
        revision="local",
        sampling=sampling_of(generation),
        stop_ids=stop_ids_of(generation or config),
        precisions=(Precision(quantization),) if quantization else offered,
        quantization=quantization,
        path=path,
        note=fixed.get("note", ""),
    )


def adapter_checkpoint(path: Path, base: Checkpoint, *, repo_id: str = "") -> Checkpoint:
    """Make a row for a folder with a LoRA adapter in PEFT's layout.

    Template, limits, licence and gate are the base's; the parameters are counted together.
    """
    parameters, _ = _count_parameters(path)
    return replace(
        base,
        repo_id=repo_id or str(path),
        title=f"{path.name} (adapter for {base.title})",
        variant="adapter",
        parameters=base.parameters + parameters,
        unquantized_parameters=base.unquantized_parameters + parameters,
        revision="local",
        path=path,
        base=base,
        note=f"A LoRA adapter on {base.title}.",
    )


def base_of_adapter(path: Path) -> str:
    """The base model that an adapter folder names; empty when the folder holds no adapter."""
    return str(read_json(path / "adapter_config.json").get("base_model_name_or_path") or "")


def sampling_of(generation_config: dict[str, Any]) -> dict[str, float]:
    """The sampling defaults of a generation_config; greedy unless it says `do_sample`."""
    if not generation_config.get("do_sample"):
        return dict(GREEDY)
    names = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
    # Absent keys mean transformers' own defaults, of which only top_k 50 is not "off".
    return {"temperature": 1.0, "top_k": 50} | {
        name: generation_config[name] for name in names if generation_config.get(name) is not None
    }


def stop_ids_of(generation_config: dict[str, Any]) -> tuple[int, ...]:
    """`eos_token_id` as a tuple, whether the file has a number, a list or nothing (then 1)."""
    value = generation_config.get("eos_token_id")
    ids = value if isinstance(value, list) else [1 if value is None else value]
    return tuple(dict.fromkeys(int(i) for i in ids))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from disk; empty when there is none or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def has_chat_template(path: Path) -> bool:
    return (path / "chat_template.jinja").exists() or bool(
        read_json(path / "tokenizer_config.json").get("chat_template")
    )


def _quantization_of(config: dict[str, Any]) -> Literal["int8", "int4"] | None:
    """How bitsandbytes quantized these files, if it did."""
    told = config.get("quantization_config")
    if not isinstance(told, dict):
        return None
    return "int8" if told.get("load_in_8bit") else "int4" if told.get("load_in_4bit") else None


def _count_parameters(path: Path, tied: bool = True) -> tuple[int, int]:
    """Parameters in all and those that stay unquantized (embeddings, an untied head).

    Read from the safetensors headers alone; a damaged file counts nothing and is complained of
    when it is loaded.
    """
    total = unquantized = 0
    for file in sorted(path.glob("*.safetensors")):
        for name, tensor in _read_header(file).items():
            if name == "__metadata__" or (tied and name.endswith("lm_head.weight")):
                continue
            if _SCALE.search(name):
                continue
            count = math.prod(tensor["shape"]) * (2 if tensor["dtype"] == "U8" else 1)
            if count == 1:  # Gemma 4 saves a few scalar buffers, which are no parameters
                continue
            total += count
            unquantized += count if "embed_tokens" in name or "lm_head" in name else 0
    return total, unquantized


def _read_header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 100_000_000)))
    except (OSError, ValueError, struct.error):
        return {}
    return header if isinstance(header, dict) else {}
