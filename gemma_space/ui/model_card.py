"""The chosen model in one place of the page: what it is, how it fits, Load and Unload.

Knows the components and how they look. Does not know what happens on a click; that is in
`choosing`. The sidebar has one and the Models tab has one, and both always show the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from gemma_space.catalog import Checkpoint
from gemma_space.reports import Fit
from gemma_space.types import Precision
from gemma_space.ui import present_models
from gemma_space.ui.events import Updates
from gemma_space.ui.scripted import clickable, scripted


@dataclass(frozen=True)
class ModelCard:
    """The components; while `progress` shows a load, Cancel takes the others' place (style.css).

    `said` is what went wrong: a choice that was refused, a load that failed. What is said of the
    visitor's access stands above the meter; `access_lines` tells it.
    """

    about: gr.HTML
    describe: Callable[[Checkpoint], str]
    meter: gr.HTML
    said: gr.HTML
    buttons: gr.Row
    load: gr.Button
    unload: gr.Button
    cancel: gr.Button
    progress: gr.HTML

    @classmethod
    def build(cls, about: gr.HTML, describe: Callable[[Checkpoint], str]) -> "ModelCard":
        """Lay out all but `about`, which stands wherever its place is."""
        with gr.Column(elem_classes="model-card"):
            scripted("GemmaSpace.access.place(element);", elem_classes="access-line")
            meter = clickable('<p class="hint">Looking at this machine…</p>', "fit-meter")
            said = gr.HTML("", elem_classes="said")
            with gr.Row(elem_classes="load-buttons") as buttons:
                load = gr.Button("Load", size="sm", min_width=80, elem_classes="at-rest")
                unload = gr.Button(
                    "Unload", size="sm", min_width=80, elem_classes="at-rest", visible=False
                )
                cancel = gr.Button(
                    "Cancel", variant="stop", size="sm", min_width=80, elem_classes="loading"
                )
            progress = gr.HTML("", elem_classes="load-progress")
        return cls(about, describe, meter, said, buttons, load, unload, cancel, progress)

    def show(
        self, row: Checkpoint, wanted: Precision, fit: Fit, loaded: tuple[str, ...], alone: bool
    ) -> Updates:
        """The chosen model as things are.

        Args:
            loaded: the precisions it is in memory in.
            alone: no other model is in memory.
        """
        mine = loaded if wanted is Precision.AUTO else [p for p in loaded if p == wanted]
        return {
            self.about: self.describe(row),
            self.meter: present_models.fit_meter(fit, wanted, alone),
            self.load: gr.update(visible=fit.precision not in loaded and not row.is_remote),
            self.unload: gr.update(visible=bool(mine) and not row.is_remote),
        }

    def fail(self, shown: str) -> Updates:
        """In place of a model that cannot be chosen."""
        return {self.about: shown, self.meter: ""}

    def outputs(self) -> list[Block]:
        """What `show` and `fail` set."""
        return [self.about, self.meter, self.load, self.unload]
