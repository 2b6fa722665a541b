"""The sidebar's model part: which checkpoint, in which precision, and what is in memory.

Knows its components, what they hold and how they show a checkpoint. Does not know what happens
when they change; that is in `choosing`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gemma_space.catalog import Checkpoint
from gemma_space.library import Library
from gemma_space.types import Attention
from gemma_space.ui import present, present_models
from gemma_space.ui.events import Updates, Values
from gemma_space.ui.model_card import ModelCard
from gemma_space.ui.scripted import heard
from gemma_space.use_cases import UseCases

MAX_TYPED = 50  # each of them is asked about


@dataclass(frozen=True)
class ModelPanel:
    """What other parts of the page read from the sidebar.

    Attributes:
        model: the name as it stands, which may have been typed a moment ago.
        chosen: the last name that turned out to be a model; unseen. Its change is what other
            parts of the page follow.
        typed: the names this visitor typed that are not in the list, as JSON; unseen.
        marked: what the Models tab's list marks as chosen, and whose access is told; unseen.
    """

    model: gr.Dropdown
    precision: gr.Dropdown
    attention: gr.Dropdown
    chosen: gr.Textbox
    typed: gr.Textbox
    marked: gr.HTML
    card: ModelCard
    status: gr.HTML

    @classmethod
    def build(cls, playground: UseCases) -> "ModelPanel":
        """Lay out the selectors, the fit meter with its buttons, and the status."""
        library = playground.library
        first = library.find(playground.default_model)
        gr.HTML("<h2>Model</h2>", elem_classes="section-title")
        model = gr.Dropdown(
            listed(library, ()), value=first.repo_id, label="Checkpoint", elem_id="model",
            allow_custom_value=library.takes_any,
            info=_typing(library),
        )  # fmt: skip
        about = gr.HTML(present.model_note(first), elem_classes="model-note", elem_id="about-model")
        precision = gr.Dropdown(
            label="Precision", filterable=False, elem_id="precision", **precisions(first)
        )
        card = ModelCard.build(about, present.model_note)
        with gr.Accordion("More", open=False, elem_id="more-model"):
            attention = gr.Dropdown(
                [str(Attention.AUTO)], value=str(Attention.AUTO), label="Attention",
                info="How attention is computed. auto is the architecture's own.",
                filterable=False, elem_id="attention",
            )  # fmt: skip
        chosen = gr.Textbox(first.repo_id, visible="hidden")
        typed = gr.Textbox("[]", visible="hidden")
        marked = heard("GemmaSpace.models.mark(props.value);")
        where = "On the server" if library.is_remote else "In memory"
        gr.HTML(f"<h2>{where}</h2>", elem_classes=["section-title", "expert-only"])
        status = gr.HTML(
            '<div class="status-card"><p>Looking at this machine…</p></div>',
            elem_classes="expert-only",
        )
        return cls(model, precision, attention, chosen, typed, marked, card, status)

    def inputs(self) -> set[Component]:
        """What is chosen: for whoever asks for a reply or loads."""
        return {self.model, self.precision, self.attention}

    def remembered(self, values: Values) -> tuple[str, ...]:
        """The names this visitor typed."""
        return tuple(json.loads(values[self.typed])[:MAX_TYPED])

    def select(
        self,
        row: Checkpoint,
        precision: str,
        attentions: Sequence[Attention],
        choices: list[tuple[str, str]],
    ) -> Updates:
        """Every selector on this checkpoint."""
        return {
            self.model: gr.update(value=row.repo_id, choices=choices),
            self.precision: gr.update(**precisions(row, precision)),
            self.chosen: row.repo_id,
            **self.offer(attentions),
        }

    def offer(self, attentions: Sequence[Attention]) -> Updates:
        """What attention may be chosen, with the first of it."""
        names = [str(name) for name in attentions]
        return {self.attention: gr.update(choices=names, value=names[0])}

    def select_outputs(self) -> list[Block]:
        """What `select` sets."""
        return [self.model, self.precision, self.attention, self.chosen]


def _typing(library: Library) -> str | None:
    """What may be typed in place of a choice."""
    if not library.takes_any:
        return None
    return "Or type a repository id" + (" or a folder." if library.takes_folders else ".")


def listed(library: Library, typed: Sequence[str]) -> list[tuple[str, str]]:
    """The choices of the model list: what this visitor typed, then what everybody sees."""
    own = [(name, name) for name in typed]
    return own + [(present.choice_label(row), row.repo_id) for row in library.choices()]


def precisions(row: Checkpoint, wanted: str = "auto") -> dict[str, Any]:
    """The precision selector's properties for a checkpoint: fixed where there is only one."""
    reason = present_models.only_precision(row)
    names = [str(name) for name in row.precisions]
    offered = names if reason else ["auto", *names]
    return {
        "choices": present.precision_choices(offered),
        "value": wanted if wanted in offered else offered[0],
        "interactive": not reason,
        "info": reason,
    }
