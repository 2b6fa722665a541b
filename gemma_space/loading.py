"""Files on disk become a model in memory: the only caller of `from_pretrained`.

Knows dtypes, quantization and what makes a loaded model trustworthy (no missing weight, no
pickle, no remote code). Knows neither the Hub nor who else is loaded. Importing it imports torch
and transformers, which takes seconds: only `registry`'s loader does, once the page is served.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig
from transformers.utils import logging as transformers_logging

from gemma_space.catalog import Checkpoint
from gemma_space.chat import turn_end_ids
from gemma_space.errors import LoadError, ModelTooLargeError
from gemma_space.local_checkpoint import stop_ids_of
from gemma_space.types import Precision

log = logging.getLogger(__name__)
READ_BYTES = 16 * 2**20  # one step of progress, and the longest wait of a cancel
DTYPES = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
    # The 16 bits beside and inside a quantized model; fp16 would overflow in Gemma 3.
    Precision.INT8: torch.bfloat16,
    Precision.INT4: torch.bfloat16,
}


class LoadCancelledError(Exception):
    """The last one waiting for this load has gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model ready to run: weights, tokenizer, and the ids that end its replies."""

    model: Any
    tokenizer: Any
    stop_ids: frozenset[int]
    nbytes: int


def load(
    checkpoint: Checkpoint,
    folder: Path,
    precision: Precision,
    device: str,
    report: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> LoadedModel:
    """Load a checkpoint's folder onto a device.

    Args:
        precision: not `auto`.
        device: a torch device, e.g. `cpu` or `cuda:0`.
        report: called with bytes read and bytes in all.
        cancelled: asked between steps.

    Raises:
        LoadError: files missing, damaged or not of this architecture; pickles only.
        ModelTooLargeError: the device ran out of memory; nothing stays behind.
        LoadCancelledError: `cancelled` said so.
    """
    _read_ahead(sorted(folder.glob("*.safetensors")), report, cancelled)
    with _failures_in_words(
        f"{checkpoint.title} in {precision}", "Its files may be damaged or incomplete."
    ):
        tokenizer = load_tokenizer(folder)
        model = _load_weights(checkpoint, folder, precision, device)
    if cancelled():
        raise LoadCancelledError
    configured = stop_ids_of(model.generation_config.to_dict())
    # Controls are explicit from here on: a default left in it would apply without being seen.
    model.generation_config = GenerationConfig(eos_token_id=list(configured), pad_token_id=0)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        stop_ids=frozenset((*configured, *checkpoint.stop_ids, *turn_end_ids(tokenizer))),
        nbytes=int(model.get_memory_footprint()),
    )


def with_adapter(loaded: LoadedModel, folder: Path) -> LoadedModel:
    """Attach a LoRA adapter to a model that nobody uses yet.

    Raises:
        LoadError: the adapter is pickled, damaged, or made for another base.
    """
    if not (folder / "adapter_model.safetensors").exists():
        raise LoadError(
            "The adapter has no adapter_model.safetensors.",
            "Pickled adapters (.bin) are not loaded, because loading them runs code.",
        )
    with _failures_in_words(f"The adapter {folder.name}", "It must be made for exactly this base."):
        loaded.model.load_adapter(str(folder), adapter_name="adapter")
    return replace(loaded, nbytes=int(loaded.model.get_memory_footprint()))


def load_tokenizer(folder: Path) -> Any:
    """The folder's own tokenizer, from its own files, with no token and no network.

    Raises:
        LoadError: there is none; the library would make one up that knows five tokens.
    """
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        raise LoadError(
            "There is no tokenizer in this checkpoint.",
            "It needs a tokenizer.json or a tokenizer.model beside its config.json.",
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, token=False)
    tokenizer.model_max_length = sys.maxsize  # lengths are checked, and worded, elsewhere
    return tokenizer


@contextmanager
def _failures_in_words(subject: str, likely: str) -> Iterator[None]:
    """Turn what torch and transformers raise while loading into one sentence about `subject`."""
    try:
        yield
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        raise ModelTooLargeError(
            f"{subject} did not fit into the device's memory.",
            "Choose int8 or int4, or a smaller model.",
        ) from None
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, ImportError) as error:
        log.exception("loading failed: %s", subject)
        raise LoadError(
            f"{subject} could not be loaded: {_reason(error)}",
            f"{likely} The server's log has the details.",
        ) from error


def _load_weights(checkpoint: Checkpoint, folder: Path, precision: Precision, device: str) -> Any:
    transformers_logging.disable_progress_bar()
    arguments: dict[str, Any] = {"dtype": DTYPES[precision], "device_map": device}
    if checkpoint.quantization is None:  # else the files' own configuration is authoritative
        quantization = _quantization(precision)
        if quantization is not None:
            arguments["quantization_config"] = quantization
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        output_loading_info=True,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        token=False,
        **arguments,
    )
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing or info["mismatched_keys"]:
        raise ValueError(f"weights are missing or misshapen, {missing[:1] or 'shapes differ'}")
    return model.eval()


def _quantization(precision: Precision) -> BitsAndBytesConfig | None:
    if precision is Precision.INT8:
        return BitsAndBytesConfig(load_in_8bit=True)
    if precision is Precision.INT4:
        # The library's own defaults would be fp4 computed in fp32.
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return None


def _read_ahead(
    files: list[Path], report: Callable[[int, int], None], cancelled: Callable[[], bool]
) -> None:
    """Read the files into the page cache in steps: loading maps them and could not be watched."""
    if not files:
        raise LoadError(
            "There are no safetensors files in this checkpoint.",
            "Pickled weights (.bin) are not loaded, because loading them runs code.",
        )
    total, done = sum(file.stat().st_size for file in files), 0
    report(0, total)
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(READ_BYTES):
                done += len(block)
                report(done, total)
                if cancelled():
                    raise LoadCancelledError


def _reason(error: BaseException) -> str:
    """One sentence about a foreign error, without its text, which may hold paths or addresses."""
    match error:
        case SafetensorError():
            return "a safetensors file is damaged."
        case ImportError():
            return "a library it needs is not installed."
        case _ if "weights are missing" in str(error):
            return f"{error}."
        case _:
            return f"{type(error).__name__}."
