"""The Compare tab's components: what is asked, what stands side by side, what is said of it.

Knows widgets and how they read at rest and while columns write. Does not know what happens on a
click; that is in `compare_runs` and `compare_votes`.
"""

from dataclasses import dataclass
from typing import Literal

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gemma_space.comparison import MAX_COLUMNS, Comparison
from gemma_space.comparison_file import LETTERS
from gemma_space.errors import InvalidRequestError
from gemma_space.ui import present_compare
from gemma_space.ui.compare_setup import CompareSetup
from gemma_space.ui.controls import SamplingControls
from gemma_space.ui.events import Gathered, Updates, Values
from gemma_space.ui.scripted import heard
from gemma_space.use_cases import UseCases

INTRO = (
    "<h2>Side by side</h2><p>One prompt on several models, precisions or adapters, with the same "
    "seed and settings. Where a reply parts from column A it is marked.</p>"
)
CHAT, RAW = "Chat message", "Raw prompt"
PLACEHOLDERS = {CHAT: "Ask all of them the same", RAW: "Once upon a time"}


@dataclass(frozen=True)
class CompareInput:
    """What is asked of all columns."""

    kind: gr.Radio
    text: gr.Textbox
    system: gr.Textbox
    switches: gr.Row
    add_bos: gr.Checkbox
    parse_special: gr.Checkbox
    sampling: SamplingControls
    blind: gr.Checkbox

    @classmethod
    def build(cls, playground: UseCases) -> "CompareInput":
        """Lay it out."""
        kind = gr.Radio([CHAT, RAW], value=CHAT, show_label=False, label="What is sent")
        text = gr.Textbox(
            label="Message", lines=3, max_lines=16, elem_id="compare-text",
            placeholder=PLACEHOLDERS[CHAT],
        )  # fmt: skip
        with gr.Row(visible=False, elem_classes="switches") as switches:
            add_bos = gr.Checkbox(
                value=True, label="Add BOS", info="Unless the prompt already begins with it."
            )
            parse_special = gr.Checkbox(
                value=True, label="Read control tokens",
                info="<start_of_turn> and the like become one token; off, they stay text.",
            )  # fmt: skip
        blind = gr.Checkbox(
            label="Blind",
            info="Columns are shuffled, and names and figures hidden, until you have voted.",
        )  # fmt: skip
        with gr.Accordion("Settings of all columns", open=False, elem_id="compare-settings"):
            system = gr.Textbox(
                label="System prompt", lines=2, max_lines=8,
                placeholder="How the models should behave in this conversation",
            )  # fmt: skip
            model = playground.default_model
            sampling = SamplingControls.build(
                playground.default_params(model), playground.max_new_tokens(model)
            )
        return cls(kind, text, system, switches, add_bos, parse_special, sampling, blind)

    def inputs(self) -> set[Component]:
        """What a comparison is made of."""
        return {self.kind, self.text, self.system, self.add_bos, self.parse_special, self.blind,
                *self.sampling.inputs()}  # fmt: skip

    def on_kind(self, values: Values) -> Updates:
        """A message and a raw prompt take different company."""
        chat = values[self.kind] == CHAT
        return {
            self.text: gr.update(label="Message" if chat else "Prompt",
                                 placeholder=PLACEHOLDERS[values[self.kind]]),
            self.switches: gr.update(visible=not chat),
            self.system: gr.update(visible=chat),
        }  # fmt: skip


