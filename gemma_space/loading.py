"""Files on disk become a model in memory: the only caller of `from_pretrained`.

Knows dtypes, quantization and what makes a loaded model trustworthy (no missing weight, no
pickle, no remote code). Knows neither the Hub nor who else is loaded. Importing it imports torch
and transformers, which takes seconds: only `registry`'s loader does, once the page is served.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)
from transformers.utils import logging as transformers_logging

from gemma_space import memory
from gemma_space.catalog import Checkpoint
from gemma_space.chat import turn_end_ids
from gemma_space.checkpoint_files import read_json, stop_ids_of
from gemma_space.errors import GemmaSpaceError, LoadError, ModelTooLargeError
from gemma_space.following import FollowedLoad, LoadCancelledError
from gemma_space.reading import ReadAhead
from gemma_space.types import Attention, Precision

log = logging.getLogger(__name__)
TURN_SECONDS = 0.1
DTYPES = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
    # The 16 bits beside and inside a quantized model; fp16 would overflow in Gemma 3.
    Precision.INT8: torch.bfloat16,
    Precision.INT4: torch.bfloat16,
}


# Gemma 3n's AltUp layers have as few as four outputs: nothing to save, and no kernel for it.
NOT_QUANTIZED = {"gemma3n": ["lm_head", r".*\.altup"]}


_loading = threading.Lock()


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
    report: Callable[[int, int], None],
    cancelled: Callable[[], bool],
    *,
    attention: Attention = Attention.AUTO,
    place: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Load a checkpoint's folder.

    Args:
        precision: not `auto`.
        report: called with bytes that are read and in place, and bytes in all.
        cancelled: asked between steps.
        place: where the weights go, see `placement.arguments`; left out: the CPU.

    Raises:
        LoadError: files missing, damaged or not of this architecture; pickles only.
        ModelTooLargeError: the device ran out of memory; nothing stays behind.
        LoadCancelledError: `cancelled` said so.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise LoadError(
            "There are no safetensors files in this checkpoint.",
            "Pickled weights (.bin) are not loaded, because loading them runs code.",
        )
    following = FollowedLoad(ReadAhead(files), report, cancelled)
    with failures_in_words(
        f"{checkpoint.title} in {precision}", "Its files may be damaged or incomplete."
    ):
        tokenizer = load_tokenizer(folder)
        arguments = {
            **_arguments(checkpoint, folder, precision, attention),
            **(place or {"device_map": "cpu"}),
        }
        with following.followed(), _one_at_a_time(cancelled):
            model = _load_weights(folder, arguments)
    configured = stop_ids_of(model.generation_config.to_dict())
    # Controls are explicit from here on: a default left in it would apply without being seen.
    model.generation_config = GenerationConfig(eos_token_id=list(configured), pad_token_id=0)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        stop_ids=frozenset((*configured, *checkpoint.stop_ids, *turn_end_ids(tokenizer))),
        nbytes=measured_bytes(model),
    )


@contextmanager
def _one_at_a_time(cancelled: Callable[[], bool]) -> Iterator[None]:
    """`from_pretrained` sets torch's default dtype for the whole process, and sets it back to what
    it found: two at once could leave the other's behind for good."""
    while not _loading.acquire(timeout=TURN_SECONDS):
        if cancelled():
            raise LoadCancelledError
    try:
        yield
    finally:
        _loading.release()


def measured_bytes(model: Any) -> int:
    """Bytes that a model's weights take, the scales of quantized layers included."""
    tensors = [*model.parameters(), *model.buffers()]
    for weight in model.parameters():
        tensors += _scales(weight)
    return sum(tensor.nbytes for tensor in tensors)


def _scales(weight: Any) -> list[torch.Tensor]:
    """What bitsandbytes keeps beside a quantized weight, which no module registers."""
    if (scales := getattr(weight, "SCB", None)) is not None:
        return [scales]
    state = getattr(weight, "quant_state", None)
    if state is None:
        return []
    found = [state.absmax, state.code, state.offset]
    if state.nested:
        found += [state.state2.absmax, state.state2.code]
    return [tensor for tensor in found if isinstance(tensor, torch.Tensor)]


def load_tokenizer(folder: Path) -> Any:
    """The folder's own tokenizer, from its own files, with no token and no network.

    Raises:
        LoadError: there is none, or it is damaged. Where there is none, the library would make one
            up that knows five tokens.
    """
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        raise LoadError(
            "There is no tokenizer in this checkpoint.",
            "It needs a tokenizer.json or a tokenizer.model beside its config.json.",
        )
    with failures_in_words(
        "The tokenizer of this checkpoint", "Its files may be damaged or incomplete."
    ):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, token=False)
    tokenizer.model_max_length = sys.maxsize  # lengths are checked, and worded, elsewhere
    return tokenizer


@contextmanager
def failures_in_words(subject: str, likely: str) -> Iterator[None]:
    """Turn what torch and transformers raise while loading into one sentence about `subject`."""
    try:
        yield
    except (GemmaSpaceError, LoadCancelledError):
        raise
    except Exception as error:  # what somebody's files make the libraries raise is of any class
        if memory.ran_out(error):
            raise ModelTooLargeError(
                f"{subject} did not fit into the device's memory.",
                "Choose int8 or int4, or a smaller model.",
            ) from None
        log.exception("loading failed: %s", subject)
        raise LoadError(
            f"{subject} could not be loaded: {_reason(error)}",
            f"{likely} The server's log has the details.",
        ) from error


def _arguments(
    checkpoint: Checkpoint, folder: Path, precision: Precision, attention: Attention
) -> dict[str, Any]:
    arguments: dict[str, Any] = {"dtype": DTYPES[precision]}
    if attention is not Attention.AUTO:
        arguments["attn_implementation"] = str(attention)
        if checkpoint.family != "gemma3n" and "text_config" in read_json(folder / "config.json"):
            # Not all encoders of a multimodal model can do what its text half can.
            arguments["attn_implementation"] = {"text_config": str(attention)}
    if checkpoint.quantization is None:  # else the files' own configuration is authoritative
        quantization = _quantization(precision, NOT_QUANTIZED.get(checkpoint.family))
        if quantization is not None:
            arguments["quantization_config"] = quantization
    if checkpoint.family == "gemma3n":
        arguments |= _text_half(folder)
    return arguments


def _text_half(folder: Path) -> dict[str, Any]:
    """Load a multimodal Gemma 3n as the text model it contains.

    Its vision tower is timm's, which needs torchvision; neither is needed for text.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, token=False)
    text = config.get_text_config(decoder=True)
    if text is config:
        return {}
    return {"config": text, "key_mapping": {r"^model\.language_model\.": "model."}}


class _WithoutReports(logging.Filter):
    """What is missing or unexpected is checked here; the library's table of it is noise, and of a
    multimodal checkpoint's text half or a second adapter a long one."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in str(record.msg)


logging.getLogger("transformers.modeling_utils").addFilter(_WithoutReports())


def _load_weights(folder: Path, arguments: dict[str, Any]) -> Any:
    transformers_logging.disable_progress_bar()
    quantization = arguments.get("quantization_config")
    if quantization is not None and arguments.get("max_memory", {}).get("cpu"):
        quantization.llm_int8_enable_fp32_cpu_offload = True  # of the part beside the GPUs
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


def _quantization(precision: Precision, skip: list[str] | None) -> BitsAndBytesConfig | None:
    if precision is Precision.INT8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    if precision is Precision.INT4:
        # The library's own defaults would be fp4 computed in fp32.
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=skip,
        )
    return None


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
