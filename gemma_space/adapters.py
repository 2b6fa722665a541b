"""LoRA adapters on a loaded model: attached by name, switched, taken off again.

The weights of the base stay as they are and are shared: with every adapter off, it computes
exactly what it computed before. Nothing here is safe while the model runs; the engine calls it
between requests. Importing it imports transformers.
"""

import itertools
from pathlib import Path
from typing import Any

from gemma_space.errors import LoadError
from gemma_space.loading import failures_in_words

_numbers = itertools.count(1)


def attach(model: Any, folder: Path, title: str) -> tuple[str, int]:
    """Attach an adapter without switching it on.

    Returns:
        the name to switch it on by, and the bytes that it takes.

    Raises:
        LoadError: it is pickled, damaged, or made for another base.
    """
    # A name of our own: a repository's may have dots, which are not allowed in module names.
    name = f"adapter_{next(_numbers)}"
    if not (folder / "adapter_model.safetensors").exists():
        raise LoadError(
            f"{title} has no adapter_model.safetensors.",
            "Pickled adapters (.bin) are not loaded, because loading them runs code.",
        )
    with failures_in_words(title, "It must be made for exactly this base."):
        try:
            told = model.load_adapter(str(folder), adapter_name=name)
            if told.missing_keys or told.unexpected_keys:
                raise ValueError("its weights do not match its configuration")
        except BaseException:
            _forget(model, name)
            raise
    model.eval()
    activate(model, None)
    nbytes = sum(
        parameter.nbytes for path, parameter in model.named_parameters() if f".{name}." in path
    )
    return name, nbytes


def activate(model: Any, name: str | None) -> None:
    """Compute with this adapter from now on; None: with the base alone."""
    if not getattr(model, "_hf_peft_config_loaded", False):
        return
    if name is None:
        model.disable_adapters()
    else:
        model.set_adapter(name)
        model.enable_adapters()


def detach(model: Any, name: str) -> None:
    """Take an adapter off again and free its weights."""
    model.delete_adapter(name)
    activate(model, None)


def _forget(model: Any, name: str) -> None:
    """After a failed attachment: what of it is there already must not stay."""
    if name in getattr(model, "peft_config", {}):
        model.delete_adapter(name)
        activate(model, None)
