"""The generation controls as widgets: one group, used by every tab that generates.

Knows how a control looks and how its value is read. Ranges, names and meanings are data in
`gemma_space.controls`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gemma_space.controls import (
    CONTROLS,
    MAX_SEED,
    MAX_STOP_LENGTH,
    MAX_STOP_STRINGS,
    SEED,
    Control,
)
from gemma_space.errors import InvalidControlError
from gemma_space.types import Controls, SamplingParams
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.presets import Presets

SIMPLE = ("max_new_tokens", "temperature", "top_p", "top_k")
UNTOUCHED = {"seed": "", "stop": "", "ignore_eos": False}  # what no model has a default for
PIN = "Pin seed "
NO_RUN = "Pin the last seed"
WITHOUT = "Not available: the server did not follow this control when it was tried."


@dataclass(frozen=True)
class SamplingControls:
    """The widgets, by the name of the control each one sets, and what helps to set them.

    A plain group has no presets and no buttons for its seed.
    """

    presets: Presets | None
    sliders: dict[str, gr.Slider]
    seed: gr.Textbox
    pin: gr.Button | None
    random: gr.Button | None
    stop: gr.Textbox
    ignore_eos: gr.Checkbox

    @classmethod
    def build(
        cls, defaults: SamplingParams, max_new_tokens: int, *, plain: bool = False
    ) -> "SamplingControls":
        """Lay the controls out: presets, the usual ones, and the rest behind a click."""
        rest = [control.name for control in CONTROLS if control.name not in SIMPLE]
        sliders: dict[str, gr.Slider] = {}
        with gr.Column(elem_classes="sampling") as group:
            presets = None
            if not plain:
                presets = Presets.build(group._id, _untouched(defaults), defaults)
            for pair in _pairs(SIMPLE):
                sliders |= _sliders(pair, defaults, max_new_tokens)
            with gr.Row(elem_classes="control-row seed-row"):
                seed = _seed_widget()
                pin, random = (None, None) if plain else _seed_buttons()
            with gr.Accordion("Advanced", open=False, elem_classes="advanced"):
                for pair in _pairs(rest):
                    sliders |= _sliders(pair, defaults, max_new_tokens)
                stop, ignore_eos = _ending_widgets()
        return cls(presets, sliders, seed, pin, random, stop, ignore_eos)

    def inputs(self) -> set[Component]:
        """Every widget that `read` needs."""
        return {*self.sliders.values(), self.seed, self.stop, self.ignore_eos}

    def outputs(self) -> list[Component]:
        """Every widget that `show` sets."""
        return [*self.inputs(), *([self.presets.facts] if self.presets else [])]

    def read(self, values: Values) -> Controls:
        """The only place where widgets become a value; ranges are checked further down.

        Raises:
            InvalidControlError: the seed is no whole number.
        """
        chosen: dict[str, Any] = {
            control.name: control.kind(values[self.sliders[control.name]]) for control in CONTROLS
        }
        return Controls(
            **chosen,
            seed=read_seed(values[self.seed]),
            stop=tuple(line for line in (values[self.stop] or "").splitlines() if line),
            ignore_eos=bool(values[self.ignore_eos]),
        )

    def show(
        self,
        defaults: SamplingParams,
        max_new_tokens: int,
        given: Controls | None = None,
        without: Collection[str] = (),
    ) -> Updates:
        """A model's own defaults in every widget, and its limit on the length slider.

        Args:
            given: stands in place of the defaults, where it says something.
            without: controls that cannot be used with this model.
        """
        given = given or Controls()
        sliders: Updates = {
            self.sliders[control.name]: gr.update(
                **_settings(control, defaults, max_new_tokens, getattr(given, control.name))
                | _usable(control.name not in without)
            )
            for control in CONTROLS
        }
        return {
            **sliders,
            self.seed: "" if given.seed is None else str(given.seed),
            self.stop: "\n".join(given.stop),
            self.ignore_eos: given.ignore_eos,
            **(self.presets.show(_untouched(defaults), defaults) if self.presets else {}),
        }

    def used_seed(self, seed: int) -> Updates:
        """A run's seed, for people to pin."""
        return {
            pin: gr.update(value=f"{PIN}{seed}", interactive=True) for pin in self.used_outputs()
        }

    def used_outputs(self) -> list[Block]:
        """What `used_seed` sets."""
        return [self.pin] if self.pin else []

    def wire(self) -> None:
        """Listen to the presets and the seed's buttons, and mark what differs from its default."""
        self._wire_presets()
        seed, pin = self.seed, self.pin
        if pin is None or self.random is None:
            return

        def on_pin(values: Values) -> Updates:
            return {seed: values[pin].removeprefix(PIN)}  # what it says is what it does

        listen([pin.click], on_pin, {pin}, [seed])
        listen([self.random.click], lambda: {seed: ""}, outputs=[seed])

    def _wire_presets(self) -> None:
        rows = {control.name: control for control in CONTROLS}

        def chosen(values: Mapping[str, Any]) -> Updates:
            return {
                self.sliders[name]: gr.update(value=value, maximum=_reach(rows[name], value))
                for name, value in values.items()
            }

        if self.presets is not None:
            self.presets.listen(list(self.sliders.values()), chosen)
            self.presets.follow({
                **self.sliders, "seed": self.seed, "stop": self.stop, "ignore_eos": self.ignore_eos
            })  # fmt: skip


