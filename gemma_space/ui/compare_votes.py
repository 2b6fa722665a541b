"""Votes on what stands side by side: cast, added up, saved.

The votes stay in this page: an unseen component holds them, and the server keeps none. What they
add up to is in `gemma_space.votes`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import gradio as gr

from gemma_space import votes
from gemma_space.comparison import Comparison
from gemma_space.errors import InvalidRequestError
from gemma_space.ui import present_compare
from gemma_space.ui.compare_runs import CompareRuns
from gemma_space.ui.events import Updates, Values, listen

Verdict = Literal["better", "tie", "all_bad"]


@dataclass(frozen=True)
class CompareVotes:
    """The components.

    Attributes:
        cast: unseen; the votes of this page, as JSON.
    """

    fold: gr.Accordion
    table: gr.HTML
    save_csv: gr.Button
    save_json: gr.Button
    forget: gr.Button
    cast: gr.Textbox

    @classmethod
    def build(cls) -> "CompareVotes":
        """Lay them out."""
        with gr.Accordion("Your votes", open=True, visible=False, elem_id="compare-votes") as fold:
            table = gr.HTML(present_compare.votes_table(()), apply_default_css=False)
            with gr.Row(elem_classes="compare-tools"):
                save_csv = gr.Button("Save votes as CSV", size="sm", min_width=130)
                save_json = gr.Button("Save votes as JSON", size="sm", min_width=130)
                forget = gr.Button("Forget them", size="sm", min_width=100)
        return cls(fold, table, save_csv, save_json, forget, gr.Textbox("", visible="hidden"))

    def shown(self, cast: tuple[votes.Vote, ...]) -> Updates:
        """These votes, kept by the page."""
        return {
            self.cast: votes.write(cast),
            self.table: present_compare.votes_table(votes.tally(cast)),
            self.fold: gr.update(visible=bool(cast)),
        }

    def wire(self, runs: CompareRuns) -> None:
        """Listen to the verdicts and to the buttons below the table."""
        tab, inputs = runs.tab, {runs.bench.key, self.cast}
        outputs = [*tab.shown_parts(), self.cast, self.table, self.fold]

        def casting(verdict: Verdict, place: int | None = None) -> Callable[[Values], Updates]:
            def on_vote(values: Values) -> Updates:
                comparison = runs.kept(values)
                given = (*votes.read(values[self.cast]), vote(comparison, verdict, place))
                settled = replace(comparison, voted=True, hidden=False)
                return {**runs.show(values, settled), **self.shown(given)}

            return on_vote

        buttons: list[tuple[gr.Button, Callable[[Values], Updates]]] = [
            (tab.tie, casting("tie")), (tab.all_bad, casting("all_bad")),
            *((button, casting("better", at)) for at, button in enumerate(tab.better)),
        ]  # fmt: skip
        for button, handler in buttons:
            listen([button.click], handler, inputs, outputs, on_error=runs.failed)
        self._wire_files(runs)

    def _wire_files(self, runs: CompareRuns) -> None:
        def on_csv(values: Values) -> Updates:
            return runs.save("votes.csv", "text/csv", votes.as_csv(votes.read(values[self.cast])))

        def on_json(values: Values) -> Updates:
            text = votes.as_json(votes.read(values[self.cast]))
            return runs.save("votes.json", "application/json", text)

        saved: list[Any] = [runs.tab.saved]
        listen([self.save_csv.click], on_csv, {self.cast}, saved)
        listen([self.save_json.click], on_json, {self.cast}, saved)
        listen([self.forget.click], lambda: self.shown(()),
               outputs=[self.cast, self.table, self.fold])  # fmt: skip


def vote(comparison: Comparison, verdict: Verdict, place: int | None = None) -> votes.Vote:
    """A vote on the last exchange; `place` is the better one's, from 0.

    Raises:
        InvalidRequestError: there is nothing to vote on, or it was voted on already.
    """
    answered = comparison.answered
    if comparison.running or comparison.voted or len(answered) < 2:
        raise InvalidRequestError("There is nothing to vote on.", "Compare something first.")
    if place is not None and place not in answered:
        raise InvalidRequestError("This column has no reply.", "Vote for one that has.")
    states = comparison.exchanges[-1].states
    found = [states[comparison.order[at]].generation for at in answered]
    contenders = tuple(
        votes.Contender(model=g.model, precision=g.precision) for g in found if g is not None
    )
    better = None if place is None else answered.index(place)
    return votes.Vote(
        contenders=contenders, verdict=verdict, better=better, blind=comparison.hidden
    )
