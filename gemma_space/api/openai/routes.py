"""The routes themselves: who asks, what is read, and how the answer goes out.

A caller who hangs up ends the generation within a step, whether the answer streams or not.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import gradio as gr
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gemma_space.api.callers import UPDATE_SECONDS, Callers
from gemma_space.api.openai.bodies import ChatBody, CompletionBody, named
from gemma_space.api.openai.errors import RefusedBody, error_answer, event, refused
from gemma_space.api.openai.shapes import Shape
from gemma_space.catalog import Checkpoint
from gemma_space.observed import Observed
from gemma_space.pacing import paced
from gemma_space.types import Generation, ScoredPiece, Scoring
from gemma_space.visits import bearer_token, caller_of

MAX_BODY_BYTES = 16_000_000
QUIET_SECONDS = 10.0  # proxies cut what says nothing
HUNG_UP = 499
B = TypeVar("B", ChatBody, CompletionBody)
Source = Callable[[], Iterator[Any]]
_END = object()


def routes(playground: Observed, callers: Callers) -> list[Route]:
    """What is served under `/v1`."""
    served = _Served(playground, callers)
    return [
        Route("/v1/models", served.models, methods=["GET"]),
        Route("/v1/models/{model:path}", served.model, methods=["GET"]),
        Route("/v1/chat/completions", served.chat, methods=["POST"]),
        Route("/v1/completions", served.completions, methods=["POST"]),
        Route("/v1/{path:path}", _nothing_here, methods=["GET", "POST", "PUT", "DELETE"]),
    ]


class _Served:
    """The handlers."""

    def __init__(self, playground: Observed, callers: Callers) -> None:
        self._playground = playground
        self._callers = callers

    async def models(self, request: Request) -> Response:
        rows = self._playground.library.choices()
        return JSONResponse({"object": "list", "data": [_row(row) for row in rows]})

    async def model(self, request: Request) -> Response:
        async def told() -> Response:
            name, _ = named(request.path_params["model"])
            row = await asyncio.to_thread(self._playground.library.find, name, self._token(request))
            return JSONResponse(_row(row))

        return await _answered(told)

    async def chat(self, request: Request) -> Response:
        request_id = secrets.token_hex(12)

        async def told() -> Response:
            body, token = await _read(request, ChatBody), self._token(request)
            asked = body.request()
            shape = Shape(
                f"chatcmpl-{request_id}", True, body.model,
                body.top_logprobs if body.logprobs else None,
            )  # fmt: skip
            source = self._source(request, self._playground.chat, asked, token, request_id)
            return await _replied(request, source, shape, body)

        return await _answered(told, request_id)

    async def completions(self, request: Request) -> Response:
        request_id = secrets.token_hex(12)

        async def told() -> Response:
            body, token = await _read(request, CompletionBody), self._token(request)
            asked = body.request()
            shape = Shape(
                f"cmpl-{request_id}", False, body.model, body.logprobs,
                asked.prompt if body.echo else "",
            )  # fmt: skip
            scores: tuple[ScoredPiece, ...] = ()
            if body.only_scores or (body.echo and body.logprobs is not None):
                scored = await self._scored(request, body, token, request_id)
                if body.only_scores:
                    return JSONResponse(shape.scored(scored))
                scores = scored.tokens
            source = self._source(request, self._playground.complete, asked, token, request_id)
            return await _replied(request, source, shape, body, scores)

        return await _answered(told, request_id)

    async def _scored(
        self, request: Request, body: CompletionBody, token: str | None, request_id: str
    ) -> Scoring:
        asked = body.score_request()
        source = self._source(request, self._playground.score, asked, token, request_id)
        return await _last(request, source)

    def _source(
        self, request: Request, use: Callable[..., Iterator[Any]], *arguments: Any
    ) -> Source:
        """A use case, counted as one of the caller's."""
        visitor = caller_of(*_caller(request))
        return lambda: self._callers.held(visitor, lambda: use(*arguments))

    def _token(self, request: Request) -> str | None:
        """The caller's own token, else the login of whoever runs the server, for them alone."""
        return self._callers.token(*_caller(request))


def _caller(request: Request) -> tuple[gr.Request, gr.OAuthToken | None]:
    """Who asks, as Gradio would say it."""
    found = bearer_token(request.headers)
    written = gr.OAuthToken(token=found, scope="", expires_at=0) if found else None
    return gr.Request(request), written  # type: ignore[arg-type]