@dataclass(frozen=True)
class CompareTab:
    """The tab's components.

    Attributes:
        gathered: what is asked, of whom and how.
        places: where columns are shown, one after another.
        saved: unseen; a file that the browser is to save.
    """

    setup: CompareSetup
    input: CompareInput
    gathered: Gathered
    compare: gr.Button
    stop: gr.Button
    notice: gr.HTML
    places: tuple[gr.HTML, ...]
    verdicts: gr.Row
    better: tuple[gr.Button, ...]
    tie: gr.Button
    all_bad: gr.Button
    reveal: gr.Button
    going_on: gr.Row
    follow_up: gr.Textbox
    files: gr.Row
    save_json: gr.Button
    save_markdown: gr.Button
    saved: gr.HTML

    @classmethod
    def build(cls, playground: UseCases) -> "CompareTab":
        """Lay the tab out."""
        gr.HTML(INTRO, elem_classes="tab-intro")
        setup = CompareSetup.build(playground)
        asked = CompareInput.build(playground)
        gathered = Gathered({*setup.inputs(), *asked.inputs()})
        with gr.Row(elem_classes="run-buttons"):
            compare = gr.Button("Compare", variant="primary", min_width=120, elem_id="compare-run")
            stop = gr.Button("Stop", variant="stop", min_width=100, elem_id="compare-stop",
                             interactive=False)  # fmt: skip
        notice = gr.HTML("", elem_id="compare-notice")
        with gr.Row(elem_id="compare-places", equal_height=True):
            places = tuple(
                gr.HTML("", visible=False, apply_default_css=False, min_width=200,
                        elem_classes="compare-place",
                        js_on_load="GemmaSpace.compare.mount(element);")
                for _ in range(MAX_COLUMNS)
            )  # fmt: skip
        with gr.Row(elem_id="compare-verdicts", visible=False) as verdicts:
            better = tuple(
                gr.Button(f"{letter} is better", size="sm", min_width=90, visible=False)
                for letter in LETTERS
            )
            tie = gr.Button("Tie", size="sm", min_width=60)
            all_bad = gr.Button("All bad", size="sm", min_width=70)
            reveal = gr.Button("Show which is which", size="sm", min_width=150)
        with gr.Row(visible=False) as going_on:
            follow_up = gr.Textbox(
                show_label=False, label="Follow up", placeholder="Go on in all columns",
                lines=1, max_lines=8, submit_btn=True, elem_id="compare-follow-up",
            )  # fmt: skip
        with gr.Row(elem_classes="compare-tools", visible=False) as files:
            save_json = gr.Button("Save as JSON", size="sm", min_width=110)
            save_markdown = gr.Button("Save as Markdown", size="sm", min_width=140)
        saved = heard("GemmaSpace.compare.save(props.value);")
        return cls(setup, asked, gathered, compare, stop, notice, places, verdicts, better, tie,
                   all_bad, reveal, going_on, follow_up, files, save_json, save_markdown,
                   saved)  # fmt: skip

    def read(self, values: Values) -> Comparison:
        """What Compare asks for, as it was gathered.

        Raises:
            InvalidRequestError: there is nothing to ask.
            InvalidControlError: the shared seed is no whole number.
        """
        values = self.gathered.read(values)
        text = values[self.input.text] or ""
        kind: Literal["chat", "raw"] = "chat" if values[self.input.kind] == CHAT else "raw"
        self.require_text(text if kind == "raw" else text.strip())
        shared = self.input.sampling.read(values)
        made = Comparison.begin(
            self.setup.read(values, shared), kind, seed=shared.seed,
            blind=bool(values[self.input.blind]),
            system_prompt=(values[self.input.system] or "") if kind == "chat" else "",
            add_bos=values[self.input.add_bos], parse_special=values[self.input.parse_special],
        )  # fmt: skip
        return made.asking(text)

    def require_text(self, text: str) -> None:
        """Raises: InvalidRequestError, where there is nothing to ask."""
        if not text:
            raise InvalidRequestError("There is nothing to compare yet.", "Write something first.")

    def running(self, comparison: Comparison) -> Updates:
        """With columns on their way."""
        return {
            self.compare: gr.update(interactive=False), self.stop: gr.update(interactive=True),
            self.notice: "", self.verdicts: gr.update(visible=False),
            self.going_on: gr.update(visible=False), self.files: gr.update(visible=False),
            **self.laid_out(comparison),
        }  # fmt: skip

    def laid_out(self, comparison: Comparison) -> Updates:
        """As many places as there are columns, each with what it shows."""
        shown = present_compare.columns(comparison)
        return {
            place: gr.update(value=shown[at] if at < len(shown) else "", visible=at < len(shown))
            for at, place in enumerate(self.places)
        }

    def idle(self, comparison: Comparison | None) -> Updates:
        """With nothing on its way: what can be done with what stands there."""
        updates: Updates = {
            self.compare: gr.update(interactive=True),
            self.stop: gr.update(interactive=False),
        }
        if comparison is None:
            return updates
        votes = not comparison.voted and len(comparison.answered) > 1
        buttons: Updates = {
            button: gr.update(visible=votes and at in comparison.answered)
            for at, button in enumerate(self.better)
        }
        return {
            **updates, **buttons, **self.laid_out(comparison),
            self.tie: gr.update(visible=votes), self.all_bad: gr.update(visible=votes),
            self.reveal: gr.update(visible=comparison.hidden),
            self.verdicts: gr.update(visible=votes or comparison.hidden),
            self.going_on: gr.update(visible=comparison.may_go_on),
            self.files: gr.update(visible=not comparison.hidden),
        }  # fmt: skip

    def shown_parts(self) -> list[Block]:
        """What `running` and `idle` set."""
        return [self.compare, self.stop, self.notice, *self.places, self.verdicts, *self.better,
                self.tie, self.all_bad, self.reveal, self.going_on, self.files]  # fmt: skip
