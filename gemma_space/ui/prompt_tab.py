"""The Prompt tab: a raw text, continued exactly as it was typed.

Knows the way from the typed prompt to the completion and its footer. Does not know templates:
nothing is added to the prompt but the BOS that the switch asks for.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from gemma_space.pacing import paced
from gemma_space.playground import Playground
from gemma_space.reports import LoadProgress
from gemma_space.types import Attention, CompletionRequest, Precision
from gemma_space.ui import present
from gemma_space.ui.controls import SamplingControls
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_panel import ModelPanel

STATE_SECONDS = 0.1
INTRO = (
    "<h2>Continue a text</h2><p>The model gets exactly what you type: no chat format, nothing in "
    "front but the BOS token if you want it.</p>"
)


@dataclass(frozen=True)
class PromptWidgets:
    """The tab's components."""

    prompt: gr.Textbox
    count: gr.HTML
    add_bos: gr.Checkbox
    parse_special: gr.Checkbox
    run: gr.Button
    stop: gr.Button
    go_on: gr.Button
    completion: gr.Textbox
    footer: gr.HTML
    sampling: SamplingControls
    reset: gr.Button

    @classmethod
    def build(cls, playground: Playground) -> "PromptWidgets":
        """Lay the tab out."""
        gr.HTML(INTRO, elem_classes="tab-intro")
        prompt = gr.Textbox(
            label="Prompt", lines=8, max_lines=24, elem_id="prompt", elem_classes="mono",
            placeholder="Once upon a time", autofocus=False,
        )  # fmt: skip
        count = gr.HTML("", elem_id="token-count")
        with gr.Row(elem_classes="switches"):
            add_bos = gr.Checkbox(
                value=True, label="Add BOS", info="Unless the prompt already begins with it."
            )
            parse_special = gr.Checkbox(
                value=True, label="Read control tokens",
                info="<start_of_turn> and the like become one token; off, they stay text.",
            )  # fmt: skip
        with gr.Row(elem_classes="run-buttons"):
            run = gr.Button("Run", variant="primary", min_width=100, size="md", elem_id="run")
            stop = gr.Button(
                "Stop", variant="stop", min_width=100, size="md", elem_id="stop", interactive=False
            )
            go_on = gr.Button(
                "Continue from output", min_width=160, size="md", elem_id="go-on", interactive=False
            )
        completion = gr.Textbox(
            label="Completion", lines=6, max_lines=24, elem_id="completion", elem_classes="mono",
            interactive=False, buttons=["copy"],
        )  # fmt: skip
        footer = gr.HTML("", elem_id="completion-footer")
        with gr.Accordion("Generation settings", open=False, elem_id="prompt-settings"):
            model = playground.default_model
            sampling = SamplingControls.build(
                playground.default_params(model), playground.max_new_tokens(model)
            )
            reset = gr.Button("Back to the model's defaults", size="sm", min_width=120)
        return cls(prompt, count, add_bos, parse_special, run, stop, go_on, completion, footer,
                   sampling, reset)  # fmt: skip

    def read(self, values: Values, panel: ModelPanel, prompt: str) -> CompletionRequest:
        """What Run asks for, with `prompt` as the text."""
        return CompletionRequest(
            prompt=prompt,
            model=values[panel.model],
            precision=Precision(values[panel.precision]),
            attention=Attention(values[panel.attention]),
            controls=self.sampling.read(values),
            add_bos=values[self.add_bos],
            parse_special=values[self.parse_special],
        )

    def inputs(self, panel: ModelPanel) -> set[Component]:
        """What `read` needs, and the completion to go on from."""
        return {
            self.prompt, self.add_bos, self.parse_special, self.completion,
            *panel.inputs(), *self.sampling.inputs(),
        }  # fmt: skip

    def running(self) -> Updates:
        return {
            self.completion: "", self.footer: "", self.run: gr.update(interactive=False),
            self.stop: gr.update(interactive=True), self.go_on: gr.update(interactive=False),
        }  # fmt: skip

    def idle(self, values: Values) -> Updates:
        return {
            self.run: gr.update(interactive=True), self.stop: gr.update(interactive=False),
            self.go_on: gr.update(interactive=bool(values[self.completion])),
            self.footer: present.settled_footer(values[self.footer]),
        }  # fmt: skip


