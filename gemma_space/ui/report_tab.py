"""The Precision tab: what lower precisions of the chosen model lose, measured here.

Knows its widgets and the order of things on the page. What is measured is in `precision_report`,
how it reads in `present_report`; the browser opens files (`assets/js/report.js`).
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from gemma_space import prompt_set
from gemma_space.catalog import Checkpoint
from gemma_space.library import Library
from gemma_space.pacing import paced
from gemma_space.precision_figures import PrecisionReport
from gemma_space.precision_report import PrecisionReports, ReportRequest
from gemma_space.reports import LoadProgress
from gemma_space.types import Attention, Precision
from gemma_space.ui import present, present_models, present_report
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.scripted import scripted

STATE_SECONDS = 0.2
REPORTS_AT_ONCE = 4  # one is measured, the others are told that they wait
INTRO = (
    "<h2>Precision</h2><p>What do four bits lose? The chosen model reads the same texts in several "
    "precisions, one after another, and each is compared with the reference token by token.</p>"
)
EXPLAINED = (
    '<p class="hint">One text from a blank line to the next. Other texts give other figures: put '
    "in what you work with. They are not kept.</p>"
)
REFERENCES = (Precision.BF16, Precision.FP32, Precision.FP16)  # the first that is offered
COMPARED = (Precision.INT8, Precision.INT4)


@dataclass(frozen=True)
class ReportTab:
    """The tab's components, and what measures."""

    reports: PrecisionReports
    library: Library
    panel: ModelPanel
    reference: gr.Radio
    candidates: gr.CheckboxGroup
    only: gr.HTML
    texts: gr.Textbox
    opener: gr.HTML
    opened: gr.HTML
    reset: gr.Button
    run: gr.Button
    cancel: gr.Button
    progress: gr.HTML
    result: gr.HTML

    @classmethod
    def build(
        cls, reports: PrecisionReports, library: Library, panel: ModelPanel, first: Checkpoint
    ) -> "ReportTab":
        """Lay the tab out for the model that is chosen first."""
        gr.HTML(INTRO, elem_classes="tab-intro")
        with gr.Row(elem_classes="report-choice"):
            reference = gr.Radio(
                label="Reference", min_width=200, elem_id="report-reference", **_references(first)
            )
            candidates = gr.CheckboxGroup(
                label="Compared with it", min_width=200, elem_id="report-candidates",
                **_candidates(first, _reference(first)),
            )  # fmt: skip
        only = gr.HTML(_only(first), elem_classes="hint")
        with gr.Accordion("The texts", open=False, elem_id="report-texts"):
            gr.HTML(EXPLAINED)
            texts = gr.Textbox(
                prompt_set.shipped(), label="Texts", show_label=False, lines=8, max_lines=16,
                elem_classes="mono",
            )  # fmt: skip
            with gr.Row(elem_classes="capsule-buttons"):
                opener = scripted(
                    "GemmaSpace.report.mount(element, trigger);", elem_id="open-texts"
                )
                reset = gr.Button("Back to the first texts", size="sm", min_width=160)
            opened = gr.HTML("", elem_id="opened-texts")
        with gr.Row(elem_classes="run-buttons"):
            run = gr.Button(
                "Measure", variant="primary", min_width=120, size="md", elem_id="measure",
                interactive=len(first.precisions) > 1,
            )  # fmt: skip
            cancel = gr.Button(
                "Cancel", variant="stop", min_width=100, size="md", elem_id="cancel-report",
                interactive=False,
            )  # fmt: skip
        progress = gr.HTML("", elem_id="report-progress")
        result = gr.HTML("", apply_default_css=False)
        return cls(reports, library, panel, reference, candidates, only, texts, opener, opened,
                   reset, run, cancel, progress, result)  # fmt: skip

    def wire(self) -> list[Any]:
        """Wire it.

        Returns:
            the events that use models.
        """
        panel = self.panel
        running = listen(
            [self.run.click], self.on_run,
            {self.reference, self.candidates, self.texts, panel.chosen, panel.attention},
            [*self._buttons(), self.progress, self.result], on_error=self.failed, counts=True,
            at_once=REPORTS_AT_ONCE,
        )  # fmt: skip
        listen([self.cancel.click], None, cancels=[running])
        listen([running.then], self.on_over, {self.progress, self.result, panel.chosen},
               [*self._buttons(), self.progress])  # fmt: skip
        listen([panel.chosen.change], self.on_model, {panel.chosen},
               [self.reference, self.candidates, self.only, self.run])  # fmt: skip
        listen([self.reference.input], self.on_reference,
               {self.reference, self.candidates, panel.chosen}, [self.candidates])  # fmt: skip
        # An event that Gradio puts off loses what came with it.
        listen([self.opener.select], self.on_file, {panel.chosen}, [self.texts, self.opened],
               on_error=self.not_opened, trigger_mode="multiple")  # fmt: skip
        listen([self.reset.click], lambda: {self.texts: prompt_set.shipped(), self.opened: ""},
               outputs=[self.texts, self.opened])  # fmt: skip
        return [running]

    # --- measuring ------------------------------------------------------------------------------

    async def on_run(self, values: Values) -> AsyncGenerator[Updates]:
        """Measure, and show each precision as soon as it is done."""
        yield {self.run: gr.update(interactive=False), self.cancel: gr.update(interactive=True),
               self.progress: present_report.progress(None, "Getting ready…"),
               self.result: ""}  # fmt: skip
        name, token = values[self.panel.chosen], values.token
        row = await asyncio.to_thread(self.library.find, name, token)
        request = self._read(values, row)
        last, shown = None, 0
        source = paced(lambda: self.reports.measure(request, token), STATE_SECONDS)
        async with aclosing(source) as steps:
            async for step in steps:
                if isinstance(step, LoadProgress):
                    words = present.load_words(step, row.title)
                    yield {self.progress: present_report.progress(last, words)}
                    continue
                last, there = step, _there(step)
                updates: Updates = {self.progress: present_report.progress(step)}
                if there > shown:  # anew only then: a fold that was opened stays open
                    shown = there
                    updates[self.result] = present_report.result(step)
                yield updates
        yield {self.progress: ""}

    def _read(self, values: Values, row: Checkpoint) -> ReportRequest:
        return ReportRequest(
            model=row.repo_id,
            texts=prompt_set.split(values[self.texts] or ""),
            reference=Precision(values[self.reference]),
            candidates=tuple(one for one in row.precisions if str(one) in values[self.candidates]),
            attention=Attention(values[self.panel.attention]),
        )

    def failed(self, words: str, _values: Values) -> Updates:
        """An error stands where the progress does."""
        return {self.progress: present.problem(words)}

    def on_over(self, values: Values) -> Updates:
        """Nothing is under way any more."""
        row = self.library.find(values[self.panel.chosen], values.token)
        shown = present_report.settled(values[self.progress], bool(values[self.result]))
        return {
            self.run: gr.update(interactive=len(row.precisions) > 1),
            self.cancel: gr.update(interactive=False), self.progress: shown,
        }  # fmt: skip

    def _buttons(self) -> list[Any]:
        return [self.run, self.cancel]

    # --- choosing -------------------------------------------------------------------------------

    def on_model(self, values: Values) -> Updates:
        """Another model is offered in other precisions."""
        row = self.library.find(values[self.panel.chosen], values.token)
        return {
            self.reference: gr.update(**_references(row)),
            self.candidates: gr.update(**_candidates(row, _reference(row))),
            self.only: _only(row),
            self.run: gr.update(interactive=len(row.precisions) > 1),
        }

    def on_reference(self, values: Values) -> Updates:
        """What is the reference cannot be compared with it."""
        row = self.library.find(values[self.panel.chosen], values.token)
        chosen = Precision(values[self.reference])
        offered = [str(one) for one in row.precisions if one is not chosen]
        kept = [name for name in values[self.candidates] if name in offered]
        return {self.candidates: gr.update(choices=offered, value=kept or offered[-1:])}

    # --- texts ----------------------------------------------------------------------------------

    def on_file(self, _values: Values, event: gr.EventData) -> Updates:
        """A file's texts, in place of those that were there."""
        told: Mapping[str, Any] = event._data if isinstance(event._data, Mapping) else {}
        text, name = str(told.get("text") or ""), str(told.get("name") or "the file")[:80]
        count = len(prompt_set.split(text))
        texts = "1 text" if count == 1 else f"{count} texts"
        shown = f'<p class="hint" role="status">{texts} from {escape(name)}.</p>'
        return {self.texts: text.removeprefix("\ufeff"), self.opened: shown}

    def not_opened(self, words: str, *_: Any) -> Updates:
        """What was there stays."""
        return {self.opened: present.problem(words)}


def _there(report: PrecisionReport) -> int:
    """How many precisions are done with."""
    return (report.reference is not None) + len(report.candidates)


def _reference(row: Checkpoint) -> Precision:
    return next((one for one in REFERENCES if one in row.precisions), row.precisions[0])


def _references(row: Checkpoint) -> dict[str, Any]:
    return {"choices": [str(one) for one in row.precisions], "value": str(_reference(row))}


def _candidates(row: Checkpoint, reference: Precision) -> dict[str, Any]:
    offered = [one for one in row.precisions if one is not reference]
    return {
        "choices": [str(one) for one in offered],
        "value": [str(one) for one in offered if one in COMPARED],
    }


def _only(row: Checkpoint) -> str:
    """Why there is nothing to compare; empty where there is."""
    return escape(present_models.only_precision(row) or "")
