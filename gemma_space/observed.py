"""The playground as one way in sees it: every stream admitted, followed and told of when it ends.

The page, the endpoints and the routes are each given one of these, so nothing else counts, logs
or waits. Knows when a request came, waited, began to answer and ended, and whom it refused. Does
not know what becomes of that; `journal` and `metrics` do.
"""

import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import TypeVar

from gemma_space.admission import CLOSED, Admission
from gemma_space.errors import GemmaSpaceError, ServerClosingError
from gemma_space.library import Library
from gemma_space.prompt_help import PromptHelp
from gemma_space.reports import LoadProgress
from gemma_space.served import Course, Request, Served, asked_text, name
from gemma_space.shares import Shares
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Generation,
    Message,
    PromptPiece,
    RenderedChat,
    SamplingParams,
    ScoreRequest,
    Scoring,
    Tokenization,
)
from gemma_space.use_cases import UseCases
from gemma_space.visitors import Visitor, Visitors

IN_LINE = "All places are taken; this request waits for one, {before} before it."
NEXT_IN_LINE = "All places are taken; this request gets the next one."
CUT_OFF = "The server was shut down before the reply was complete."
T = TypeVar("T", Generation, Scoring)


class Observed:
    """A playground behind one way in; what is no stream is the playground's own.

    Args:
        door: the way in, such as `page`.
        admission: shared by all ways in.
        shares: what each visitor may have, shared by all ways in.
        listeners: told of each request once it is over.
        refuses: turn newcomers away when too many wait, because nothing before did.
    """

    def __init__(
        self,
        playground: UseCases,
        door: str,
        admission: Admission,
        shares: Shares,
        listeners: Sequence[Callable[[Served], None]],
        refuses: bool = False,
    ) -> None:
        self._playground = playground
        self._door = door
        self._admission = admission
        self._shares = shares
        self._listeners = listeners
        self._refuses = refuses

    # --- who may begin --------------------------------------------------------------------------

    @contextmanager
    def hold(self, visitor: Visitor) -> Iterator[None]:
        """Have one request of this visitor count until the block ends.

        Raises:
            TooManyRequestsError: they have as many as they may.
        """
        with ExitStack() as held:
            with self._refusals_told():
                held.enter_context(self._shares.hold(visitor))
            yield

    def require_room(self, visitor: Visitor) -> None:
        """Refuse what could not stand in line now, before anything is changed for it.

        Raises:
            BusyError, ServerClosingError: see `Admission.require_room`.
            TooManyRequestsError: see `Shares.require_place`.
        """
        with self._refusals_told():
            self._admission.require_room()
            self._shares.require_place(visitor)

    @contextmanager
    def _refusals_told(self) -> Iterator[None]:
        try:
            yield
        except GemmaSpaceError as error:
            self._tell(Served(endpoint=self._door, outcome=name(error)))
            raise

    # --- what is followed -----------------------------------------------------------------------

    def load(
        self, model: str, precision_name: str = "auto", token: str | None = None,
        attention_name: str = "auto",
    ) -> Generator[LoadProgress]:  # fmt: skip
        """As the playground's; it needs no place."""
        asked = Served(model=str(model), precision=str(precision_name))
        with self._followed("load", asked) as course:
            yield from self._playground.load(model, precision_name, token, attention_name)
            course.outcome = "ready"

    def chat(
        self, request: ChatRequest, token: str | None = None, request_id: str = ""
    ) -> Generator[LoadProgress | Generation]:
        """As the playground's; `request_id` names it in the log."""
        updates = self._playground.chat(request, token)
        return self._admitted("chat", request, updates, request_id)

    def complete(
        self, request: CompletionRequest, token: str | None = None, request_id: str = ""
    ) -> Generator[LoadProgress | Generation]:
        """As the playground's; `request_id` names it in the log."""
        updates = self._playground.complete(request, token)
        return self._admitted("generate", request, updates, request_id)

    def score(
        self, request: ScoreRequest, token: str | None = None, request_id: str = ""
    ) -> Generator[LoadProgress | Scoring]:
        """As the playground's; `request_id` names it in the log."""
        updates = self._playground.score(request, token)
        return self._admitted("score", request, updates, request_id)

    def _admitted(
        self, use: str, request: Request, updates: Generator[LoadProgress | T], request_id: str
    ) -> Generator[LoadProgress | T]:
        asked = Served(
            request_id=request_id, model=request.model, precision=str(request.precision),
            prompt=asked_text(request),
        )  # fmt: skip
        with self._followed(use, asked) as course, closing(updates):
            with self._admission.enter(self._refuses) as turn:
                for before in turn:
                    course.has_waited()
                    note = IN_LINE.format(before=before) if before else NEXT_IN_LINE
                    yield LoadProgress(phase="access", note=note)
                for update in self._until_closed(updates):
                    course.reply = update if isinstance(update, Generation | Scoring) else None
                    yield update
            course.outcome = "scored"

    @contextmanager
    def _followed(self, use: str, asked: Served) -> Iterator[Course]:
        """Tell of a request once it is over, whichever way it ends."""
        course = Course()
        try:
            yield course
        except Exception as error:
            course.outcome = name(error)
            raise
        finally:
            self._tell(course.over(replace(asked, endpoint=f"{self._door}/{use}")))

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
        named = replace(served, request_id=served.request_id or secrets.token_hex(8))
        for listener in self._listeners:
            listener(named)

    # --- what is the playground's own ------------------------------------------------------------

    @property
    def default_model(self) -> str:
        return self._playground.default_model

    @property
    def library(self) -> Library:
        return self._playground.library

    @property
    def prompts(self) -> PromptHelp:
        return self._playground.prompts

    @property
    def visitors(self) -> Visitors:
        return self._playground.visitors

    def default_params(self, model: str, token: str | None = None) -> SamplingParams:
        """As the playground's."""
        return self._playground.default_params(model, token)

    def max_new_tokens(self, model: str, token: str | None = None) -> int:
        """As the playground's."""
        return self._playground.max_new_tokens(model, token)

    def tokenize(
        self, text: str, model: str, parse_special: bool = True, token: str | None = None
    ) -> Tokenization:
        """As the playground's."""
        return self._playground.tokenize(text, model, parse_special, token)

    def render_chat(
        self, messages: Sequence[Message], model: str, system_prompt: str = "",
        token: str | None = None, thinking: bool | None = None,
    ) -> RenderedChat:  # fmt: skip
        """As the playground's."""
        return self._playground.render_chat(messages, model, system_prompt, token, thinking)

    def given(self, request: ChatRequest, token: str | None = None) -> RenderedChat:
        """As the playground's."""
        return self._playground.given(request, token)

    def pieces(
        self, ids: tuple[int, ...], model: str, token: str | None = None
    ) -> tuple[PromptPiece, ...]:
        """As the playground's."""
        return self._playground.pieces(ids, model, token)
