"""What is compared: two to four columns, each with its model, precision and own settings.

Knows the widgets of one column and how columns come and go. Does not know what is asked of them.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gemma_space import precision as precision_rules
from gemma_space import side_by_side
from gemma_space.catalog import Checkpoint
from gemma_space.comparison import MAX_COLUMNS, MIN_COLUMNS, Column
from gemma_space.errors import InvalidControlError, InvalidRequestError
from gemma_space.types import Controls, Precision
from gemma_space.ui import present, present_compare
from gemma_space.ui.controls import SamplingControls
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_panel import listed, precisions
from gemma_space.use_cases import UseCases


@dataclass(frozen=True)
class ColumnSetup:
    """One column's widgets; `settings` holds its own controls, shown where `own` says so."""

    box: gr.Column
    heading: gr.HTML
    model: gr.Dropdown
    precision: gr.Dropdown
    note: gr.HTML
    own: gr.Checkbox
    settings: gr.Column
    sampling: SamplingControls
    remove: gr.Button

    @classmethod
    def build(cls, playground: UseCases, row: Checkpoint, precision: str, at: int,
              used: bool) -> "ColumnSetup":  # fmt: skip
        """Lay it out; `at` is its place, from 0."""
        library = playground.library
        with gr.Column(elem_classes="compare-setup", visible=used, min_width=200) as box:
            with gr.Row(elem_classes="compare-setup-head"):
                heading = gr.HTML(_heading(at))
                remove = gr.Button("Remove", size="sm", min_width=60, visible=False)
            model = gr.Dropdown(
                listed(library, ()), value=row.repo_id, label="Checkpoint",
                allow_custom_value=library.takes_any,
            )  # fmt: skip
            offered = precisions(row, precision)
            choice = gr.Dropdown(label="Precision", filterable=False, **offered)
            note = gr.HTML("")
            own = gr.Checkbox(label="Own settings")
            with gr.Column(visible=False, elem_classes="compare-own") as settings:
                sampling = SamplingControls.build(
                    playground.default_params(row.repo_id), playground.max_new_tokens(row.repo_id),
                    plain=True,
                )  # fmt: skip
        return cls(box, heading, model, choice, note, own, settings, sampling, remove)

    def inputs(self) -> set[Component]:
        """What `read` needs."""
        return {self.model, self.precision, self.own, *self.sampling.inputs()}

    def read(self, values: Values, shared: Controls) -> Column:
        """The column as it is set; controls that cannot be read are its own trouble."""
        own = bool(values[self.own])
        controls: Controls | InvalidControlError = shared
        if own:
            try:
                controls = self.sampling.read(values)
            except InvalidControlError as error:
                controls = error
        return Column(model=(values[self.model] or "").strip(),
                      precision=precision_rules.parse(values[self.precision]), controls=controls,
                      own=own)  # fmt: skip


