"""The Prompt tab's components: how they are laid out, and what they say.

Knows widgets and values. Does not know what happens on a click; that is in `prompt_runs` and
`run_files`.
"""

import json
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gemma_space.runs import Inspection
from gemma_space.types import (
    Attention,
    CompletionRequest,
    Controls,
    Precision,
    SamplingParams,
)
from gemma_space.ui import present_runs, token_view
from gemma_space.ui.controls import SamplingControls
from gemma_space.ui.events import Updates, Values
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.run_result import RunResult
from gemma_space.ui.workbench import Workbench
from gemma_space.use_cases import UseCases

INTRO = (
    "<h2>Continue a text</h2><p>The model gets exactly what you type: no chat format, nothing in "
    "front but the BOS token if you want it.</p>"
)
LIKELIEST = 10  # alternatives that every run and every score asks for


@dataclass(frozen=True)
class PromptInput:
    """Where the prompt is written.

    Attributes:
        exact: unseen; a prompt that is to be run by its ids, as JSON, while the text is its.
        fim: shown for models that can fill a gap in code.
    """

    prompt: gr.Textbox
    exact: gr.Textbox
    count: gr.HTML
    tokens: gr.HTML
    add_bos: gr.Checkbox
    parse_special: gr.Checkbox
    insert_turn: gr.Button
    fim: gr.Accordion
    fim_after: gr.Textbox
    insert_fim: gr.Button

    @classmethod
    def build(cls) -> "PromptInput":
        """Lay it out."""
        prompt = gr.Textbox(
            label="Prompt", lines=8, max_lines=24, elem_id="prompt", elem_classes="mono",
            placeholder="Once upon a time", autofocus=False,
        )  # fmt: skip
        exact = gr.Textbox("", visible="hidden")
        count = gr.HTML("", elem_id="token-count")
        with gr.Row(elem_classes="switches"):
            add_bos = gr.Checkbox(
                value=True, label="Add BOS", info="Unless the prompt already begins with it."
            )
            parse_special = gr.Checkbox(
                value=True, label="Read control tokens",
                info="<start_of_turn> and the like become one token; off, they stay text.",
            )  # fmt: skip
            insert_turn = gr.Button("Insert turn", size="sm", min_width=120, elem_id="insert-turn")
        with gr.Accordion(
            "Fill in the middle", open=False, visible=False, elem_id="fill-middle"
        ) as fim:
            fim_after = gr.Textbox(
                label="What comes after the gap", lines=4, elem_classes="mono",
                info="The prompt is what comes before it.",
            )  # fmt: skip
            insert_fim = gr.Button("Write it as a prompt", size="sm", min_width=120)
        with gr.Accordion("Tokens of the prompt", open=False, elem_id="prompt-tokens"):
            tokens = gr.HTML("", apply_default_css=False)
        return cls(prompt, exact, count, tokens, add_bos, parse_special, insert_turn, fim,
                   fim_after, insert_fim)  # fmt: skip

    def components(self) -> list[Block]:
        """What `show` sets: the way in for prompts from elsewhere on the page.

        In this order: whoever follows the text must find the ids that belong to it.
        """
        return [self.exact, self.prompt]

    def show(self, text: str, ids: tuple[int, ...] = (), model: str = "") -> Updates:
        """Have these ids of a model run next; `text` is how they read. Without ids the text."""
        exact = json.dumps({"text": text, "ids": ids, "model": model}) if ids else ""
        return {self.prompt: text, self.exact: exact}

    def exact_ids(self, values: Values, model: str) -> tuple[int, ...]:
        """The ids to run in place of the text; none once text or model were changed."""
        kept = json.loads(values[self.exact] or "{}")
        now = (values[self.prompt] or "", model)
        same = bool(kept) and (kept["text"], kept["model"]) == now
        return tuple(kept["ids"]) if same else ()

    def inputs(self) -> set[Component]:
        """What a prompt is made of."""
        return {self.prompt, self.exact, self.add_bos, self.parse_special}

    def counted(self, found: Inspection, limit: int, reserved: int) -> Updates:
        """What the model would be given, and what may be wrong with it."""
        meter = present_runs.token_meter(len(found.tokens), limit, reserved)
        return {
            self.count: meter + present_runs.advice(found),
            self.tokens: token_view.token_list(found.tokens, title="Tokens of the prompt"),
            self.fim: gr.update(visible=found.fills_gaps),
        }


