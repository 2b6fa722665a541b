"""A request that is over, as the log and the figures hear of it.

Knows what is told of one and how it is gathered while the request goes on. Does not know who
listens, nor what a request waited for.
"""

import time
from dataclasses import dataclass, field, replace

from gemma_space.errors import AccessDeniedError
from gemma_space.types import ChatRequest, CompletionRequest, Generation, ScoreRequest, Scoring

Request = ChatRequest | CompletionRequest | ScoreRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A request that is over.

    Attributes:
        endpoint: the way in and the use case, such as `openai/chat`; the way in alone where it
            was refused before anybody looked at what it asks.
        outcome: the finish reason, "scored", "ready" of a load, "cancelled" where nobody listened
            any more, or why it failed: the error's name.
        precision: the one used; the one asked for where it did not come so far.
        seconds: from its arrival to its end; `waited_seconds` of these it had no place.
        prompt: what was asked, for a log that is to have it.
    """

    request_id: str = ""
    endpoint: str = ""
    model: str = ""
    precision: str = ""
    outcome: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0
    ttft_seconds: float | None = None
    tokens_per_second: float | None = None
    prompt: str = field(default="", repr=False)


class Course:
    """What becomes of a request while it goes on."""

    def __init__(self) -> None:
        self.outcome = "cancelled"  # until it is known otherwise
        self.reply: Generation | Scoring | None = None
        self._came = self._began = time.monotonic()

    def has_waited(self) -> None:
        """It has no place yet."""
        self._began = time.monotonic()

    def over(self, asked: Served) -> Served:
        """What is told of it now that it is over."""
        reply, outcome = self.reply, self.outcome
        if isinstance(reply, Generation):  # whoever has the whole reply may stop listening
            outcome = reply.finish_reason or ("cancelled" if outcome == "scored" else outcome)
        return replace(
            _with_figures(asked, reply),
            outcome=outcome,
            seconds=time.monotonic() - self._came,
            waited_seconds=self._began - self._came,
        )


def _with_figures(asked: Served, reply: Generation | Scoring | None) -> Served:
    if reply is None:
        return asked
    if isinstance(reply, Scoring):
        return replace(asked, precision=reply.precision, prompt_tokens=len(reply.tokens))
    return replace(
        asked,
        precision=reply.precision,
        prompt_tokens=reply.prompt_tokens,
        cached_tokens=reply.cached_tokens,
        completion_tokens=reply.completion_tokens,
        ttft_seconds=reply.ttft_seconds,
        tokens_per_second=reply.tokens_per_second,
    )


def asked_text(request: Request) -> str:
    """What a request asks, as people would write it."""
    if isinstance(request, ChatRequest):
        return request.messages[-1].content if request.messages else ""
    if isinstance(request, ScoreRequest):
        return request.text
    return request.prompt or " ".join(map(str, request.token_ids))


def name(error: Exception) -> str:
    """What a failure is called in logs and metrics: few names, and never what somebody sent."""
    if isinstance(error, AccessDeniedError) and error.verdict:
        return error.verdict
    return type(error).__name__
