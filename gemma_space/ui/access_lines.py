"""What the Hub says about this visitor and each model: asked behind the page, shown beside it.

Knows how a question comes from `assets/js/access.js` and how the answer goes back. The script
keeps the answers by model, so that a late one never stands beside another model, and it shows
them wherever that model is: in both cards and in the list. Words are in `present_access`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from gemma_space.hub import is_repo_id
from gemma_space.library import Library
from gemma_space.reports import AccessReport
from gemma_space.ui import present_access
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.scripted import for_script, heard


@dataclass(frozen=True)
class AccessLines:
    """The two ways to ask, neither of which waits for the other; unseen.

    Attributes:
        one: asks about one model.
        every: asks about all that are listed, and those this visitor typed.
        lends: the host's own token serves whoever has none.
    """

    library: Library
    panel: ModelPanel
    one: gr.HTML
    every: gr.HTML
    lends: bool

    @classmethod
    def build(cls, library: Library, panel: ModelPanel, first: str, lends: bool) -> "AccessLines":
        """Lay out nothing that is seen; the script asks about `first` at once."""
        one, every = (
            heard(
                f"GemmaSpace.access.answer('{name}', props.value);",
                mounted=f"GemmaSpace.access.mount('{name}', trigger, {for_script(first)});",
            )
            for name in ("one", "every")
        )
        return cls(library, panel, one, every, lends)

    def has_token(self, values: Values) -> bool:
        """Whether some token acts for this visitor."""
        return values.token is not None or self.lends

    def on_one(self, values: Values, event: gr.EventData) -> Updates:
        """May this visitor use one model?"""
        asked = _read(event)
        model = str(asked.get("model", ""))
        report = self.library.doctor.check(model, values.token, fresh=bool(asked.get("fresh")))
        return {self.one: _answer(asked, {model: report})}

    def on_every(self, values: Values, event: gr.EventData) -> Updates:
        """May this visitor use each of them? Without a token only if that was asked for."""
        asked = _read(event)
        fresh = bool(asked.get("fresh"))
        if not fresh and not self.has_token(values):
            return {self.every: _answer(asked, {})}
        # A folder on this machine needs nobody's word.
        typed = [name for name in self.panel.remembered(values) if is_repo_id(name)]
        reports = self.library.doctor.check_all(typed, values.token, fresh=fresh)
        summary = present_access.summary(reports)
        return {self.every: _answer(asked, reports, summary)}

    def wire(self) -> Any:
        """Listen to the script's questions. Handlers that are no coroutines run in threads.

        A question that had to wait for another would lose what it asks (Gradio drops the data of
        events that it puts off), and need not: the script takes answers in any order.

        Returns:
            the event of an answer about one model.
        """
        one, _ = (
            listen([place.select], handler, {self.panel.typed}, [place],
                   on_error=_unanswered(place), trigger_mode="multiple")
            for place, handler in ((self.one, self.on_one), (self.every, self.on_every))
        )  # fmt: skip
        return one


def _unanswered(place: gr.HTML) -> Any:
    """There is no such model: whoever looked for it has said so."""

    def answer(_text: str, _values: Values, event: gr.EventData) -> Updates:
        return {place: _answer(_read(event), {})}

    return answer


def _read(event: gr.EventData) -> Mapping[str, Any]:
    return event._data if isinstance(event._data, Mapping) else {}


def _answer(
    asked: Mapping[str, Any], reports: Mapping[str, AccessReport], summary: str = ""
) -> str:
    """For the script; the question's number tells it which answer this is."""
    told = {
        model: {
            "line": present_access.line(report),
            "words": present_access.words(report),
            "mayChange": present_access.may_change(report),
        }
        for model, report in reports.items()
    }
    return for_script({"number": asked.get("number"), "told": told, "summary": summary})