async def _answered(told: Callable[[], Awaitable[Response]], request_id: str = "") -> Response:
    """A handler's answer, or the error it met in the shape that clients read."""
    try:
        response = await told()
    except ClientDisconnect:
        response = Response(status_code=HUNG_UP)
    except Exception as error:
        status, body, headers = error_answer(error)
        response = JSONResponse(body, status, headers)
    if request_id:
        response.headers["x-request-id"] = request_id
    return response


async def _read(request: Request, kind: type[B]) -> B:
    """The body of a request.

    A page of another site can send no JSON here unasked: the browser asks first.

    Raises:
        RefusedBody: it is too large, no JSON, or not what the route takes.
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise RefusedBody(
            "The body is not declared as JSON.", "Send Content-Type: application/json."
        )
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise RefusedBody(
                f"The body is larger than {MAX_BODY_BYTES:,} bytes.", "Send less.", status=413
            )
    try:
        return kind.model_validate_json(bytes(raw))
    except ValidationError as error:
        raise refused(error) from None


async def _gone(request: Request) -> None:
    """Returns when the caller hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _heard(request: Request, source: Source) -> AsyncGenerator[Any]:
    """The states of a use case, as long as somebody listens.

    Raises:
        ClientDisconnect: nobody does any more; the use case is closed then.
    """
    updates = paced(source, UPDATE_SECONDS)
    gone: asyncio.Future[Any] = asyncio.ensure_future(_gone(request))
    step: asyncio.Future[Any] = gone
    try:
        while True:
            step = asyncio.ensure_future(anext(updates, _END))
            await asyncio.wait({step, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientDisconnect
            if step.result() is _END:
                return
            yield step.result()
    finally:
        step.cancel()
        gone.cancel()
        await asyncio.gather(step, gone, return_exceptions=True)
        await updates.aclose()


async def _last(request: Request, source: Source) -> Any:
    """The last state of a use case."""
    last: Any = None
    async for update in _heard(request, source):
        last = update
    return last


async def _replied(
    request: Request, source: Source, shape: Shape, body: ChatBody | CompletionBody,
    scores: tuple[ScoredPiece, ...] = (),
) -> Response:  # fmt: skip
    """A reply in the way that its caller asked for.

    Args:
        scores: the prompt's own, where they are wanted; a stream has no place for them.
    """
    if body.stream:
        return await _streamed(request, source, shape, body.wants_usage)
    return JSONResponse(shape.whole(await _last(request, source), scores))


async def _streamed(request: Request, source: Source, shape: Shape, usage: bool) -> Response:
    """Begin to answer in events; what goes wrong before the first one still has a status."""
    events = _events(request, source, shape, usage)
    first = await anext(events)

    async def all_events() -> AsyncGenerator[str]:
        try:
            yield first
            async for told in events:
                yield told
        except ClientDisconnect:
            return
        except Exception as error:
            yield event(error_answer(error)[1])
        finally:
            await events.aclose()

    return _Events(all_events())


async def _events(
    request: Request, source: Source, shape: Shape, usage: bool
) -> AsyncGenerator[str]:
    before: Generation | None = None
    spoke = time.monotonic()
    async for update in _heard(request, source):
        piece = shape.piece(update, before) if isinstance(update, Generation) else None
        if piece is not None:
            before, spoke = update, time.monotonic()
            yield event(piece)
        elif time.monotonic() - spoke > QUIET_SECONDS:
            spoke = time.monotonic()
            yield ": waiting\n\n"
    if usage and before is not None:
        yield event(shape.last(before))
    yield "data: [DONE]\n\n"


class _Events(StreamingResponse):
    """Server-sent events, closed at once when sending ends, whyever."""

    def __init__(self, events: AsyncGenerator[str]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


def _row(row: Checkpoint) -> dict[str, Any]:
    owner, slash, _ = row.repo_id.partition("/")
    return {
        "id": row.repo_id,
        "object": "model",
        "created": 0,
        "owned_by": owner if slash and owner else "local",
        "max_model_len": row.context_length,
    }


async def _nothing_here(request: Request) -> Response:
    error = RefusedBody(
        f"There is no {request.method} {request.url.path} here.",
        "Served are /v1/models, /v1/chat/completions and /v1/completions.",
        code="unknown_url", status=404,
    )  # fmt: skip
    status, body, _ = error_answer(error)
    return JSONResponse(body, status)
