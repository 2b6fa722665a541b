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
from gemma_space.errors import AccessDeniedError
from gemma_space.library import Library
from gemma_space.pacing import paced
from gemma_space.reports import LoadProgress
from gemma_space.types import Attention, Precision
from gemma_space.ui import present
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_card import ModelCard
from gemma_space.ui.model_panel import ModelPanel, listed
from gemma_space.ui.scripted import for_script
from gemma_space.use_cases import UseCases

PROGRESS_SECONDS = 0.2


@dataclass(frozen=True)
class Choosing:
    """The handlers, with what they work on."""

    playground: UseCases
    panel: ModelPanel
    cards: Sequence[ModelCard]

    @property
    def library(self) -> Library:
        return self.playground.library

    # --- what is shown --------------------------------------------------------------------------

    def show(
        self, row: Checkpoint, wanted: Precision, how: Attention, token: str | None
    ) -> Updates:
        """The checkpoint, how it fits and what is in memory, everywhere on the page."""
        fit, status = self.library.fit(row, wanted, how, token), self.library.status(token)
        loaded = tuple(r.precision for r in status.loaded if r.repo_id == row.repo_id)
        alone = {(r.repo_id, r.precision) for r in status.loaded} <= {(row.repo_id, fit.precision)}
        titles = {one.repo_id: one.title for one in (*self.library.choices(), row)}
        updates: Updates = {
            self.panel.status: present.status_lines(status, titles),
            self.panel.marked: _marked(row.repo_id, fit.precision),
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
        row = self.library.find(values[self.panel.model], values.token)
        return {**self.refreshed(values), **self.panel.offer(self.library.attentions(row))}

    async def on_refresh(self, values: Values) -> AsyncGenerator[Updates]:
        """The same model, as things are by now."""
        yield await asyncio.to_thread(self.refreshed, values)

    async def on_used(self, values: Values) -> AsyncGenerator[Updates]:
        """The same after a reply, which says what went wrong itself: an older word is stale."""
        yield {**await asyncio.to_thread(self.refreshed, values), **self.say("")}

    def refreshed(self, values: Values) -> Updates:
        name, how = values[self.panel.model], Attention(values[self.panel.attention] or "auto")
        try:
            row = self.library.find(name, values.token)
        except AccessDeniedError:
            return self.refused(name)
        return self.show(row, Precision(values[self.panel.precision]), how, values.token)

    # --- choosing -------------------------------------------------------------------------------

    def choose(self, name: str, precision: str, values: Values) -> Updates:
        """Have the whole page work with this model.

        Raises:
            GemmaSpaceError: there is no such model for this visitor, or not in this precision.
        """
        typed, token = self.panel.remembered(values), values.token
        row = self.library.find(name, token)
        rules.require(row, Precision(precision))
        known = {one.repo_id for one in self.library.choices()}
        if row.repo_id not in known and row.repo_id not in typed:
            typed = (row.repo_id, *typed)
        selected = self.panel.select(
            row, precision, self.library.attentions(row), listed(self.library, typed)
        )
        now = Precision(selected[self.panel.precision]["value"])
        remembered = {self.panel.typed: json.dumps(list(typed))}
        shown = self.show(row, now, Attention.AUTO, token)
        return {**selected, **remembered, **shown, **self.say("")}

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
        try:
            updates = await asyncio.to_thread(self.choose, name, "auto", values)
        except AccessDeniedError:
            yield self.refused(name)
            return
        if name == values[self.panel.model]:  # it may show the next choice already
            del updates[self.panel.model]["value"]
        yield updates

    async def on_answer(self, values: Values) -> AsyncGenerator[Updates]:
        """The Hub was asked again: what it refused before may be chosen by now."""
        if not _read_mark(values[self.panel.marked]).get("refused"):
            yield {self.panel.marked: gr.update()}  # yielding nothing would empty the outputs
            return
        async with aclosing(self.on_model(values)) as updates:
            async for update in updates:
                yield update

    async def on_precision(self, values: Values) -> AsyncGenerator[Updates]:
        """Another precision or attention, chosen in the sidebar."""
        yield {**await asyncio.to_thread(self.refreshed, values), **self.say("")}

    async def on_pick(self, values: Values, event: gr.EventData) -> AsyncGenerator[Updates]:
        """A precision's button was pressed, in the list or below a meter."""
        picked: Mapping[str, Any] = event._data if isinstance(event._data, Mapping) else {}
        name = str(picked.get("model") or values[self.panel.model])
        precision = str(rules.parse(picked.get("precision")))
        yield await asyncio.to_thread(self.choose, name, precision, values)

    def failed(self, text: str, *_: object) -> Updates:
        """No such model: said below the name, which stays."""
        return self._instead(present.problem(text), "")

    def refused(self, name: str) -> Updates:
        """Not for this visitor: the line about access says why, with a way to ask again."""
        return self._instead(present.withheld(name), _marked(name, refused=True))

    def _instead(self, shown: str, mark: str) -> Updates:
        updates: Updates = {self.panel.marked: mark}
        for card in self.cards:
            updates |= card.fail(shown)
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
        attention, token = values[self.panel.attention], values.token
        first = present.load_bar(LoadProgress(phase="access"), name)
        yield {**self.progress(first), **self.say("")}
        row = await asyncio.to_thread(self.library.find, name, token)
        load = self.playground.load
        steps = paced(lambda: load(name, precision, token, attention), PROGRESS_SECONDS)
        async with aclosing(steps):
            async for step in steps:
                yield self.progress(present.load_bar(step, row.title))
        yield self.progress("")

    def on_unload(self, values: Values) -> Updates:
        """Give the chosen model's memory back."""
        self.library.unload(values[self.panel.model], values[self.panel.precision], values.token)
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
        """Choose what is pressed there. An event that Gradio puts off loses what was pressed."""
        listen([place.select], self.on_pick, self.context(), self.choose_outputs(),
               on_error=self.pick_failed, trigger_mode="multiple")  # fmt: skip

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
        for event in changes:  # `.then` follows success, error and Cancel alike
            listen([event.then], self.on_refresh, context, shown, on_error=self.failed)
        for event in uses:
            listen([event.then], self.on_used, context, [*shown, *self.say("")],
                   on_error=self.failed)  # fmt: skip
            listen([event.then], None, js="() => GemmaSpace.access.again()")
        return changes

    def wire_access(self, answered: Any, changed: Any) -> None:
        """What may be seen changes with the visitor's access.

        Args:
            answered: the event of the Hub's answer about one model.
            changed: what triggers once another token acts.
        """
        context, shown = self.context(), self.choose_outputs()
        listen([changed], self.on_model, context, shown, on_error=self.failed,
               trigger_mode="always_last")  # fmt: skip
        listen([answered.then], self.on_answer, {*context, self.panel.marked}, shown,
               on_error=self.failed)  # fmt: skip

    def _wire_load(self, context: set[Component]) -> Any:
        shown = [*self.progress(""), *self.say("")]
        loading = listen([card.load.click for card in self.cards], self.on_load, context, shown,
                         on_error=self.load_failed, counts=True)  # fmt: skip
        cancelled = listen([card.cancel.click for card in self.cards], None, cancels=[loading])
        listen([cancelled.then], lambda: self.progress(""), outputs=list(self.progress("")))
        return loading

    def _wire_unload(self, context: set[Component]) -> Any:
        return listen([card.unload.click for card in self.cards], self.on_unload, context,
                      list(self.say("")), on_error=self.pick_failed)  # fmt: skip


def _marked(model: str, precision: str = "", refused: bool = False) -> str:
    return for_script({"model": model, "precision": precision, "refused": refused})


def _read_mark(text: str | None) -> dict[str, Any]:
    return json.loads(text or "{}")
