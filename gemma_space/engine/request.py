"""One request while an engine works on it.

Knows how far it is and hands its chunks to whoever waits. Does not know what else is running.
"""

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from gemma_space.chunks import GenerationChunk
from gemma_space.engine.kv import RowsCache
from gemma_space.engine.sampling import Sampler, scores
from gemma_space.errors import GemmaSpaceError
from gemma_space.types import SamplingParams

Look = Callable[[int, Any], None]  # how many ids come before the first row; the rows of logits


@dataclass(eq=False)
class Request:
    """Prompt, controls and progress.

    Attributes:
        ids: the prompt, then what was written.
        adapter: the attached adapter to compute with; None for the model alone.
        cache: of all ids but the last one, once the prompt is done; in a batch, None.
        done: ids that the cache holds.
        cached: of these, how many were there before.
        cancelled: nobody listens any more.
        failed: ended by an error; what its cache holds may be no numbers.
        scores_prompt: only the prompt's own tokens are wanted, each with its scores.
        look: takes their logits in place of the scores.
        max_time: seconds it may take from the moment it has a place; None for no limit.
        clock: seconds, monotonic.
    """

    ids: list[int]
    params: SamplingParams
    top: int = 0
    adapter: str | None = None
    cache: RowsCache | None = None
    sampler: Sampler | None = None
    done: int = 0
    cached: int = 0
    cancelled: bool = False
    ended: bool = False
    failed: bool = False
    scores_prompt: bool = False
    look: Look | None = None
    max_time: float | None = None
    clock: Callable[[], float] = time.monotonic
    told: "queue.SimpleQueue[GenerationChunk | GemmaSpaceError]" = field(
        default_factory=queue.SimpleQueue
    )

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.ids)
        self._ends_at: float | None = None

    @property
    def written(self) -> int:
        """Tokens of the reply so far."""
        return len(self.ids) - self.prompt_tokens

    def begin(self) -> None:
        """It has a place: its time runs."""
        if self.max_time is not None:
            self._ends_at = self.clock() + self.max_time

    @property
    def is_late(self) -> bool:
        """Whether its time is up."""
        return self._ends_at is not None and self.clock() >= self._ends_at

    def stop_late(self) -> None:
        """End between two chunks of the prompt, because its time is up."""
        self.ended = True
        self._tell(finish_reason="time_limit")

    def report(self) -> None:
        """Tell how much of the prompt is done."""
        self._tell()

    def score(self, logits: Any) -> None:
        """Tell how likely the prompt's next tokens were, or have it looked at.

        Args:
            logits: as the model gave them, shape (tokens, vocabulary); the first row is the one
                after `done + 1` ids.
        """
        first, scored = self.done + 1, ()
        if self.look is not None:
            self.look(first, logits)
        else:
            scored = scores(logits.float(), self.ids[first : first + len(logits)], self.top)
        self.done += logits.shape[0]
        self.ended = self.done >= len(self.ids) - 1
        self._tell(prompt_scores=scored, finish_reason="stop" if self.ended else None)

    def write(self, logits: Any, likeliest: int, stop_ids: frozenset[int]) -> None:
        """Take the next token from a row of logits, fp32, shape (vocabulary,).

        Args:
            likeliest: the index of the highest, which is known already.
        """
        assert self.sampler is not None
        plain = self.sampler.is_plain
        token_id = likeliest if plain else self.sampler.pick(logits, self.ids)
        self.ids.append(token_id)
        reason: Literal["stop", "length", "time_limit"] | None = None
        if token_id in stop_ids and not self.params.ignore_eos:
            reason = "stop"
        elif self.written >= self.params.max_new_tokens:
            reason = "length"
        elif self.is_late:
            reason = "time_limit"
        score = scores(logits[None], [token_id], self.top)[0] if self.top else None
        self.ended = reason is not None
        self._tell(token_id=token_id, finish_reason=reason, score=score)

    def _tell(self, **news: Any) -> None:
        done = min(self.done, self.prompt_tokens)
        self.told.put(GenerationChunk(prompt_done_tokens=done, cached_tokens=self.cached, **news))

    def fail(self, error: GemmaSpaceError) -> None:
        """End with a reason."""
        self.ended, self.failed, self.cache = True, True, None
        self.told.put(error)
