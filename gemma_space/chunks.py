"""What an engine says, step by step: ids or text, scores, how far the prompt is, how it ended.

Frozen values like those of `types`; what becomes of them is `generation`'s to know.
"""

from dataclasses import dataclass
from typing import Literal

from gemma_space.types import ScoredPiece


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScore:
    """A token id with the natural-log probability the raw logits gave it (before sampling)."""

    token_id: int
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredToken:
    """A token as the raw logits saw it, before sampling.

    Attributes:
        logprob: natural logarithm of its probability.
        entropy: of the whole distribution it was taken from, in nats.
        top: the likeliest tokens at its place, likeliest first.
    """

    token_id: int
    logprob: float
    entropy: float
    top: tuple[TokenScore, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a server counted; `cached_tokens` of the prompt's it had computed before."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationChunk:
    """One step of an engine: an id, or text from an engine that gives no ids.

    `token_id` is None while the engine waits or prefills. `finish_reason` is set on the last
    chunk, whose `token_id` is the stop token where one ended the reply. `prompt_done_tokens`
    counts the prompt tokens processed so far, `cached_tokens` those whose KV was reused. A time
    limit can end a reply without a token. `prompt_scores` come only where a prompt is scored.
    Without ids `text` and `thinking` are what came since the last chunk, `pieces` its tokens with
    their scores where they are known, and `usage` comes with the last chunk, if at all. `notes`
    are sentences about what went otherwise than asked.
    `place` is the request's among those that wait, 1 for the next; 0 once it runs.
    """

    token_id: int | None = None
    finish_reason: Literal["stop", "length", "stop_string", "time_limit"] | None = None
    prompt_done_tokens: int = 0
    cached_tokens: int = 0
    score: ScoredToken | None = None
    prompt_scores: tuple[ScoredToken, ...] = ()
    place: int = 0
    text: str = ""
    thinking: str = ""
    pieces: tuple[ScoredPiece, ...] = ()
    usage: Usage | None = None
    notes: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether something was written in this step."""
        return self.token_id is not None or bool(self.text or self.thinking)
