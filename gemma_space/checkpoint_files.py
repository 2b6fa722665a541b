"""The files of a checkpoint in the Hub's layout, read without loading any weights.

Knows `config.json`, `generation_config.json`, `adapter_config.json` and the headers of
safetensors files (names, dtypes and shapes, a few kilobytes). Does not know what a catalogue
makes of them.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemma_space.catalog import GREEDY, Linears

# What bitsandbytes saves beside quantized weights; int4 weights themselves are two to a U8.
_SCALE = re.compile(r"\.(SCB|weight_format|(nested_)?(absmax|quant_map)|quant_state\..*)$")
# Matrices that are no linear layers, or that `loading` keeps in 16 bits.
_NOT_QUANTIZED = re.compile(r"embed_tokens|embedding\.|position_embedding|lm_head|\.altup\.")
_TOWER = re.compile(r"(vision_tower|audio_tower|embed_vision|embed_audio)\.")

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]  # dtype and shape by name


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from disk; empty when there is none or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def has_chat_template(path: Path) -> bool:
    return (path / "chat_template.jinja").exists() or bool(
        read_json(path / "tokenizer_config.json").get("chat_template")
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
        name: generation_config[name]
        for name in names
        if isinstance(generation_config.get(name), (int, float))
    }


def stop_ids_of(generation_config: dict[str, Any]) -> tuple[int, ...]:
    """`eos_token_id` as a tuple, whether the file has a number, a list or nothing (then 1)."""
    value = generation_config.get("eos_token_id")
    ids = value if isinstance(value, list) else [1 if value is None else value]
    return tuple(dict.fromkeys(int(i) for i in ids))


def read_tensors(path: Path) -> Tensors:
    """Every tensor in a folder's safetensors files, from their headers alone.

    A damaged file counts nothing and is complained of when it is loaded.
    """
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for file in sorted(path.glob("*.safetensors")):
        for name, tensor in _read_header(file).items():
            if name != "__metadata__":
                found[name] = (tensor["dtype"], tuple(tensor["shape"]))
    return found


def count(tensors: Tensors, *, tied: bool = True) -> tuple[int, Linears]:
    """Parameters in all, and the linear layers among them.

    Args:
        tied: the output layer is the embedding again, though the files may hold it twice.
    """
    total = parameters = rows = layers = 0
    for name, (dtype, shape) in tensors.items():
        if _SCALE.search(name) or (tied and name.endswith("lm_head.weight")):
            continue
        weights = math.prod(shape) * (2 if dtype == "U8" else 1)
        if weights == 1:  # Gemma 4 saves a few scalar buffers, which are no parameters
            continue
        total += weights
        if len(shape) == 2 and name.endswith(".weight") and not _NOT_QUANTIZED.search(name):
            parameters, layers = parameters + weights, layers + 1
            rows += shape[0] if dtype != "U8" else 0  # packed, and int4 has no scale per row
    return total, Linears(parameters, rows, layers)


def without_towers(tensors: Tensors) -> Tensors:
    """The text half of a multimodal checkpoint."""
    return {name: tensor for name, tensor in tensors.items() if not _TOWER.search(name)}


def _read_header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 100_000_000)))
    except (OSError, ValueError, RecursionError, struct.error):
        return {}
    return header if isinstance(header, dict) else {}
