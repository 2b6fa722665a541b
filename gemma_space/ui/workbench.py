"""What a page works on in its tabs, kept on the server under a name that only it knows.

Runs have a score and ten alternatives for every token: too much to send to and fro with each
event. Gradio's own session state would hold a connection open for each page, of which a browser
has six. Knows how much is kept and for how long; does not know what is done with it.
"""

import hmac
import secrets
import threading
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from cachetools import TTLCache

from gemma_space.capsule import Capsule
from gemma_space.comparison import Comparison
from gemma_space.runs import PLAIN_IDS, Runs
from gemma_space.types import ScoredPiece
from gemma_space.ui.events import Updates, Values, listen

KEPT_SECONDS = 3600  # after the last change
KEPT_TOKENS = 200_000  # of all pages; a scored token takes 1.7 KB


NOTHING_RUN = Runs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one page works on.

    Attributes:
        runs: those of this visit; one on its way is among them as far as it is.
        scored: the tokens of a score while that is what is shown.
        capsule: the one that was opened.
        comparison: what the Compare tab shows, as far as it is.
    """

    runs: Runs = NOTHING_RUN
    scored: tuple[ScoredPiece, ...] = ()
    capsule: Capsule | None = None
    comparison: Comparison | None = None

    @property
    def size(self) -> int:
        """Scored tokens kept, all else counted as what takes as much room, one for the page."""
        ids = len(self.capsule.input.ids) + len(self.capsule.output.ids) if self.capsule else 0
        compared = self.comparison.size if self.comparison else 0
        return 1 + len(self.scored) + self.runs.size + ids // PLAIN_IDS + compared


class Workbench:
    """Work by page. Build it inside the page: `key` is the unseen component that names a page."""

    def __init__(self) -> None:
        self.key = gr.Textbox("", visible="hidden")
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._kept: TTLCache[str, Work] = TTLCache(
            KEPT_TOKENS, KEPT_SECONDS, getsizeof=lambda work: work.size
        )

    def wire(self) -> None:
        """Name each page as it opens."""
        listen([], self._name, outputs=[self.key])

    def _name(self) -> Updates:
        name = secrets.token_urlsafe(16)
        return {self.key: f"{name}.{self._mark(name)}"}

    def _mark(self, name: str) -> str:
        return hmac.digest(self._secret, name.encode(), "sha256").hex()

    def _is_own(self, key: str) -> bool:
        """Whether the name was given here: invented ones would fill the memory."""
        name, _, mark = key.partition(".")
        return hmac.compare_digest(mark, self._mark(name))

    def of(self, values: Values) -> Work:
        """What this page works on; nothing after an hour at rest, or where others needed room."""
        with self._lock:
            return self._kept.get(values[self.key], Work())

    def put(self, values: Values, **changes: Any) -> Work:
        """Change some of it, by the names of `Work`; pages that rest longest make room."""
        key = values[self.key]
        with self._lock:
            work = replace(self._kept.get(key, Work()), **changes)
            if self._is_own(key) and work.size <= self._kept.maxsize:
                self._kept[key] = work
            return work
