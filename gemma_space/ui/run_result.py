"""What came of a run: its text, its tokens coloured and listed, and the runs before it.

Knows widgets and how a run is shown in them. Does not know how runs come about.
"""

import time
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from gemma_space.runs import Run, Runs
from gemma_space.ui import present_runs, token_view
from gemma_space.ui.events import Updates


@dataclass(frozen=True)
class RunResult:
    """What came of a run or of a score: text, tokens, and the runs before it.

    Attributes:
        stamp: unseen; it changes whenever another run is shown.
    """

    tabs: gr.Tabs
    completion: gr.Textbox
    footer: gr.HTML
    view: gr.HTML
    likeliest: gr.HTML
    tokens: gr.HTML
    others: gr.Radio
    stamp: gr.Textbox

    @classmethod
    def build(cls) -> "RunResult":
        """Lay it out."""
        with gr.Tabs(selected="text", elem_id="result-tabs") as tabs:
            with gr.Tab("Text", id="text"):
                completion = gr.Textbox(
                    label="Completion", lines=6, max_lines=24, elem_id="completion",
                    elem_classes="mono", interactive=False, buttons=["copy"],
                )  # fmt: skip
            with gr.Tab("Probabilities", id="probabilities"):
                view = gr.HTML(
                    present_runs.NO_TOKENS, apply_default_css=False, elem_id="probabilities",
                    js_on_load=token_view.VIEW_JS,
                )  # fmt: skip
                likeliest = gr.HTML(
                    "", apply_default_css=False, elem_id="likeliest",
                    js_on_load=token_view.ALTERNATIVES_JS,
                )  # fmt: skip
            with gr.Tab("Tokens", id="tokens"):
                tokens = gr.HTML(present_runs.NO_TOKENS, apply_default_css=False)
        footer = gr.HTML("", elem_id="completion-footer")
        listed = gr.Radio(
            [], label="Runs of this visit", visible=False, elem_id="runs", type="index",
            info="Each is kept while the page is open; choose one to return to it.",
        )  # fmt: skip
        stamp = gr.Textbox("", visible="hidden")
        return cls(tabs, completion, footer, view, likeliest, tokens, listed, stamp)

    def shown(self, runs: Runs) -> Updates:
        """A run as it came out, among the others; nothing where there is none."""
        run = runs.shown
        labels = present_runs.labels(runs)
        updates: Updates = {
            self.others: gr.update(
                choices=labels, value=None if runs.at is None else labels[runs.at],
                visible=len(labels) > 1, interactive=True,
            ),
            self.likeliest: "", self.stamp: str(time.time_ns()),
        }  # fmt: skip
        return {**updates, **(self._of(run) if run else self._nothing())}

    def scored(self, runs: Runs) -> Updates:
        """A score takes the place of the run that was shown: any run can be returned to."""
        return {self.others: gr.update(value=None, visible=bool(runs.kept))}

    def _of(self, run: Run) -> Updates:
        return {
            self.completion: run.generation.text,
            self.footer: present_runs.completion_footer(run.generation, run.failed),
            self.view: token_view.probability_view(run.tokens, own=present_runs.own_choices(run)),
            self.tokens: token_view.token_list(run.tokens, title="Tokens of the completion"),
        }

    def _nothing(self) -> Updates:
        return {self.completion: "", self.footer: "", self.view: present_runs.NO_TOKENS,
                self.tokens: present_runs.NO_TOKENS}  # fmt: skip

    def outputs(self) -> list[Block]:
        """What `shown` sets."""
        return [self.others, self.likeliest, self.stamp, self.completion, self.footer,
                self.view, self.tokens]  # fmt: skip