def read_seed(text: str | None) -> int | None:
    """A typed seed; nothing typed means a random one.

    Raises:
        InvalidControlError: it is no whole number.
    """
    given = (text or "").strip()
    if not given:
        return None
    if not given.isdecimal() or len(given) > len(str(MAX_SEED)):
        raise InvalidControlError(
            f"seed must be a whole number up to {MAX_SEED:,}, not “{given[:40]}”.",
            "Leave it empty for a random one.",
        )
    return int(given)


def _untouched(defaults: SamplingParams) -> dict[str, Any]:
    """What every widget holds where nobody touched it, by the name of its control."""
    return {control.name: getattr(defaults, control.name) for control in CONTROLS} | UNTOUCHED


def _sliders(
    names: tuple[str, ...], defaults: SamplingParams, max_new_tokens: int
) -> dict[str, gr.Slider]:
    with gr.Row(elem_classes="control-row"):
        return {
            control.name: gr.Slider(
                **_settings(control, defaults, max_new_tokens),
                minimum=control.minimum,
                step=control.step,
                label=control.label,
                min_width=200,
                buttons=[],
                elem_classes=["control", f"control-{control.name}"],
            )
            for control in CONTROLS
            if control.name in names
        }


def _settings(
    control: Control, defaults: SamplingParams, max_new_tokens: int, given: float | None = None
) -> dict[str, Any]:
    """What of a slider depends on the model, and `given` as its value where there is one."""
    default = getattr(defaults, control.name)
    value = default if given is None else given
    if control.name == "max_new_tokens":
        maximum, value = max_new_tokens, min(value, max_new_tokens)
    else:
        maximum = _reach(control, max(value, default))
    about = f"{_shown(control.minimum)} to {_shown(maximum)}, default {_shown(default)}."
    return {"value": value, "maximum": maximum, "info": f"{control.meaning} {about}"}


def _usable(usable: bool) -> dict[str, Any]:
    return {"interactive": True} if usable else {"interactive": False, "info": WITHOUT}


def _shown(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def _reach(control: Control, value: float) -> float:
    """Where the slider ends, so that it holds `value`."""
    return max(control.usual_maximum or control.maximum, value)


def _seed_widget() -> gr.Textbox:
    return gr.Textbox(
        label=SEED.label, info=f"{SEED.meaning} 0 to {MAX_SEED:,}.", placeholder="random",
        max_lines=1, min_width=200, elem_classes=["control", "control-seed"],
    )  # fmt: skip


def _seed_buttons() -> tuple[gr.Button, gr.Button]:
    with gr.Row(elem_classes="seed-buttons"):
        pin = gr.Button(NO_RUN, size="sm", min_width=120, interactive=False)
        random = gr.Button("Random", size="sm", min_width=80)
    return pin, random


def _ending_widgets() -> tuple[gr.Textbox, gr.Checkbox]:
    stop = gr.Textbox(
        label="Stop strings", lines=2, max_lines=4, placeholder="one per line",
        info=f"The reply ends before any of these: at most {MAX_STOP_STRINGS}, of up to "
        f"{MAX_STOP_LENGTH} characters. Default none.",
        elem_classes=["control", "control-stop"],
    )  # fmt: skip
    ignore_eos = gr.Checkbox(
        label="Ignore the end-of-turn token",
        info="Go on until the token limit even where the model wants to stop. Default off.",
        elem_classes=["control", "control-ignore_eos"],
    )
    return stop, ignore_eos


def _pairs(names: tuple[str, ...] | list[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(names[at : at + 2]) for at in range(0, len(names), 2))
