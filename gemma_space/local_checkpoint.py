"""A catalogue row made from a checkpoint's own files.

Knows which architectures and quantizations are served, and what a row takes from where. Works on
a folder; for a repository on the Hub, on a folder of its small files and a list of its tensors.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from gemma_space.assets import DEMO_ADAPTER, DEMO_MODEL
from gemma_space.catalog import (
    ALL_PRECISIONS,
    DEMO_ADAPTER_ID,
    DEMO_REPO_ID,
    NO_FP16,
    Checkpoint,
)
from gemma_space.checkpoint_files import (
    Tensors,
    count,
    has_chat_template,
    read_json,
    read_tensors,
    sampling_of,
    stop_ids_of,
    without_towers,
)
from gemma_space.errors import ModelNotFoundError
from gemma_space.types import Precision

FAMILIES = {
    "gemma": "gemma1", "gemma2": "gemma2", "gemma3": "gemma3", "gemma3_text": "gemma3",
    "gemma3n": "gemma3n", "gemma3n_text": "gemma3n", "gemma4": "gemma4",
    "gemma4_text": "gemma4", "gemma4_unified": "gemma4", "gemma4_unified_text": "gemma4",
}  # fmt: skip
SERVED_HEADS = ("ForCausalLM", "ForConditionalGeneration")  # EmbeddingGemma, say, has neither
FP16_FAMILIES = ("gemma1", "gemma2")


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


def demo_adapter(base: Checkpoint) -> Checkpoint:
    """The adapter this project trains for its demo and ships in `assets/demo-adapter/`."""
    row = adapter_checkpoint(DEMO_ADAPTER, base, repo_id=DEMO_ADAPTER_ID)
    return replace(
        row,
        title="Demo as a pirate",
        note=f"{base.title} in another voice; trained by this project too.",
    )


def local_checkpoint(
    path: Path, *, repo_id: str = "", tensors: Tensors | None = None, **fixed: str
) -> Checkpoint:
    """Make a row for a folder in the Hub's layout, from its own files alone.

    Args:
        path: the folder, with `config.json` and `*.safetensors`.
        repo_id: the name it goes by; default: the path as given.
        tensors: what the safetensors files hold, where they are not in the folder.
        **fixed: title, license or note where the folder's owner knows better.

    Raises:
        ModelNotFoundError: no such folder, no config.json, or nothing that is served here.
    """
    name = repo_id or str(path)
    try:
        return _row(path, name, _served_config(path, name), tensors, fixed)
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise nonsense(name) from None


def nonsense(name: str) -> ModelNotFoundError:
    """What to say of files that cannot be understood."""
    return ModelNotFoundError(
        f"The configuration of {name} cannot be understood.",
        "Its config.json or generation_config.json may be damaged.",
    )


def _row(
    path: Path,
    name: str,
    config: dict[str, Any],
    tensors: Tensors | None,
    fixed: Mapping[str, str],
) -> Checkpoint:
    text = config.get("text_config", config)
    family = FAMILIES[str(config.get("model_type"))]
    generation = read_json(path / "generation_config.json")
    quantization = _quantization_of(config, name)
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings")) is not False
    tensors = read_tensors(path) if tensors is None else tensors
    parameters, _ = count(tensors, tied=tied)
    # Gemma 3n is loaded without its towers, see `loading`.
    loaded, linears = count(without_towers(tensors) if family == "gemma3n" else tensors, tied=tied)
    offered = ALL_PRECISIONS if family in FP16_FAMILIES else NO_FP16
    return Checkpoint(
        repo_id=name,
        title=fixed.get("title", path.name),
        family=family,
        parameters=parameters,
        linears=linears,
        left_out=parameters - loaded,
        context_length=int(text.get("max_position_embeddings", 8192)),
        variant="instruct" if has_chat_template(path) else "base",
        license=fixed.get("license", "apache-2.0" if family == "gemma4" else "gemma"),
        gated=False,
        revision="local",
        sampling=sampling_of(generation),
        stop_ids=stop_ids_of(generation or config),
        precisions=(Precision(quantization),) if quantization else offered,
        quantization=quantization,
        path=path,
        note=fixed.get("note", ""),
    )


def adapter_checkpoint(
    path: Path, base: Checkpoint, *, repo_id: str = "", tensors: Tensors | None = None
) -> Checkpoint:
    """Make a row for a LoRA adapter in PEFT's layout.

    Template, limits, licence and gate are the base's; the parameters are counted together.

    Raises:
        ModelNotFoundError: it is pickled, or no LoRA.
    """
    name = repo_id or str(path)
    tensors = read_tensors(path) if tensors is None else tensors
    if not tensors:
        raise ModelNotFoundError(
            f"The adapter {name} has no adapter_model.safetensors.",
            "Pickled adapters (.bin) are not loaded, because loading them runs code.",
        )
    kind = read_json(path / "adapter_config.json").get("peft_type", "LORA")
    if kind != "LORA":
        raise ModelNotFoundError(
            f"The adapter {name} is of the kind {kind}.", "Only LoRA adapters are attached here."
        )
    parameters, _ = count(tensors)
    return replace(
        base,
        repo_id=name,
        title=f"{path.name} (adapter for {base.title})",
        variant="adapter",
        parameters=base.parameters + parameters,
        revision="local",
        path=path,
        base=base,
        note=f"A LoRA adapter on {base.title}.",
    )


def _served_config(path: Path, name: str) -> dict[str, Any]:
    config = read_json(path / "config.json")
    if not config:
        raise ModelNotFoundError(
            f"There is no readable config.json in {name}.",
            "Name a folder or a repository in the Hugging Face layout.",
        )
    kind = str(config.get("model_type"))
    heads = [str(head) for head in config.get("architectures") or ["ForCausalLM"]]
    if kind not in FAMILIES:
        raise ModelNotFoundError(
            f"{name} holds a “{kind[:60]}” model, not a Gemma.",
            "This playground serves Gemma 1, 2, 3, 3n and 4.",
        )
    if not heads[0].endswith(SERVED_HEADS):
        raise ModelNotFoundError(
            f"{name} is a Gemma that writes no text ({heads[0][:60]}).",
            "This playground serves models that continue a text.",
        )
    return config


def _quantization_of(config: dict[str, Any], name: str) -> Literal["int8", "int4"] | None:
    """How bitsandbytes quantized these files, if it did."""
    told = config.get("quantization_config")
    if not isinstance(told, dict):
        return None
    if told.get("load_in_8bit") or told.get("_load_in_8bit"):
        return "int8"
    if told.get("load_in_4bit") or told.get("_load_in_4bit"):
        return "int4"
    raise ModelNotFoundError(
        f"{name} is quantized with {str(told.get('quant_method'))[:40]}.",
        "Of quantized files only those of bitsandbytes are loaded here; take the original "
        "checkpoint and a precision.",
    )
