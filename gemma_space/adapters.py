"""LoRA adapters on a loaded model: attached by name, switched, taken off again.

The weights of the base stay as they are and are shared: with every adapter off, it computes
exactly what it computed before. Nothing here is safe while the model runs; the engine calls it
between requests. Importing it imports peft and transformers.
"""

import itertools
import warnings
from pathlib import Path
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper

from gemma_space.errors import LoadError
from gemma_space.loading import failures_in_words

_numbers = itertools.count(1)
# PEFT warns of what is meant here.
for _meant in ("Already found a `peft_config` attribute", "Adapter .* was active which is now"):
    warnings.filterwarnings("ignore", _meant, UserWarning)


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
            # Other adapters' weights are reported as missing too; they are left as they are.
            lacking = [key for key in told.missing_keys if f".{name}." in key]
            if lacking or told.unexpected_keys:
                raise ValueError("its weights do not match its configuration")
        except BaseException:
            _forget(model, name)
            raise
    model.eval()
    activate(model, None)
    own = [weight for path, weight in model.named_parameters() if f".{name}." in path]
    for weight in own:  # on an int8 layer PEFT takes fp32, twice what the rest computes in
        weight.data = weight.data.to(model.dtype)
    return name, sum(weight.nbytes for weight in own)


def activate(model: Any, name: str | None) -> None:
    """Compute with this adapter from now on; None: with the base alone.

    Module by module, because transformers' own `set_adapter` and `enable_adapters` fail on, or
    forget, modules that only some of the adapters replace (PEFT's `modules_to_save`).
    """
    if not getattr(model, "_hf_peft_config_loaded", False):
        return  # it has none, and a step should not look at every module to find that out
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            if name is not None:
                module.set_adapter(name, inference_mode=True)  # layers it lacks compute the base
            module.enable_adapters(name is not None)
        elif isinstance(module, ModulesToSaveWrapper):
            replaced = name is not None and name in module.modules_to_save
            if name is not None and replaced:
                module.set_adapter(name, inference_mode=True)
            module.enable_adapters(replaced)


def detach(model: Any, name: str) -> None:
    """Take an adapter off again and free its weights."""
    model.delete_adapter(name)
    activate(model, None)


def _forget(model: Any, name: str) -> None:
    """After a failed attachment: what of it is there already must not stay."""
    if name in getattr(model, "peft_config", {}):
        model.delete_adapter(name)
        activate(model, None)