def build(playground: Playground, panel: ModelPanel) -> list[Any]:
    """Lay out prompt, controls and completion, and wire them to the playground.

    Returns:
        the events that use models.
    """
    with gr.Column(elem_id="prompt-tab"):
        tab = PromptWidgets.build(playground)

    async def complete(values: Values, prompt: str) -> AsyncGenerator[Updates]:
        request, token = tab.read(values, panel, prompt), values.token
        row = await asyncio.to_thread(playground.library.find, request.model, token)
        completion = paced(lambda: playground.complete(request, token), STATE_SECONDS)
        async with aclosing(completion) as steps:
            async for step in steps:
                if isinstance(step, LoadProgress):
                    yield {tab.footer: present.load_bar(step, row.title)}
                else:
                    footer = present.completion_footer(step)
                    yield {tab.completion: step.text, tab.footer: footer}

    async def on_run(values: Values) -> AsyncGenerator[Updates]:
        yield tab.running()
        async with aclosing(complete(values, values[tab.prompt] or "")) as updates:
            async for update in updates:
                yield update

    async def on_go_on(values: Values) -> AsyncGenerator[Updates]:
        longer = (values[tab.prompt] or "") + (values[tab.completion] or "")
        yield {**tab.running(), tab.prompt: longer}
        async with aclosing(complete(values, longer)) as updates:
            async for update in updates:
                yield update

    def failed(text: str, _values: Values) -> Updates:
        return {tab.footer: present.problem(text)}

    def on_over(values: Values) -> Updates:
        return tab.idle(values)

    def on_count(values: Values) -> Updates:
        if not values[tab.prompt]:  # nobody is waiting for a tokenizer to be fetched
            return {tab.count: ""}
        model, token = values[panel.chosen], values.token
        text, parse_special = values[tab.prompt], values[tab.parse_special]
        counted = len(playground.tokenize(text, model, parse_special, token).tokens)
        limit = playground.library.find(model, token).context_length
        return {tab.count: present.token_meter(
            counted + values[tab.add_bos], limit, int(values[length])
        )}  # fmt: skip

    def uncounted(text: str, _values: Values) -> Updates:
        return {tab.count: present.problem(text)}

    def on_model(values: Values) -> Updates:
        model, token = values[panel.chosen], values.token
        return tab.sampling.show(
            playground.default_params(model, token), playground.max_new_tokens(model, token)
        )

    length = tab.sampling.sliders["max_new_tokens"]
    inputs, shown = tab.inputs(panel), [*tab.running(), tab.prompt]
    runs = [
        listen([tab.run.click], on_run, inputs, shown, on_error=failed, generates=True),
        listen([tab.go_on.click], on_go_on, inputs, shown, on_error=failed, generates=True),
    ]
    for run in runs:  # `.then` follows success, error and Stop alike
        listen([run.then], on_over, {tab.completion, tab.footer},
               [tab.run, tab.stop, tab.go_on, tab.footer])  # fmt: skip
    listen([tab.stop.click], None, cancels=runs)
    # While one count is under way only the newest text waits for the next.
    listen(
        [tab.prompt.change, tab.add_bos.change, tab.parse_special.change, panel.chosen.change,
         length.release],
        on_count, {tab.prompt, tab.add_bos, tab.parse_special, panel.chosen, length}, [tab.count],
        on_error=uncounted, trigger_mode="always_last",
    )  # fmt: skip
    listen([panel.chosen.change, tab.reset.click], on_model, {panel.chosen}, tab.sampling.outputs())
    return runs
