"""The generation controls: their names, ranges, meanings and defaults.

One row per control feeds validation, the API and the page. Knows nothing of logits.
"""

import math
import random
from dataclasses import dataclass, replace
from typing import Any

from gemma_space.errors import InvalidControlError
from gemma_space.types import Controls, SamplingParams

MAX_SEED = 2**32 - 1
MAX_STOP_STRINGS = 8
MAX_STOP_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A numeric control.

    `minimum` and `maximum` are inclusive, `step` is a slider's, `off` the neutral value.
    `usual_maximum` is where a slider ends at first: beyond it lies what few people want.
    """

    name: str
    kind: type[int] | type[float]
    minimum: float
    maximum: float
    step: float
    off: float
    label: str
    meaning: str
    usual_maximum: float | None = None


CONTROLS: tuple[Control, ...] = (
    Control(
        name="max_new_tokens", kind=int, minimum=1, maximum=262_144, step=1, off=512,
        label="Max new tokens", meaning="The reply ends here at the latest.",
    ),
    Control(
        name="temperature", kind=float, minimum=0.0, maximum=2.0, step=0.05, off=1.0,
        label="Temperature", meaning="0 always takes the likeliest token; higher is more varied.",
    ),
    Control(
        name="top_p", kind=float, minimum=0.0, maximum=1.0, step=0.01, off=1.0,
        label="Top-p", meaning="Sample among the likeliest tokens that add up to this probability.",
    ),
    Control(
        name="top_k", kind=int, minimum=0, maximum=1000, step=1, off=0,
        label="Top-k", meaning="Sample among this many likeliest tokens; 0 is off.",
        usual_maximum=200,
    ),
    Control(
        name="min_p", kind=float, minimum=0.0, maximum=1.0, step=0.01, off=0.0,
        label="Min-p", meaning="Drop tokens below this share of the likeliest one; 0 is off.",
    ),
    Control(
        name="typical_p", kind=float, minimum=0.01, maximum=1.0, step=0.01, off=1.0,
        label="Typical-p", meaning="Prefer tokens of typical surprise up to this mass; 1 is off.",
    ),
    Control(
        name="repetition_penalty", kind=float, minimum=0.5, maximum=2.0, step=0.01, off=1.0,
        label="Repetition penalty", meaning="Above 1 makes tokens already seen less likely.",
    ),
    Control(
        name="no_repeat_ngram_size", kind=int, minimum=0, maximum=32, step=1, off=0,
        label="No-repeat n-gram", meaning="Never repeat a run of this many tokens; 0 is off.",
        usual_maximum=16,
    ),
)  # fmt: skip
SEED = Control(
    name="seed", kind=int, minimum=0, maximum=MAX_SEED, step=1, off=0,
    label="Seed", meaning="The same seed and settings give the same reply; empty is random.",
)  # fmt: skip


def default_params(sampling: dict[str, float], max_new_tokens: int) -> SamplingParams:
    """A checkpoint's defaults: its own sampling keys, everything else off, seed 0."""
    values: dict[str, Any] = {control.name: control.off for control in CONTROLS}
    values |= {name: value for name, value in sampling.items() if name in values}
    values["max_new_tokens"] = max_new_tokens
    numbers: dict[str, Any] = {c.name: c.kind(values[c.name]) for c in CONTROLS}
    return SamplingParams(seed=0, **numbers)


def resolve(controls: Controls, defaults: SamplingParams, max_new_tokens: int) -> SamplingParams:
    """Fill in defaults, draw a seed where none is given, and check every range.

    Args:
        controls: as the caller gave them.
        defaults: the checkpoint's own.
        max_new_tokens: the most this checkpoint and this deployer allow.

    Raises:
        InvalidControlError: naming the control, its range and the value.
    """
    chosen: dict[str, Any] = {}
    for control in CONTROLS:
        value = getattr(controls, control.name)
        limit = max_new_tokens if control.name == "max_new_tokens" else control.maximum
        if value is None:
            value = min(getattr(defaults, control.name), limit)
        chosen[control.name] = check(value, replace(control, maximum=limit))
    seed = random.randrange(MAX_SEED + 1) if controls.seed is None else check(controls.seed, SEED)
    return SamplingParams(
        **chosen,
        seed=int(seed),
        stop=_check_stop(controls.stop),
        ignore_eos=_check_flag(controls.ignore_eos),
    )


def check(value: object, control: Control) -> int | float:
    """Return `value` as the control's own kind, or say what is wrong with it.

    A whole number may come as a float (JSON knows no difference); a bool is no number.

    Raises:
        InvalidControlError: wrong type, not finite, fractional where whole, or out of range.
    """
    noun = "a whole number" if control.kind is int else "a number"
    hint = f"Choose {noun} from {_shown(control.minimum)} to {_shown(control.maximum)}."
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidControlError(
            f"{control.name} is “{str(value)[:40]}”, not {noun}.", hint, control.name
        )
    if isinstance(value, float) and (
        not math.isfinite(value) or (control.kind is int and value != int(value))
    ):
        raise InvalidControlError(
            f"{control.name} is {_shown(value)}, not {noun}.", hint, control.name
        )
    if not control.minimum <= value <= control.maximum:
        raise InvalidControlError(
            f"{control.name} is {_shown(value)}, out of its range.", hint, control.name
        )
    return control.kind(value)


def _check_stop(stop: object) -> tuple[str, ...]:
    if isinstance(stop, str):
        stop = (stop,)
    if not isinstance(stop, list | tuple) or not all(isinstance(text, str) for text in stop):
        raise InvalidControlError(
            "stop must be a list of texts.", 'For example ["\\n\\n", "END"].', "stop"
        )
    kept = tuple(text for text in stop if text)
    if len(kept) > MAX_STOP_STRINGS or any(len(text) > MAX_STOP_LENGTH for text in kept):
        raise InvalidControlError(
            f"stop takes at most {MAX_STOP_STRINGS} texts of up to {MAX_STOP_LENGTH} characters.",
            "Use fewer or shorter stop strings.",
            "stop",
        )
    return kept


def _check_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidControlError(
            "ignore_eos must be true or false.", "Choose one of the two.", "ignore_eos"
        )
    return value


def _shown(value: float) -> str:
    if isinstance(value, int) and abs(value) > 1 << 64:
        return "far too large"
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
