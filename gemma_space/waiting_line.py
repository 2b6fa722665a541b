"""Gradio's queue, where requests wait for a place, with our words for whom it has no room.

Gradio's own queue, when it is full, refuses every event of the page, even the one that settles a
conversation, and says how large it is. Here only what runs a model is refused, with what to do
next. Knows the queue's messages and who waits in it; who may wait is for `admission` and `shares`
to say.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event, Queue
from gradio.route_utils import oauth_token_from_body
from gradio.server_messages import ProcessCompletedMessage
from gradio.utils import error_payload
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gemma_space.alerts import errors_shown
from gemma_space.errors import GemmaSpaceError, TooManyRequestsError
from gemma_space.limits import GENERATION
from gemma_space.observed import Observed
from gemma_space.visitors import Visitor
from gemma_space.visits import caller_of, visitor_of

LATER_SECONDS = 60  # as the sentence says
Pushed = tuple[bool, Any, Literal["success", "error", "queue_full", "validator_error"]]


class WaitingLine(Queue):
    """The queue.

    Args:
        blocks: whose events wait.
        through_page, through_api: refuse whoever finds no room.
        places: how many events that run a model may run at once.
        most_events: how many of all kinds.
        most_waiting: events of all kinds; only a flood meets this end.
    """

    def __init__(
        self, blocks: gr.Blocks, through_page: Observed, through_api: Observed, *,
        places: int, most_events: int, most_waiting: int,
    ) -> None:  # fmt: skip
        super().__init__(
            live_updates=True, concurrency_count=most_events, update_intervals=1,
            max_size=most_waiting, blocks=blocks, default_concurrency_limit=places,
        )  # fmt: skip
        self._through_page, self._through_api = through_page, through_api

    def counts(self) -> tuple[int, int]:
        """Events that run a model: how many wait, and how many have begun."""
        line = self.event_queue_per_concurrency_id.get(GENERATION)
        return (len(line.queue), line.current_concurrency) if line else (0, 0)

    def visitors(self) -> list[Visitor]:
        """Whose the waiting events that run a model are."""
        line = self.event_queue_per_concurrency_id.get(GENERATION)
        waiting = line.queue if line else []
        return [_visitor(event.fn, event.request, event.data) for event in waiting]

    async def push(
        self, body: PredictBodyInternal, request: Request, username: str | None
    ) -> Pushed:
        """Take an event in, or refuse it: a plain HTTP caller's by its status, any other's as the
        event that it is, for that is how the page and `gradio_client` hear of errors."""
        fn = self.blocks.fns.get(body.fn_index) if body.fn_index is not None else None
        if fn is not None and fn.concurrency_id == GENERATION:
            door = self._through_api if _is_public(fn) else self._through_page
            try:
                with _told_by_status() if body.simple_format else errors_shown():
                    door.require_room(_visitor(fn, request, body))
            except gr.Error as error:
                return True, await self._refused(error, fn, body, request, username), "success"
        return await super().push(body, request, username)

    async def _refused(
        self, error: gr.Error, fn: BlockFunction, body: PredictBodyInternal, request: Request,
        username: str | None,
    ) -> str:  # fmt: skip
        """The id of an event that is over, told of as Gradio tells of any that failed."""
        event = Event(body.session_hash, fn, request, username)
        async with self.pending_message_lock:
            if event.session_hash not in self.pending_messages_per_session:
                self.pending_messages_per_session[event.session_hash] = asyncio.Queue()
            self.pending_event_ids_session.setdefault(event.session_hash, set()).add(event._id)
        self.event_ids_to_events[event._id] = event
        content = error_payload(error, False)
        self.send_message(
            event, ProcessCompletedMessage(output=content, title="Error", success=False)
        )
        return event._id


@contextmanager
def _told_by_status() -> Iterator[None]:
    """Turn a refusal into the HTTP answer that says so."""
    try:
        yield
    except GemmaSpaceError as error:
        status, seconds = 503, LATER_SECONDS
        if isinstance(error, TooManyRequestsError):
            status, seconds = 429, error.retry_seconds
        raise HTTPException(status, str(error), {"Retry-After": str(seconds)}) from None


def _is_public(fn: BlockFunction) -> bool:
    return fn.api_visibility == "public"


def _visitor(fn: BlockFunction, request: Request, body: PredictBodyInternal | None) -> Visitor:
    """Who asks, as the handler will be told."""
    asked = gr.Request(request)  # type: ignore[arg-type]
    token = oauth_token_from_body(body) if body else None
    return caller_of(asked, token) if _is_public(fn) else visitor_of(asked, token)