@dataclass(frozen=True)
class PromptWidgets:
    """The tab's components.

    Attributes:
        refill: unseen; controls that came with a model, from a capsule or a link, as JSON.
        replay: runs an opened capsule again; rendered where capsules are.
        bench: the runs, and what else a page works on.
    """

    input: PromptInput
    run: gr.Button
    stop: gr.Button
    score: gr.Button
    go_on: gr.Button
    undo: gr.Button
    result: RunResult
    sampling: SamplingControls
    reset: gr.Button
    refill: gr.Textbox
    replay: gr.Button
    bench: Workbench

    @classmethod
    def build(cls, playground: UseCases) -> "PromptWidgets":
        """Lay the tab out."""
        gr.HTML(INTRO, elem_classes="tab-intro")
        prompt = PromptInput.build()
        with gr.Row(elem_classes="run-buttons"):
            run = gr.Button("Run", variant="primary", min_width=100, size="md", elem_id="run")
            stop = gr.Button(
                "Stop", variant="stop", min_width=100, size="md", elem_id="stop", interactive=False
            )
            go_on = gr.Button("Continue from output", min_width=160, size="md", interactive=False)
            undo = gr.Button(
                "Undo the run", min_width=110, size="md", elem_id="undo-run", interactive=False
            )
            score = gr.Button("Score the prompt", min_width=130, size="md", elem_id="score")
        result = RunResult.build()
        with gr.Accordion("Generation settings", open=False, elem_id="prompt-settings"):
            model = playground.default_model
            sampling = SamplingControls.build(
                playground.default_params(model), playground.max_new_tokens(model)
            )
            reset = gr.Button("Back to the model's defaults", size="sm", min_width=120)
        refill = gr.Textbox("", visible="hidden")
        replay = gr.Button(
            "Replay", variant="primary", size="sm", min_width=100, visible=False,
            elem_id="replay", render=False,
        )  # fmt: skip
        return cls(prompt, run, stop, score, go_on, undo, result, sampling, reset, refill,
                   replay, Workbench())  # fmt: skip

    def read(self, values: Values, panel: ModelPanel) -> CompletionRequest:
        """What Run asks for."""
        return CompletionRequest(
            prompt=values[self.input.prompt] or "",
            model=values[panel.model],
            precision=Precision(values[panel.precision]),
            attention=Attention(values[panel.attention]),
            controls=self.sampling.read(values),
            add_bos=values[self.input.add_bos],
            parse_special=values[self.input.parse_special],
            logprobs=LIKELIEST,
            token_ids=self.input.exact_ids(values, values[panel.model]),
        )

    def inputs(self, panel: ModelPanel) -> set[Component]:
        """What `read` needs, and what is shown."""
        return {
            *self.input.inputs(), self.result.completion, self.result.footer, self.bench.key,
            *panel.inputs(), *self.sampling.inputs(),
        }  # fmt: skip

    def running(self) -> Updates:
        """While a run or a score is on its way."""
        return {
            self.result.completion: "", self.result.footer: "", self.result.likeliest: "",
            self.result.view: present_runs.NO_TOKENS, self.result.tokens: present_runs.NO_TOKENS,
            self.run: gr.update(interactive=False), self.stop: gr.update(interactive=True),
            self.go_on: gr.update(interactive=False), self.undo: gr.update(interactive=False),
            self.score: gr.update(interactive=False), self.replay: gr.update(interactive=False),
            self.result.others: gr.update(interactive=False),
        }  # fmt: skip

    def idle_parts(self) -> list[Block]:
        """What `idle` sets."""
        return [self.run, self.stop, self.score, self.go_on, self.undo, self.replay,
                self.result.others, self.result.footer]  # fmt: skip

    def idle(self, values: Values) -> Updates:
        """Once nothing is on its way any more."""
        work = self.bench.of(values)
        return {
            self.run: gr.update(interactive=True), self.stop: gr.update(interactive=False),
            self.score: gr.update(interactive=True),
            self.go_on: gr.update(interactive=bool(values[self.result.completion])),
            self.undo: gr.update(interactive=work.runs.shown is not None and not work.scored),
            self.replay: gr.update(interactive=True),
            self.result.others: gr.update(interactive=True),
            self.result.footer: present_runs.settled_footer(values[self.result.footer]),
        }  # fmt: skip

    def keep(self, model: str, controls: Controls) -> Updates:
        """Have these controls stand as soon as that model is the chosen one."""
        kept = {"model": model, "controls": asdict(controls), "stamp": time.time_ns()}
        return {self.refill: json.dumps(kept)}

    def controls(
        self,
        values: Values,
        model: str,
        defaults: SamplingParams,
        most: int,
        without: Collection[str] = (),
    ) -> Updates:
        """The controls for a model: its defaults, or what came with it.

        Args:
            values: of `refill`.
            most: the most new tokens it may write.
            without: controls that cannot be used with it.
        """
        kept = json.loads(values[self.refill] or "{}")
        if kept.get("model") != model:
            return {**self.sampling.show(defaults, most, without=without), self.refill: ""}
        given = Controls(**{**kept["controls"], "stop": tuple(kept["controls"]["stop"])})
        shown = self.sampling.show(defaults, most, given, without)
        return {**shown, self.refill: values[self.refill]}
