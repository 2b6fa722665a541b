"""Presets and marks on the generation settings, drawn by `assets/js/presets.js`.

Knows what travels between the page and the script: the model's defaults go there, a chosen preset's
values come back. The script keeps saved presets in the browser; the server sees none that nobody
chose.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gemma_space import presets
from gemma_space.types import SamplingParams
from gemma_space.ui.events import Updates, listen
from gemma_space.ui.scripted import for_script, heard, scripted


@dataclass(frozen=True)
class Presets:
    """The choice, and two unseen components through which the script hears of things.

    Attributes:
        group: tells the script one tab's settings from another's.
    """

    group: int
    choice: gr.HTML
    facts: gr.HTML
    answer: gr.HTML

    @classmethod
    def build(cls, group: int, defaults: Mapping[str, Any], params: SamplingParams) -> "Presets":
        """Lay the choice out; everything else about it the script draws.

        Args:
            defaults: what every control of the group says where nobody touched it, by its name.
            params: the model's own sampling.
        """
        facts = _facts(defaults, params)
        hear = f"GemmaSpace.presets.learn({group}, props.value);"
        return cls(
            group,
            scripted(
                f"GemmaSpace.presets.mount(element, trigger, {group}, {for_script(facts)});",
                elem_classes="presets",
            ),
            heard(hear, mounted=hear),
            heard(f"GemmaSpace.presets.answered({group}, props.value)"),
        )

    def show(self, defaults: Mapping[str, Any], params: SamplingParams) -> Updates:
        """Another model's defaults, or the same ones again."""
        return {self.facts: _stamped(_facts(defaults, params))}

    def follow(self, controls: Mapping[str, Component]) -> None:
        """Tell the script of every change of a control, without asking the server."""
        for name, control in controls.items():
            js = f"(value) => GemmaSpace.presets.follow({self.group}, '{name}', value)"
            listen([_change(control)], None, {control}, js=js)

    def listen(
        self, outputs: Sequence[Block], chosen: Callable[[Mapping[str, Any]], Updates]
    ) -> None:
        """Show what is chosen; `chosen` makes updates of values that are in range."""

        def on_choose(event: gr.EventData) -> Updates:
            fitted = presets.fit(event._data)
            return {**chosen(fitted.values), self.answer: _stamped({"note": fitted.note})}

        def refused(text: str, _event: gr.EventData) -> Updates:
            return {self.answer: _stamped({"note": text})}

        listen([self.choice.select], on_choose, outputs=[*outputs, self.answer],
               on_error=refused)  # fmt: skip


def _facts(defaults: Mapping[str, Any], params: SamplingParams) -> dict[str, Any]:
    offered = [
        {"name": preset.name, "reason": preset.reason, "values": dict(preset.values)}
        for preset in presets.offered(params)
    ]
    return {"defaults": dict(defaults), "presets": offered}


def _stamped(told: dict[str, Any]) -> str:
    # The stamp makes each message a change; without one the script would not hear of it.
    return for_script({**told, "stamp": time.time_ns() // 1000})


def _change(control: Component) -> Any:
    return control.change  # type: ignore[attr-defined]
