"""Attention names: which a checkpoint may run with, and why not.

Knows the rules; the library's own default per architecture is `auto` and left alone (`sdpa`, for
Gemma 2 `eager`).
"""

from importlib.util import find_spec

from gemma_space.catalog import Checkpoint
from gemma_space.errors import InvalidRequestError, PrecisionUnsupportedError
from gemma_space.types import Attention, Precision


def parse(name: object) -> Attention:
    """An `Attention` from its name.

    Raises:
        InvalidRequestError: the name is none of the four.
    """
    try:
        return Attention(str(name))
    except ValueError:
        raise InvalidRequestError(
            f"There is no attention “{str(name)[:40]}”.", f"Choose one of {', '.join(Attention)}."
        ) from None


def refusal(checkpoint: Checkpoint, attention: Attention, precision: Precision, device: str) -> str:
    """Why this attention is not offered here, one sentence; empty when it is.

    Args:
        device: a torch device type, `cpu` or `cuda`.
    """
    match attention:
        case Attention.SDPA if checkpoint.family == "gemma2":
            return "Gemma 2 caps its attention scores, which sdpa cannot do."
        case Attention.FLASH if checkpoint.family == "gemma4":
            return "Gemma 4's global layers have heads of 512, and FlashAttention ends at 256."
        case Attention.FLASH if device != "cuda":
            return "FlashAttention needs an NVIDIA GPU."
        case Attention.FLASH if find_spec("flash_attn") is None:
            return "The package flash-attn is not installed here."
        case Attention.FLASH if precision is Precision.FP32:
            return "FlashAttention works in 16 bits only."
        case _:
            return ""


def offered(checkpoint: Checkpoint, device: str) -> tuple[Attention, ...]:
    """What a visitor may choose for this checkpoint on this device, `auto` first."""
    return tuple(a for a in Attention if not refusal(checkpoint, a, Precision.BF16, device))


def require(
    checkpoint: Checkpoint, attention: Attention, precision: Precision, device: str
) -> None:
    """Refuse what the checkpoint cannot run with.

    Raises:
        PrecisionUnsupportedError: with the reason.
    """
    if reason := refusal(checkpoint, attention, precision, device):
        raise PrecisionUnsupportedError(
            f"{checkpoint.title} does not run with {attention}: {reason}", "Choose auto."
        )
