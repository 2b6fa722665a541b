"""One request while an engine works on it.

Knows how far it is and hands its chunks to whoever waits. Does not know what else is running.
"""

import queue
from dataclasses import dataclass, field
from typing import Any

from gemma_space.engine.kv import RowsCache
from gemma_space.engine.sampling import Sampler, scores
from gemma_space.errors import GemmaSpaceError
from gemma_space.types import FinishReason, GenerationChunk, SamplingParams


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
    told: "queue.SimpleQueue[GenerationChunk | GemmaSpaceError]" = field(
        default_factory=queue.SimpleQueue
    )

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.ids)

    @property
    def written(self) -> int:
        """Tokens of the reply so far."""
        return len(self.ids) - self.prompt_tokens

    def report(self) -> None:
        """Tell how much of the prompt is done."""
        self.told.put(GenerationChunk(prompt_done_tokens=self.done, cached_tokens=self.cached))

    def write(self, logits: Any, likeliest: int, stop_ids: frozenset[int]) -> None:
        """Take the next token from a row of logits, fp32, shape (vocabulary,).

        Args:
            likeliest: the index of the highest, which is known already.
        """
        assert self.sampler is not None
        plain = self.sampler.is_plain
        token_id = likeliest if plain else self.sampler.pick(logits, self.ids)
        self.ids.append(token_id)
        reason: FinishReason | None = None
        if token_id in stop_ids and not self.params.ignore_eos:
            reason = "stop"
        elif self.written >= self.params.max_new_tokens:
            reason = "length"
        score, top, _ = scores(logits, token_id, self.top)
        self.ended = reason is not None
        self.told.put(
            GenerationChunk(
                token_id=token_id,
                finish_reason=reason,
                prompt_done_tokens=self.prompt_tokens,
                cached_tokens=self.cached,
                score=score,
                top=top,
            )
        )

    def fail(self, error: GemmaSpaceError) -> None:
        """End with a reason."""
        self.ended, self.failed, self.cache = True, True, None
        self.told.put(error)