@dataclass(frozen=True)
class CompareSetup:
    """All columns.

    Attributes:
        used: unseen; the places that are in use, as JSON.
        together: says where they do not fit in memory together.
    """

    playground: UseCases
    columns: tuple[ColumnSetup, ...]
    used: gr.Textbox
    add: gr.Button
    all_precisions: gr.Button
    together: gr.HTML

    @classmethod
    def build(cls, playground: UseCases) -> "CompareSetup":
        """Lay them out: the default model, and beside it what is there without a download."""
        first = playground.library.find(playground.default_model)
        second, precision = _beside(playground, first)
        begin = [(first, "auto"), (second, precision), (first, "auto"), (first, "auto")]
        with gr.Row(elem_id="compare-setups"):
            columns = tuple(
                ColumnSetup.build(playground, row, name, at, at < MIN_COLUMNS)
                for at, (row, name) in enumerate(begin)
            )
        with gr.Row(elem_classes="compare-tools"):
            add = gr.Button("Add a column", size="sm", min_width=110)
            every = gr.Button("Model 1 in every precision", size="sm", min_width=180)
        together = gr.HTML("", elem_id="compare-together")
        used = gr.Textbox(json.dumps(list(range(MIN_COLUMNS))), visible="hidden")
        return cls(playground, columns, used, add, every, together)

    def inputs(self) -> set[Component]:
        """What `read` needs."""
        return {self.used, *(part for column in self.columns for part in column.inputs())}

    def read(self, values: Values, shared: Controls) -> list[Column]:
        """The columns in use; `shared` are the controls of those without their own."""
        return [column.read(values, shared) for column in self._used(values)]

    def wire(self, opened: gr.Tab) -> None:
        """Listen to everything that sets a column; `opened` is the tab they are in."""
        choices = {part for column in self.columns for part in (column.model, column.precision)}
        context = {self.used, *choices}
        layout = self._layout_outputs()
        notes = [*(column.note for column in self.columns), self.together]

        def look(trigger: Any) -> None:
            listen([trigger], self.on_look, context, notes, trigger_mode="always_last")

        look(opened.select)
        look(self.used.change)
        listen([self.add.click], self.on_add, {self.used}, layout)
        everywhere = [*layout, self.together,
                      *(p for c in self.columns for p in (c.model, c.precision))]  # fmt: skip
        listen([self.all_precisions.click], self.on_all_precisions, context, everywhere,
               on_error=self.failed)  # fmt: skip
        for at, column in enumerate(self.columns):
            look(column.precision.change)
            look(self._wire_model(column).then)
            self._wire_column(at, column, layout)

    def _wire_model(self, column: ColumnSetup) -> Any:
        async def on_model(values: Values) -> AsyncGenerator[Updates]:
            name = (values[column.model] or "").strip()
            yield await asyncio.to_thread(self.chosen, column, name, values.token)

        def failed(text: str, *_: object) -> Updates:
            return {column.note: present.problem(text)}

        outputs = [column.precision, column.note, *column.sampling.outputs()]
        return listen([column.model.input], on_model, {column.model}, outputs, on_error=failed,
                      trigger_mode="always_last")  # fmt: skip

    def _wire_column(self, at: int, column: ColumnSetup, layout: list[Block]) -> None:
        def on_remove(values: Values) -> Updates:
            left = [place for place in _places(values[self.used]) if place != at]
            return self._layout(left) if len(left) >= MIN_COLUMNS else {self.used: gr.update()}

        def on_own(values: Values) -> Updates:
            return {column.settings: gr.update(visible=bool(values[column.own]))}

        listen([column.remove.click], on_remove, {self.used}, layout)
        listen([column.own.change], on_own, {column.own}, [column.settings])

    def chosen(self, column: ColumnSetup, name: str, token: str | None) -> Updates:
        """What goes with another model: its precisions, and its own defaults."""
        row = self.playground.library.find(name, token)
        defaults = self.playground.default_params(name, token)
        return {
            column.precision: gr.update(**precisions(row)),
            column.note: "",
            **column.sampling.show(defaults, self.playground.max_new_tokens(name, token)),
        }

    async def on_look(self, values: Values) -> AsyncGenerator[Updates]:
        """Say what each column would take, and whether all fit together."""
        yield await asyncio.to_thread(self.looked, values)

    def looked(self, values: Values) -> Updates:
        used = self._used(values)
        wanted = [((values[c.model] or "").strip(), Precision(values[c.precision])) for c in used]
        plan = side_by_side.plan(self.playground.library, wanted, values.token)
        known = [(at, column) for at, column in enumerate(used) if plan.rows[at] is not None]
        notes: Updates = {column.note: present_compare.fit_note(plan, at) for at, column in known}
        return {**notes, self.together: present_compare.together(plan)}

    def on_add(self, values: Values) -> Updates:
        """One column more."""
        places = _places(values[self.used])
        free = [at for at in range(MAX_COLUMNS) if at not in places]
        return self._layout(sorted([*places, *free[:1]]))

    def on_all_precisions(self, values: Values) -> Updates:
        """The first column's model in each precision it is offered in, finest first."""
        first = self._used(values)[0]
        name = (values[first.model] or "").strip()
        row = self.playground.library.find(name, values.token)
        names = list(row.precisions)
        if len(names) < MIN_COLUMNS:
            raise InvalidRequestError(f"{row.title} has one precision only.",
                                      "Choose another model in the first column.")  # fmt: skip
        if len(names) > MAX_COLUMNS and Precision.BF16 in names:
            names = [one for one in names if one is not Precision.FP16]  # as large as bf16
        names = names[:MAX_COLUMNS]
        updates = {**self._layout(list(range(len(names)))), self.together: ""}
        for column, precision in zip(self.columns, names, strict=False):
            updates[column.model] = name
            updates[column.precision] = gr.update(**precisions(row, str(precision)))
        return updates

    def failed(self, text: str, *_: object) -> Updates:
        return {self.together: present.problem(text)}

    def _used(self, values: Values) -> list[ColumnSetup]:
        return [self.columns[at] for at in _places(values[self.used])]

    def _layout(self, places: Sequence[int]) -> Updates:
        """Exactly these places in use."""
        updates: Updates = {
            self.used: json.dumps(list(places)),
            self.add: gr.update(interactive=len(places) < MAX_COLUMNS),
        }
        for at, column in enumerate(self.columns):
            used = at in places
            updates[column.box] = gr.update(visible=used)
            updates[column.remove] = gr.update(visible=len(places) > MIN_COLUMNS)
            if used:
                updates[column.heading] = _heading(list(places).index(at))
        return updates

    def _layout_outputs(self) -> list[Block]:
        parts = [part for c in self.columns for part in (c.box, c.heading, c.remove)]
        return [self.used, self.add, *parts]


def _places(text: str | None) -> list[int]:
    return [at for at in json.loads(text or "[]") if at in range(MAX_COLUMNS)]


def _heading(at: int) -> str:
    return f"<h3>Model {at + 1}</h3>"


def _beside(playground: UseCases, first: Checkpoint) -> tuple[Checkpoint, str]:
    """What the second column begins with: another model on this machine, else the same again."""
    for row in playground.library.choices():
        if row.repo_id != first.repo_id and (row.base or row).is_local:
            return row, "auto"
    return first, str(first.precisions[-1])
