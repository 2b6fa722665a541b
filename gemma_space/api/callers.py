"""What all endpoints share: who calls, arguments that came as JSON, streams."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import gradio as gr

from gemma_space.alerts import errors_shown
from gemma_space.errors import InvalidRequestError
from gemma_space.pacing import paced
from gemma_space.visitors import Visitors
from gemma_space.visits import visitor_of

UPDATE_SECONDS = 0.05
MCP_HEADER = "x-gradio-user"  # how Gradio marks what its MCP server passes on
T = TypeVar("T")


async def stream(
    source: Callable[[], Iterator[T]], seconds: float = UPDATE_SECONDS
) -> AsyncIterator[T]:
    """The newest state of a use case, paced, with errors in words."""
    with errors_shown():
        async for item in paced(source, seconds):
            yield item


def caller_tokens(
    visitors: Visitors,
) -> Callable[[gr.Request | None, gr.OAuthToken | None], str | None]:
    """How to find a caller's token: their own, else the server's login for its own machine.

    What was pasted into the page is the browser's; a caller has no part in it. Over MCP a token
    comes as a header, because a tool's arguments are no place for it.
    """

    def token_of(caller: gr.Request | None, oauth_token: gr.OAuthToken | None) -> str | None:
        if oauth_token is None and caller is not None and caller.request is not None:
            over_mcp = caller.headers.get(MCP_HEADER) == "mcp"
            found = bearer_token(caller.headers) if over_mcp else None
            oauth_token = gr.OAuthToken(token=found, scope="", expires_at=0) if found else None
        return visitors.token(replace(visitor_of(caller, oauth_token), key=""))

    return token_of


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The Hub token in an `Authorization` header; other keys, which many clients insist on
    sending, count as none."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    return value if scheme.lower() == "bearer" and value.startswith("hf_") else None


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
