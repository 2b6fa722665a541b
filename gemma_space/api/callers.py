"""What all endpoints share: whose token acts, arguments that came as JSON, streams."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import gradio as gr

from gemma_space.alerts import errors_shown
from gemma_space.errors import InvalidRequestError
from gemma_space.observed import Observed
from gemma_space.pacing import paced
from gemma_space.visitors import Visitor
from gemma_space.visits import caller_of

UPDATE_SECONDS = 0.05
T = TypeVar("T")


class Callers:
    """With which token they call, and how much of the server they may have.

    What was pasted into the page is the browser's; a caller has no part in it.
    """

    def __init__(self, door: Observed) -> None:
        self._door = door

    def token(self, caller: gr.Request | None, oauth_token: gr.OAuthToken | None) -> str | None:
        """A caller's token: their own, else the server's login for its own machine."""
        return self._door.visitors.token(replace(caller_of(caller, oauth_token), key=""))

    def held(self, visitor: Visitor, source: Callable[[], Iterator[T]]) -> Iterator[T]:
        """What `source()` gives, as one of the requests that this caller may have at once.

        Raises:
            TooManyRequestsError: before the source begins.
        """
        with self._door.hold(visitor):
            yield from source()

    async def stream(
        self, visitor: Visitor, source: Callable[[], Iterator[T]], seconds: float = UPDATE_SECONDS
    ) -> AsyncIterator[T]:
        """The newest state of a use case, counted, paced, with errors in words."""
        with errors_shown():
            async for item in paced(lambda: self.held(visitor, source), seconds):
                yield item


def text_in(name: str, value: object) -> str:
    """A parameter that must be a text.

    Raises:
        InvalidRequestError: it is not.
    """
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} must be a text.", "Send it as a JSON string.")
    return value


def flag_in(name: str, value: object) -> bool:
    """A parameter that must be true or false.

    Raises:
        InvalidRequestError: it is not.
    """
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{name} must be true or false.", "Send a JSON boolean.")
    return value


def stop_in(value: object) -> tuple[str, ...]:
    """Lists become tuples; anything odd is passed on for `controls` to refuse in words."""
    return tuple(value) if isinstance(value, list) else value  # type: ignore[return-value]
