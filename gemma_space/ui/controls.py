"""The generation controls as widgets: one group, used by every tab that generates.

Knows how a control looks and how its value is read. Ranges, names and meanings are data in
`gemma_space.controls`.
"""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from gemma_space.controls import CONTROLS, MAX_SEED, MAX_STOP_STRINGS, SEED, Control
from gemma_space.errors import InvalidControlError
from gemma_space.types import Controls, SamplingParams
from gemma_space.ui.events import Updates, Values

# Ranges that people use; what is typed into the number beside a slider may not exceed them.
SLIDER_MAXIMUM = {"top_k": 200, "no_repeat_ngram_size": 16}
MAIN = ("max_new_tokens", "temperature", "top_p", "top_k")


@dataclass(frozen=True)
class SamplingControls:
    """The widgets, by the name of the control each one sets."""

    sliders: dict[str, gr.Slider]
    seed: gr.Textbox
    stop: gr.Textbox
    ignore_eos: gr.Checkbox

    @classmethod
    def build(cls, defaults: SamplingParams, max_new_tokens: int) -> "SamplingControls":
        """Lay the controls out: the usual four, then the rest in pairs."""
        rows = {control.name: control for control in CONTROLS}
        rest = [control for control in CONTROLS if control.name not in MAIN]
        sliders: dict[str, gr.Slider] = {}
        for pair in (MAIN[:2], MAIN[2:], *_pairs([control.name for control in rest])):
            with gr.Row(elem_classes="control-row"):
                for name in pair:
                    sliders[name] = _slider(rows[name], defaults, max_new_tokens)
        with gr.Row(elem_classes="control-row"):
            seed = gr.Textbox(
                label=SEED.label, info=SEED.meaning, placeholder="random", max_lines=1
            )
            stop = gr.Textbox(
                label="Stop strings", lines=2, max_lines=4, placeholder="one per line",
                info=f"The reply ends before any of these, at most {MAX_STOP_STRINGS}.",
            )  # fmt: skip
        ignore_eos = gr.Checkbox(
            label="Ignore the end-of-turn token",
            info="Go on until the token limit even where the model wants to stop.",
        )
        return cls(sliders=sliders, seed=seed, stop=stop, ignore_eos=ignore_eos)

    def inputs(self) -> set[Component]:
        """Every widget that `read` needs."""
        return {*self.sliders.values(), self.seed, self.stop, self.ignore_eos}

    def outputs(self) -> list[Component]:
        """Every widget that `show` sets."""
        return list(self.inputs())

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

    def show(self, defaults: SamplingParams, max_new_tokens: int) -> Updates:
        """A model's own defaults in every widget, and its limit on the length slider."""
        updates: Updates = {
            self.sliders[control.name]: gr.update(
                value=getattr(defaults, control.name), maximum=_maximum(control, max_new_tokens)
            )
            for control in CONTROLS
        }
        return {**updates, self.seed: "", self.stop: "", self.ignore_eos: False}


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


def _slider(control: Control, defaults: SamplingParams, max_new_tokens: int) -> gr.Slider:
    return gr.Slider(
        minimum=control.minimum,
        maximum=_maximum(control, max_new_tokens),
        value=getattr(defaults, control.name),
        step=control.step,
        label=control.label,
        info=control.meaning,
        min_width=200,
        buttons=[],
    )


def _maximum(control: Control, max_new_tokens: int) -> float:
    if control.name == "max_new_tokens":
        return max_new_tokens
    return SLIDER_MAXIMUM.get(control.name, control.maximum)


def _pairs(names: list[str]) -> list[list[str]]:
    return [names[at : at + 2] for at in range(0, len(names), 2)]
