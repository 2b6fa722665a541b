"""The Compare tab: one prompt, side by side.

Puts columns, input, runs and votes together.
"""

from typing import Any

import gradio as gr

from gemma_space.ui.compare_runs import CompareRuns
from gemma_space.ui.compare_votes import CompareVotes
from gemma_space.ui.compare_widgets import CompareTab
from gemma_space.ui.events import listen
from gemma_space.ui.workbench import Workbench
from gemma_space.use_cases import UseCases


def build(playground: UseCases, bench: Workbench, opened: gr.Tab) -> list[Any]:
    """Lay the tab out inside the block at hand, and wire it to the playground.

    Args:
        bench: where the page's work is kept.
        opened: the tab, which says what fits once it is looked at.

    Returns:
        the events that use models.
    """
    with gr.Column(elem_id="compare-tab"):
        tab = CompareTab.build(playground)
        votes = CompareVotes.build()
    runs = CompareRuns(tab, playground, bench)
    tab.setup.wire(opened)
    tab.input.sampling.wire()
    asked = tab.input
    listen([asked.kind.change], asked.on_kind, {asked.kind},
           [asked.text, asked.switches, asked.system])  # fmt: skip
    votes.wire(runs)
    listen([tab.reveal.click], runs.on_reveal, {bench.key}, tab.shown_parts(), on_error=runs.failed)
    files = {bench.key}
    listen([tab.save_json.click], runs.on_save_json, files, [tab.saved, tab.notice],
           on_error=runs.failed)  # fmt: skip
    listen([tab.save_markdown.click], runs.on_save_markdown, files, [tab.saved, tab.notice],
           on_error=runs.failed)  # fmt: skip
    return _wire_runs(tab, runs, bench)


def _wire_runs(tab: CompareTab, runs: CompareRuns, bench: Workbench) -> list[Any]:
    shown, key = tab.shown_parts(), {bench.key}
    gathering = tab.gathered.listen([tab.compare.click, tab.input.text.submit])
    begun = (
        listen([gathering.then], runs.on_compare, {*key, tab.gathered.values},
               [*shown, *tab.input.sampling.used_outputs()], asks=True),
        listen([tab.follow_up.submit], runs.on_follow_up, {*key, tab.follow_up},
               [*shown, tab.follow_up], asks=True),
    )  # fmt: skip
    events = [
        listen([event.success], runs.on_asked, key, [*tab.places, tab.notice],
               on_error=runs.failed, generates=True)
        for event in begun
    ]  # fmt: skip
    for event in events:  # `.then` follows success, error and Stop alike
        listen([event.then], runs.on_over, key, shown)
    listen([tab.stop.click], None, cancels=events)
    return events
