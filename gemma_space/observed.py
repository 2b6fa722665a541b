"""The playground as one way in sees it: every stream admitted, followed and told of when it ends.

The page, the endpoints and the routes are each given one of these, so nothing else counts, logs
or waits. Knows when a request came, waited, began to answer and ended. Does not know what becomes
of that; `journal` and `metrics` do.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from gemma_space.admission import CLOSED, Admission
from gemma_space.errors import AccessDeniedError, ServerClosingError
from gemma_space.playground import Playground
from gemma_space.reports import LoadProgress
from gemma_space.types import ChatRequest, CompletionRequest, Generation, ScoreRequest, Scoring

IN_LINE = "All places are taken; this request waits for one."
CUT_OFF = "The server was shut down before the reply was complete."
Request = ChatRequest | CompletionRequest | ScoreRequest
T = TypeVar("T", Generation, Scoring)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A request that is over.

    Attributes:
        endpoint: the way in and the use case, such as `openai/chat`.
        outcome: the finish reason, "scored", "cancelled" where nobody listened any more, or why
            it failed: the error's name.
        precision: the one used; the one asked for where it did not come so far.
        seconds: from its arrival to its end; `waited_seconds` of these it had no place.
        prompt: what was asked, for a log that is to have it.
    """

    request_id: str
    endpoint: str
    model: str
    precision: str
    outcome: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0
    ttft_seconds: float | None = None
    tokens_per_second: float | None = None
    prompt: str = field(default="", repr=False)


class Observed:
    """A playground behind one way in; all but its streams is the playground's own.

    Args:
        door: the way in, such as `page`.
        admission: shared by all ways in.
        listeners: told of each request once it is over.
        refuses: turn newcomers away when too many wait, because nothing before did.
    """

    def __init__(
        self,
        playground: Playground,
        door: str,
        admission: Admission,
        listeners: Sequence[Callable[[Served], None]],
        refuses: bool = False,
    ) -> None:
        self._playground = playground
        self._door = door
        self._admission = admission
        self._listeners = listeners
        self._refuses = refuses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._playground, name)

    def chat(
        self, request: ChatRequest, token: str | None = None, request_id: str = ""
    ) -> Iterator[LoadProgress | Generation]:
        """As the playground's; `request_id` names it in the log."""
        updates = self._playground.chat(request, token)
        return self._follow("chat", request, updates, request_id)

    def complete(
        self, request: CompletionRequest, token: str | None = None, request_id: str = ""
    ) -> Iterator[LoadProgress | Generation]:
        """As the playground's; `request_id` names it in the log."""
        updates = self._playground.complete(request, token)
        return self._follow("generate", request, updates, request_id)

    def score(
        self, request: ScoreRequest, token: str | None = None, request_id: str = ""
    ) -> Iterator[LoadProgress | Scoring]:
        """As the playground's; `request_id` names it in the log."""
        updates = self._playground.score(request, token)
        return self._follow("score", request, updates, request_id)

    def _follow(
        self, use: str, request: Request, updates: Any, request_id: str
    ) -> Iterator[LoadProgress | T]:
        came = began = time.monotonic()
        last: LoadProgress | T | None = None
        outcome = "cancelled"
        try:
            with closing(updates), self._admission.enter(self._refuses) as turn:
                for _ in turn:
                    began = time.monotonic()
                    yield LoadProgress(phase="access", seconds=began - came, note=IN_LINE)
                for update in self._until_closed(updates):
                    last = update
                    yield update
            outcome = "scored"
        except Exception as error:
            outcome = _name(error)
            raise
        finally:
            reply = last if isinstance(last, Generation | Scoring) else None
            if isinstance(reply, Generation):  # whoever has the whole reply may stop listening
                outcome = reply.finish_reason or ("cancelled" if outcome == "scored" else outcome)
            self._tell(
                replace(
                    _served(request, reply),
                    request_id=request_id or secrets.token_hex(8),
                    endpoint=f"{self._door}/{use}",
                    outcome=outcome,
                    seconds=time.monotonic() - came,
                    waited_seconds=began - came,
                )
            )

    def _until_closed(self, updates: Iterator[LoadProgress | T]) -> Iterator[LoadProgress | T]:
        """The updates; when those running are to end, the reply so far is the last."""
        for update in updates:
            over = isinstance(update, Generation) and update.finish_reason
            if not self._admission.ending or over:
                yield update
            elif isinstance(update, Generation):
                yield replace(update, finish_reason="cancelled", notes=(*update.notes, CUT_OFF))
                return
            else:
                raise ServerClosingError(*CLOSED)

    def _tell(self, served: Served) -> None:
        for listener in self._listeners:
            listener(served)


def _served(request: Request, reply: Generation | Scoring | None) -> Served:
    told = Served(
        request_id="", endpoint="", model=request.model, precision=str(request.precision),
        outcome="", prompt=_asked(request),
    )  # fmt: skip
    if isinstance(reply, Scoring):
        return replace(told, precision=reply.precision, prompt_tokens=len(reply.tokens))
    if reply is None:
        return told
    return replace(
        told,
        precision=reply.precision,
        prompt_tokens=reply.prompt_tokens,
        cached_tokens=reply.cached_tokens,
        completion_tokens=reply.completion_tokens,
        ttft_seconds=reply.ttft_seconds,
        tokens_per_second=reply.tokens_per_second,
    )


def _asked(request: Request) -> str:
    if isinstance(request, ChatRequest):
        return request.messages[-1].content if request.messages else ""
    if isinstance(request, ScoreRequest):
        return request.text
    return request.prompt or " ".join(map(str, request.token_ids))


def _name(error: Exception) -> str:
    """What a failure is called in logs and metrics: few names, and never what somebody sent."""
    if isinstance(error, AccessDeniedError) and error.verdict:
        return error.verdict
    return type(error).__name__
