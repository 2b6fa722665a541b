"""The Chat tab's components: how they are laid out, and how they read at rest and when asked.

Knows widgets and values. Does not know what happens on a click; that is in `replies`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from gemma_space.catalog import Checkpoint
from gemma_space.types import Attention, ChatRequest, Precision
from gemma_space.ui import present, transcript
from gemma_space.ui.controls import SamplingControls
from gemma_space.ui.events import Updates, Values
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.transcript import GIVEN, Turn
from gemma_space.ui.xray import XrayPanel
from gemma_space.use_cases import UseCases

LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
    {"left": "$", "right": "$", "display": False},
]
WELCOME = "## What would you like to try?\n\nType below, or begin with one of these."
BASE_WARNING = (
    "<p><b>This is a base model.</b> It continues text and was not trained to chat. Choose an "
    "instruct model, or give it a text to continue.</p>"
)


def may_think(row: Checkpoint) -> bool:
    """Whether a checkpoint is of those whose template can ask for thoughts, by its family."""
    return row.family == "gemma4" and row.variant != "base"


@dataclass(frozen=True)
class ChatTab:
    """The tab's components."""

    base_warning: gr.Row
    to_prompt: gr.Button
    chatbot: gr.Chatbot
    notice: gr.HTML
    again: gr.Button
    go_on: gr.Button
    given: gr.Button
    xray: XrayPanel
    box: gr.Textbox
    meter: gr.HTML
    system: gr.Textbox
    thinking: gr.Checkbox
    sampling: SamplingControls
    reset: gr.Button

    @classmethod
    def build(cls, playground: UseCases, examples: Sequence[str]) -> "ChatTab":
        """Lay the tab out: the transcript, and below it what stays in sight."""
        model = playground.default_model
        row = playground.library.find(model)
        with gr.Row(visible=row.variant == "base", elem_classes="base-warning") as base_warning:
            gr.HTML(BASE_WARNING)
            to_prompt = gr.Button("Open the Prompt tab", size="sm", min_width=120)
        chatbot = gr.Chatbot(
            show_label=False, label="Conversation", elem_id="transcript", height=None,
            editable="all", buttons=["copy"], latex_delimiters=LATEX, placeholder=WELCOME,
            examples=[{"text": text} for text in examples], allow_file_downloads=False,
        )  # fmt: skip
        with gr.Column(elem_id="dock"):
            notice = gr.HTML("", elem_id="notice")
            with gr.Row(elem_id="next-steps"):
                again = gr.Button("Try again", size="sm", min_width=80, visible=False)
                go_on = gr.Button("Continue", size="sm", min_width=80, visible=False)
                given = gr.Button(GIVEN, size="sm", min_width=80, visible=False, elem_id="given")
            xray = XrayPanel.build()
            box = gr.Textbox(
                show_label=False, label="Message", placeholder="Message Gemma", lines=1,
                max_lines=8, submit_btn=True, stop_btn=False, elem_id="message", autofocus=True,
            )  # fmt: skip
            meter = gr.HTML("", elem_id="context-meter")
            with gr.Accordion(
                "System prompt and generation settings", open=False, elem_id="settings"
            ):
                system = gr.Textbox(
                    label="System prompt", lines=2, max_lines=8, elem_id="system-prompt",
                    placeholder="How the model should behave in this conversation",
                )  # fmt: skip
                thinking = gr.Checkbox(
                    label="Thinking", elem_id="thinking", visible=may_think(row),
                    info="The model thinks before it answers. Thoughts count as new tokens.",
                )  # fmt: skip
                sampling = SamplingControls.build(
                    playground.default_params(model), playground.max_new_tokens(model)
                )
                reset = gr.Button("Back to the model's defaults", size="sm", min_width=120)
        return cls(base_warning, to_prompt, chatbot, notice, again, go_on, given, xray, box, meter,
                   system, thinking, sampling, reset)  # fmt: skip

    def read(self, values: Values, panel: ModelPanel) -> ChatRequest:
        """What is to be answered, with the model and the controls as they stand."""
        turns, prefix = transcript.split_pending(transcript.read(values[self.chatbot]))
        return ChatRequest(
            messages=transcript.messages(turns),
            model=values[panel.model],
            precision=Precision(values[panel.precision]),
            attention=Attention(values[panel.attention]),
            system_prompt=values[self.system] or "",
            controls=self.sampling.read(values),
            reply_prefix=prefix,
            thinking=bool(values[self.thinking]),
        )

    def inputs(self, panel: ModelPanel) -> set[Component]:
        """What `read` needs."""
        return {self.chatbot, self.system, self.thinking, *panel.inputs(), *self.sampling.inputs()}

    def asked(self, turns: Sequence[Turn]) -> Updates:
        """The conversation with a reply on its way, which is the last of these turns."""
        return {
            self.chatbot: transcript.show(turns), self.notice: "",
            self.again: gr.update(visible=False), self.go_on: gr.update(visible=False),
            self.given: gr.update(visible=False),
            self.box: gr.update(submit_btn=False, stop_btn=True),
            **self.xray.closed(),
        }  # fmt: skip

    def at_rest(self, turns: Sequence[Turn]) -> Updates:
        """The conversation with no reply on its way, and the ways to go on from there."""
        last = turns[-1] if turns else None
        replied = last is not None and last.role == "assistant"
        said = last is not None and replied and bool(last.text)
        cut = last is not None and said and present.was_cut(last.footer)
        asking = last is not None and not said
        return {
            self.chatbot: transcript.show(turns), self.notice: "",
            self.again: gr.update(visible=asking), self.go_on: gr.update(visible=cut),
            self.given: gr.update(visible=replied),
            self.box: gr.update(submit_btn=True, stop_btn=False),
        }  # fmt: skip
