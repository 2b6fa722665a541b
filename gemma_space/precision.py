"""Precision names: which a checkpoint may run in, why not, and what `auto` becomes.

Knows the rules; the arithmetic of bytes is in `memory`, the loading itself in `loading`.
"""

from collections.abc import Mapping

from gemma_space.catalog import Checkpoint
from gemma_space.errors import InvalidRequestError, PrecisionUnsupportedError
from gemma_space.types import Precision, PrecisionFit

# What `auto` tries, best first.
AUTO_ORDER = (Precision.BF16, Precision.INT8, Precision.INT4)
FAMILY_TITLES = {
    "gemma1": "Gemma 1", "gemma2": "Gemma 2", "gemma3": "Gemma 3", "gemma3n": "Gemma 3n",
    "gemma4": "Gemma 4",
}  # fmt: skip


def parse(name: object) -> Precision:
    """A `Precision` from its name.

    Raises:
        InvalidRequestError: the name is none of the six.
    """
    try:
        return Precision(str(name))
    except ValueError:
        raise InvalidRequestError(
            f"There is no precision “{str(name)[:40]}”.", f"Choose one of {', '.join(Precision)}."
        ) from None


def refusal(checkpoint: Checkpoint, precision: Precision) -> str:
    """Why this checkpoint is not offered in this precision, one sentence; empty when it is."""
    if precision in checkpoint.precisions:
        return ""
    if checkpoint.quantization:
        return f"Its files are quantized to {checkpoint.quantization}; no other precision exists."
    if checkpoint.family == "gemma2":
        return "Gemma 2 27B gives erratic text in fp16; use bf16."
    title = FAMILY_TITLES.get(checkpoint.family, "This model")
    return f"{title} overflows in fp16 and gives empty or broken text; use bf16."


def choose(
    checkpoint: Checkpoint, precision: Precision, fits: Mapping[str, PrecisionFit]
) -> tuple[Precision, str]:
    """The precision to load, resolving `auto` to the best that fits.

    Args:
        fits: what `memory.fits()` says of this checkpoint on this device.

    Returns:
        the precision, and why `auto` did not become the best one (empty where it did).

    Raises:
        PrecisionUnsupportedError: this checkpoint is not offered in the precision asked for.
    """
    if precision is not Precision.AUTO:
        reason = refusal(checkpoint, precision)
        if reason:
            raise PrecisionUnsupportedError(
                f"{checkpoint.title} is not offered in {precision}: {reason}",
                f"Choose auto or one of {', '.join(checkpoint.precisions)}.",
            )
        return precision, ""
    offered = [p for p in AUTO_ORDER if p in checkpoint.precisions] or list(checkpoint.precisions)
    chosen = next((p for p in offered if fits[p].fits), offered[-1])
    if chosen is offered[0]:
        return chosen, ""
    return chosen, f"auto chose {chosen}, because {offered[0]} does not fit: " + (
        fits[offered[0]].reason
    )
