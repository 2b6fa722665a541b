"""The sidebar's model part: which checkpoint, in which precision, and what is in memory.

Knows how a model is chosen, loaded and unloaded from the page. Does not know what it is used for.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import gradio as gr

from gemma_space.pacing import paced
from gemma_space.playground import Playground
from gemma_space.ui import present
from gemma_space.ui.events import Updates, Values, listen

PROGRESS_SECONDS = 0.2


@dataclass(frozen=True)
class ModelPanel:
    """What other parts of the page read from the sidebar, and the status they may refresh."""

    model: gr.Dropdown
    precision: gr.Dropdown
    status: gr.HTML
    show_status: Callable[[], Updates]


def build(playground: Playground) -> ModelPanel:
    """Lay out the selector, its buttons and the status, and wire them."""
    rows = {row.repo_id: row for row in playground.library.choices()}
    first = rows[playground.default_model]
    gr.HTML("<h2>Model</h2>", elem_classes="section-title")
    model = gr.Dropdown(
        [(present.choice_label(row), row.repo_id) for row in rows.values()],
        value=first.repo_id, label="Checkpoint", filterable=True, elem_id="model",
    )  # fmt: skip
    note = gr.HTML(present.model_note(first), elem_classes="model-note")
    precision = gr.Dropdown(
        present.precision_choices(["auto", *first.precisions]),
        value="auto", label="Precision", filterable=False, elem_id="precision",
    )  # fmt: skip
    with gr.Row(elem_classes="load-buttons"):
        load = gr.Button("Load", variant="secondary", size="sm", min_width=80)
        unload = gr.Button("Unload", variant="secondary", size="sm", min_width=80)
        cancel = gr.Button("Cancel", variant="stop", size="sm", min_width=80, visible=False)
    progress = gr.HTML("", elem_id="load-progress")
    gr.HTML("<h2>In memory</h2>", elem_classes="section-title")
    status = gr.HTML('<div class="status-card"><p>Looking at this machine…</p></div>')
    titles = {row.repo_id: row.title for row in rows.values()}

    def show_status() -> Updates:
        return {status: present.status_lines(playground.library.status(), titles)}

    def on_choose(values: Values) -> Updates:
        row = rows[values[model]]
        choices = present.precision_choices(["auto", *row.precisions])
        return {note: present.model_note(row), precision: gr.update(choices=choices, value="auto")}

    async def on_load(values: Values) -> AsyncGenerator[Updates]:
        name, title = values[model], rows[values[model]].title
        yield {load: gr.update(visible=False), cancel: gr.update(visible=True)}
        load_steps = paced(
            lambda: playground.library.load(name, values[precision]), PROGRESS_SECONDS
        )
        async with aclosing(load_steps) as steps:
            async for step in steps:
                yield {progress: present.load_bar(step, title)}
        yield {progress: ""}

    def on_load_over() -> Updates:
        return {load: gr.update(visible=True), cancel: gr.update(visible=False), **show_status()}

    def on_unload(values: Values) -> Updates:
        after = playground.library.unload(values[model], values[precision])
        return {progress: "", status: present.status_lines(after, titles)}

    def failed(text: str, _values: Values) -> Updates:
        return {progress: present.problem(text)}

    listen([model.change], on_choose, {model}, [note, precision])
    loading = listen(
        [load.click], on_load, {model, precision}, [progress, load, cancel], on_error=failed
    )
    # Runs after success, error and Cancel alike, so the buttons always come back.
    listen([loading.then], on_load_over, outputs=[load, cancel, status])
    cancelled = listen([cancel.click], None, cancels=[loading])
    listen([cancelled.then], lambda: {progress: ""}, outputs=[progress])
    listen([unload.click], on_unload, {model, precision}, [progress, status])
    listen([], show_status, outputs=[status])
    return ModelPanel(model, precision, status, show_status)
