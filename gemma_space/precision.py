"""Precision names: which a checkpoint may run in, why not, and what `auto` becomes.

Knows the rules; the arithmetic of bytes is in `memory`, the loading itself in `loading`.
"""

from collections.abc import Callable

from gemma_space.catalog import Checkpoint
from gemma_space.errors import InvalidRequestError, PrecisionUnsupportedError
from gemma_space.types import Precision

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
        names = [precision for precision in Precision if precision is not Precision.AS_SERVED]
        raise InvalidRequestError(
            f"There is no precision “{str(name)[:40]}”.", f"Choose one of {', '.join(names)}."
        ) from None


def refusal(checkpoint: Checkpoint, precision: Precision) -> str:
    """Why this checkpoint is not offered in this precision, one sentence; empty when it is."""
    if precision in checkpoint.precisions:
        return ""
    if precision is Precision.AS_SERVED:
        return "It runs here, in a precision of your choice."
    if checkpoint.is_remote:
        return "The server that has the weights decides in which precision they run."
    if checkpoint.quantization:
        return f"Its files are quantized to {checkpoint.quantization}; no other precision exists."
    if checkpoint.family == "gemma2":
        return "Gemma 2 27B gives erratic text in fp16; use bf16."
    title = FAMILY_TITLES.get(checkpoint.family, "This model")
    return f"{title} overflows in fp16 and gives empty or broken text; use bf16."


def require(checkpoint: Checkpoint, precision: Precision) -> None:
    """Refuse a precision that the checkpoint is not offered in; `auto` always is.

    Raises:
        PrecisionUnsupportedError: with the reason.
    """
    reason = "" if precision is Precision.AUTO else refusal(checkpoint, precision)
    if reason:
        raise PrecisionUnsupportedError(
            f"{checkpoint.title} is not offered in {precision}: {reason}",
            f"Choose auto or one of {', '.join(checkpoint.precisions)}.",
        )


def auto_order(checkpoint: Checkpoint) -> list[Precision]:
    """What `auto` may become, best first."""
    offered = [p for p in AUTO_ORDER if p in checkpoint.precisions]
    return offered or list(checkpoint.precisions)


def choose(
    checkpoint: Checkpoint, precision: Precision, obstacle: Callable[[Precision], str]
) -> tuple[Precision, str]:
    """The precision to load, resolving `auto` to the best that fits.

    Args:
        obstacle: why a precision does not fit right now, one sentence; empty where it does.

    Returns:
        the precision, and why `auto` did not become the best one (empty where it did).

    Raises:
        PrecisionUnsupportedError: this checkpoint is not offered in the precision asked for.
    """
    require(checkpoint, precision)
    if precision is not Precision.AUTO:
        return precision, ""
    best, *others = auto_order(checkpoint)
    reason = obstacle(best)
    if not reason:
        return best, ""
    chosen = next((p for p in others if not obstacle(p)), None)
    if chosen is None:  # nothing fits, and whoever loads it will say so
        return (others or [best])[-1], ""
    return chosen, f"auto chose {chosen}, because {best} does not fit: {reason}"
