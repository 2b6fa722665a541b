"""What the Compare tab's events do: all columns asked at once, followed together, and saved.

One event yields every column, at a pace that a page can follow. What was asked and what came
is kept on the server under the page's name: the page itself must not know what is hidden.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from gemma_space import alerts, comparison_file, side_by_side
from gemma_space.comparison import Comparison
from gemma_space.errors import InvalidRequestError
from gemma_space.pacing import paced
from gemma_space.ui import present, present_compare
from gemma_space.ui.compare_widgets import CompareTab
from gemma_space.ui.events import Updates, Values
from gemma_space.ui.scripted import for_script
from gemma_space.ui.workbench import Workbench
from gemma_space.use_cases import UseCases

STATE_SECONDS = 0.2  # each state may lay out four columns, as a long conversation does
GONE = InvalidRequestError(
    "This comparison is not kept any more.", "Press Compare to ask all columns again."
)


@dataclass(frozen=True)
class CompareRuns:
    """The handlers, with what they work on."""

    tab: CompareTab
    playground: UseCases
    bench: Workbench

    def kept(self, values: Values) -> Comparison:
        """What the page shows.

        Raises:
            InvalidRequestError: the server has let go of it.
        """
        found = self.bench.of(values).comparison
        if found is None:
            raise GONE
        return found

    def show(self, values: Values, comparison: Comparison) -> Updates:
        """Keep a comparison at rest, and show it."""
        self.bench.put(values, comparison=comparison)
        return self.tab.idle(comparison)

    def on_compare(self, values: Values) -> Updates:
        """Have all columns asked, from the beginning."""
        self.require_rest(values)
        comparison = self.tab.read(values)
        seed = self.tab.input.sampling.used_seed(comparison.seed)
        return {**self.ask(values, comparison), **seed}

    def on_follow_up(self, values: Values) -> Updates:
        """Have them asked on, as they were set."""
        self.require_rest(values)
        text = values[self.tab.follow_up] or ""
        self.tab.require_text(text.strip())
        return {**self.ask(values, self.kept(values).asking(text)), self.tab.follow_up: ""}

    def ask(self, values: Values, comparison: Comparison) -> Updates:
        """Have this answered by `on_asked`."""
        self.bench.put(values, comparison=comparison)
        return self.tab.running(comparison)

    def require_rest(self, values: Values) -> None:
        """Raises: InvalidRequestError, while columns are on their way."""
        comparison = self.bench.of(values).comparison
        if comparison is not None and comparison.running:
            raise InvalidRequestError("A comparison is on its way.", "Stop it first.")

    async def on_asked(self, values: Values) -> AsyncGenerator[Updates]:
        """Every state of all columns; kept from the first on, as Stop ends this at any place."""
        comparison = self.kept(values)
        asked, token = comparison.requests(), values.token
        shown: tuple[str, ...] = ()
        source = paced(
            lambda: side_by_side.compare(self.playground, asked, alerts.words, token),
            STATE_SECONDS,
        )
        async with aclosing(source) as steps:
            async for states in steps:
                comparison = comparison.told(states)
                self.bench.put(values, comparison=comparison)
                before, shown = shown, present_compare.columns(comparison)
                yield (
                    {  # what is the same need not travel again
                        place: html
                        for at, (place, html) in enumerate(
                            zip(self.tab.places, shown, strict=False)
                        )
                        if before[at : at + 1] != (html,)
                    }
                    or {self.tab.places[0]: shown[0]}
                )

    def on_over(self, values: Values) -> Updates:
        """Nothing is on its way any more; what was stopped stays as far as it came."""
        comparison = self.bench.of(values).comparison
        if comparison is not None and comparison.running:
            comparison = comparison.stopped()
            self.bench.put(values, comparison=comparison)
        return self.tab.idle(comparison)

    def on_reveal(self, values: Values) -> Updates:
        """Show which is which without a vote."""
        return self.show(values, self.kept(values).revealed())

    def on_save_json(self, values: Values) -> Updates:
        """Write the comparison as JSON."""
        text = comparison_file.as_json(self._open(values))
        return self.save("comparison.json", "application/json", text)

    def on_save_markdown(self, values: Values) -> Updates:
        """Write the comparison as Markdown."""
        text = comparison_file.as_markdown(self._open(values))
        return self.save("comparison.md", "text/markdown", text)

    def _open(self, values: Values) -> Comparison:
        comparison = self.kept(values)
        if comparison.hidden:
            raise InvalidRequestError("It is hidden which is which.", "Vote first.")
        return comparison

    def save(self, name: str, kind: str, text: str) -> Updates:
        """Have the browser save a file."""
        named = f"gemma-space-{name}"
        file = {"name": named, "type": kind, "text": text, "stamp": time.time_ns() // 1000}
        return {self.tab.saved: for_script(file)}

    def failed(self, text: str, *_: object) -> Updates:
        """What was wrong with the whole of it."""
        return {self.tab.notice: present.problem(text)}
