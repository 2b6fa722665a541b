"""Presets: named settings of the sampling controls, and what may be taken from a saved one.

Knows what each preset sets and why. A preset never touches the length of a reply, the seed or what
ends it. Saved presets are in visitors' browsers; here they are values of unknown origin.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemma_space.controls import CONTROLS, Control
from gemma_space.errors import InvalidControlError
from gemma_space.types import SamplingParams

SAMPLING = tuple(control for control in CONTROLS if control.name != "max_new_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A value for every sampling control, by the control's name.

    Attributes:
        reason: one sentence on what it is good for.
    """

    name: str
    reason: str
    values: Mapping[str, int | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What the controls take of a preset, and a sentence on what they don't; empty if nothing."""

    values: Mapping[str, int | float]
    note: str


def _preset(name: str, reason: str, **values: float) -> Preset:
    """Whatever is not named is off."""
    chosen = {c.name: c.kind(values.get(c.name, c.off)) for c in SAMPLING}
    return Preset(name=name, reason=reason, values=chosen)


BUILT_IN: tuple[Preset, ...] = (
    _preset(
        "Precise",
        "Always the likeliest token: the same prompt gives the same reply. For facts and code.",
        temperature=0.0,
    ),
    _preset(
        "Balanced",
        "Gemma 3's and 4's own top-k and top-p at a lower temperature: varied, but to the point.",
        temperature=0.7, top_k=64, top_p=0.95,
    ),
    _preset(
        "Creative",
        "Flatter odds for bolder words; min-p drops what would make no sense in its place.",
        temperature=1.3, min_p=0.1,
    ),
)  # fmt: skip


def recommended(defaults: SamplingParams) -> Preset:
    """The checkpoint's own defaults, which is what a reset gives."""
    return Preset(
        name="Model team's recommendation",
        reason="From the checkpoint's own generation_config; what it does not name is off.",
        values={control.name: getattr(defaults, control.name) for control in SAMPLING},
    )


def offered(defaults: SamplingParams) -> tuple[Preset, ...]:
    """The presets that a checkpoint with these defaults comes with."""
    return (recommended(defaults), *BUILT_IN)


def fit(given: object) -> Fitted:
    """Take what the sampling controls can hold; the nearest value where one is out of range.

    Args:
        given: control names and numbers, as a browser handed them over: anything at all.

    Raises:
        InvalidControlError: there is no number for any sampling control in it.
    """
    found: Mapping[Any, Any] = given if isinstance(given, Mapping) else {}
    named = [control for control in SAMPLING if control.name in found]
    usable = [control for control in named if _is_number(found[control.name])]
    if not usable:
        raise InvalidControlError("This preset holds no settings.", "Choose or save another one.")
    values = {control.name: _nearest(found[control.name], control) for control in usable}
    moved = [c for c in usable if values[c.name] != found[c.name]]
    left = [c for c in named if c not in usable]
    notes = (
        _sentence("Out of range, so set to the nearest value:", moved),
        _sentence("Not a number, so left as it was:", left),
    )
    return Fitted(values=values, note=" ".join(note for note in notes if note))


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _nearest(value: float, control: Control) -> int | float:
    # Bounds first: a whole number from JSON may be larger than any float.
    inside = min(max(value, control.minimum), control.maximum)
    return round(inside) if control.kind is int else float(inside)


def _sentence(begin: str, controls: Iterable[Control]) -> str:
    labels = ", ".join(control.label for control in controls)
    return f"{begin} {labels}." if labels else ""
