"""Which model the page works with: choosing, loading and unloading, wherever it is done.

Every way to choose ends in `choose`, and everything that shows the chosen model is set by `show`,
so that the sidebar and the Models tab never differ. What takes long (a look at the Hub, the first
import of torch) runs in a thread of its own.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gemma_space import precision as rules
from gemma_space.catalog import Checkpoint
from gemma_space.library import Library
from gemma_space.pacing import paced
from gemma_space.reports import LoadProgress
from gemma_space.types import Attention, Precision
from gemma_space.ui import present
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_card import ModelCard
from gemma_space.ui.model_panel import ModelPanel, listed

PROGRESS_SECONDS = 0.2


@dataclass(frozen=True)
class Choosing:
    """The handlers, with what they work on."""

    library: Library
    panel: ModelPanel
    cards: Sequence[ModelCard]

    # --- what is shown --------------------------------------------------------------------------

    def show(self, row: Checkpoint, wanted: Precision, how: Attention = Attention.AUTO) -> Updates:
        """The checkpoint, how it fits and what is in memory, everywhere on the page."""
        fit, status = self.library.fit(row, wanted, how), self.library.status()
        loaded = tuple(r.precision for r in status.loaded if r.repo_id == row.repo_id)
        alone = {(r.repo_id, r.precision) for r in status.loaded} <= {(row.repo_id, fit.precision)}
        titles = {one.repo_id: one.title for one in (*self.library.choices(), row)}
        updates: Updates = {
            self.panel.status: present.status_lines(status, titles),
            self.panel.marked: _for_script(model=row.repo_id, precision=str(fit.precision)),
        }
        for card in self.cards:
            updates |= card.show(row, wanted, fit, loaded, alone)
        return updates

    def show_outputs(self) -> list[Block]:
        """What `show` sets."""
        shown = [output for card in self.cards for output in card.outputs()]
        return [self.panel.status, self.panel.marked, *shown]

    async def on_open(self, values: Values) -> AsyncGenerator[Updates]:
        """What had to wait until the page was up: it takes an import of torch."""
        yield await asyncio.to_thread(self.opened, values)

    def opened(self, values: Values) -> Updates:
        offered = self.library.attentions(self.library.find(values[self.panel.model]))
        return {**self.refreshed(values), **self.panel.offer(offered)}

    async def on_refresh(self, values: Values) -> AsyncGenerator[Updates]:
        """The same model, as things are by now."""
        yield await asyncio.to_thread(self.refreshed, values)

    def refreshed(self, values: Values) -> Updates:
        row = self.library.find(values[self.panel.model])
        how = Attention(values[self.panel.attention] or "auto")
        return self.show(row, Precision(values[self.panel.precision]), how)

    # --- choosing -------------------------------------------------------------------------------

    def choose(self, name: str, precision: str, typed: Sequence[str]) -> Updates:
        """Have the whole page work with this model.

        Raises:
            GemmaSpaceError: there is no such model, or not in this precision.
        """
        row = self.library.find(name)
        rules.require(row, Precision(precision))
        known = {one.repo_id for one in self.library.choices()}
        if row.repo_id not in known and row.repo_id not in typed:
            typed = (row.repo_id, *typed)
        selected = self.panel.select(
            row, precision, self.library.attentions(row), listed(self.library, typed)
        )
        now = Precision(selected[self.panel.precision]["value"])
        remembered = {self.panel.typed: json.dumps(list(typed))}
        return {**selected, **remembered, **self.show(row, now), **self.say("")}

    def choose_outputs(self) -> list[Block]:
        """What `choose` sets."""
        return [*self.panel.select_outputs(), self.panel.typed, *self.show_outputs(),
                *self.say("")]  # fmt: skip

    async def on_model(self, values: Values) -> AsyncGenerator[Updates]:
        """A name in the sidebar, chosen, typed, or only left again."""
        name = (values[self.panel.model] or "").strip()
        if name == values[self.panel.chosen]:
            yield await asyncio.to_thread(self.refreshed, values)
            return
        if name not in (row.repo_id for row in self.library.choices()):
            yield {self.panel.card.about: present.looking(name)}
        typed = self.panel.remembered(values)
        updates = await asyncio.to_thread(self.choose, name, "auto", typed)
        if name == values[self.panel.model]:  # it may show the next choice already
            del updates[self.panel.model]["value"]
        yield updates

    async def on_precision(self, values: Values) -> AsyncGenerator[Updates]:
        """Another precision or attention, chosen in the sidebar."""
        yield {**await asyncio.to_thread(self.refreshed, values), **self.say("")}

    async def on_pick(self, values: Values, event: gr.EventData) -> AsyncGenerator[Updates]:
        """A precision's button was pressed, in the list or below a meter."""
        picked: Mapping[str, Any] = event._data if isinstance(event._data, Mapping) else {}
        name = str(picked.get("model") or values[self.panel.model])
        precision = str(rules.parse(picked.get("precision")))
        yield await asyncio.to_thread(self.choose, name, precision, self.panel.remembered(values))

    def failed(self, text: str, values: Values, *_: object) -> Updates:
        """No such model: said below the name, which stays."""
        updates: Updates = {}
        for card in self.cards:
            updates |= card.fail(text)
        return updates

    def pick_failed(self, text: str, *_: object) -> Updates:
        """Not in this precision: what was chosen stays."""
        return self.say(present.problem(text))

    def say(self, shown: str) -> Updates:
        """What went wrong, in every place; what is only shown anew leaves it as it is."""
        return {card.said: shown for card in self.cards}

    # --- loading --------------------------------------------------------------------------------

    async def on_load(self, values: Values) -> AsyncGenerator[Updates]:
        """Bring the chosen model into memory, step by step."""
        name, precision = values[self.panel.model], values[self.panel.precision]
        attention = values[self.panel.attention]
        row = self.library.find(name)
        first = present.load_bar(LoadProgress(phase="access"), row.title)
        yield {**self.progress(first), **self.say("")}
        load = paced(
            lambda: self.library.load(name, precision, attention_name=attention), PROGRESS_SECONDS
        )
        async with aclosing(load) as steps:
            async for step in steps:
                yield self.progress(present.load_bar(step, row.title))
        yield self.progress("")

    def on_unload(self, values: Values) -> Updates:
        """Give the chosen model's memory back."""
        self.library.unload(values[self.panel.model], values[self.panel.precision])
        return self.say("")

    def progress(self, shown: str) -> Updates:
        """A load, in every place."""
        return {card.progress: shown for card in self.cards}

    def load_failed(self, text: str, _values: Values) -> Updates:
        """The load is over; why is said."""
        return {**self.progress(""), **self.say(present.problem(text))}

    # --- wiring ---------------------------------------------------------------------------------

    def context(self) -> set[Component]:
        """What the handlers read."""
        return {*self.panel.inputs(), self.panel.chosen, self.panel.typed}

    def listen_for_picks(self, place: gr.HTML) -> None:
        """Choose what is pressed there."""
        listen([place.select], self.on_pick, self.context(), self.choose_outputs(),
               on_error=self.pick_failed, trigger_mode="always_last")  # fmt: skip

    def wire(self, uses: Sequence[Any]) -> list[Any]:
        """Listen to everything that chooses, loads, unloads or uses models.

        Args:
            uses: events after which other models may be in memory.

        Returns:
            the events of loading and unloading.
        """
        panel, shown = self.panel, self.show_outputs()
        context = self.context()
        # Not `change`: a handler's own updates reach the page one component after the other, and
        # what is read in between belongs to two models.
        listen([panel.model.input], self.on_model, context, self.choose_outputs(),
               on_error=self.failed, trigger_mode="always_last")  # fmt: skip
        listen([panel.precision.input, panel.attention.input], self.on_precision, context,
               [*shown, *self.say("")], on_error=self.failed,
               trigger_mode="always_last")  # fmt: skip
        for card in self.cards:
            self.listen_for_picks(card.meter)
        listen([], self.on_open, context, [*shown, panel.attention], on_error=self.failed)
        changes = [self._wire_load(context), self._wire_unload(context)]
        for event in (*changes, *uses):  # `.then` follows success, error and Cancel alike
            listen([event.then], self.on_refresh, context, shown, on_error=self.failed)
        return changes

    def _wire_load(self, context: set[Component]) -> Any:
        shown = [*self.progress(""), *self.say("")]
        loading = listen([card.load.click for card in self.cards], self.on_load, context, shown,
                         on_error=self.load_failed)  # fmt: skip
        cancelled = listen([card.cancel.click for card in self.cards], None, cancels=[loading])
        listen([cancelled.then], lambda: self.progress(""), outputs=list(self.progress("")))
        return loading

    def _wire_unload(self, context: set[Component]) -> Any:
        return listen([card.unload.click for card in self.cards], self.on_unload, context,
                      list(self.say("")), on_error=self.pick_failed)  # fmt: skip


def _for_script(**facts: str) -> str:
    # Gradio warns of markup in an HTML component's value; in JSON a `<` can be spelled out.
    return json.dumps(facts).replace("<", "\\u003c")
