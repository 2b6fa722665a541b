"""The one door to Gradio events.

Knows how every listener of the page is wired: private, inputs a set, outputs a dict, errors in
words, and with whose token. Does not know what a handler does.
"""

import functools
import html
import inspect
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_type_hints

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.context import Context

from gemma_space.alerts import errors_shown
from gemma_space.errors import InvalidRequestError
from gemma_space.limits import GENERATION
from gemma_space.observed import Observed
from gemma_space.visitors import Visitor, Visitors
from gemma_space.visits import visitor_of

Updates = dict[Block, Any]
Handler = Callable[..., Any]
_ASKED: ContextVar[tuple[Visitors, Observed | None]] = ContextVar("asked")


class Values(dict[Any, Any]):
    """What the page holds, by component, and who asks.

    Attributes:
        visitor: where the request came from.
        token: the Hub token that acts for them; None without one.
    """

    def __init__(
        self,
        shown: Mapping[Component, Any],
        visitor: Visitor | None = None,
        token: str | None = None,
    ) -> None:
        super().__init__(shown)
        self.visitor = visitor or Visitor()
        self.token = token


@contextmanager
def asked_by(visitors: Visitors, door: Observed | None = None) -> Iterator[None]:
    """Every `listen` inside the block tells its handler who asks; what costs much is counted at
    the door, where there is one."""
    mark = _ASKED.set((visitors, door))
    try:
        yield
    finally:
        _ASKED.reset(mark)


def listen(
    triggers: Sequence[Any],
    handler: Handler | None,
    inputs: AbstractSet[Component] = frozenset(),
    outputs: Sequence[Block] = (),
    *,
    js: str | None = None,
    cancels: Sequence[Any] = (),
    on_error: Callable[..., Updates] | None = None,
    trigger_mode: Literal["once", "multiple", "always_last"] | None = None,
    show_progress: Literal["full", "minimal", "hidden"] = "hidden",
    asks: bool = False,
    generates: bool = False,
    counts: bool = False,
    at_once: int | None = None,
) -> Any:
    """Call `handler` whenever one of `triggers` fires; no triggers means when the page loads.

    Args:
        handler: a plain function or an async generator function; None for `js` or `cancels` alone.
        inputs: passed as one mapping from component to value, unless empty.
        js: runs in the browser before the handler, or instead of it. With a handler it must not
            take inputs: a set has no order.
        asks: a plain function that prepares what runs a model next: refused, before anything on
            the page has changed, while no more requests may wait, or no more of the visitor's.
        generates: it shares the places of all events that run a model, the API's included, and
            counts.
        counts: a stream is one of the requests that a visitor may have at once.
        at_once: how many of it may run for all visitors together; the rest waits unseen.
        on_error: what to show in place of a toast, given the error's sentence and what the
            handler was given; of a stream, with its updates so far.

    Returns:
        the event; `.then` of it is a trigger too.
    """
    options: dict[str, Any] = {
        "fn": _guarded(handler, on_error, bool(inputs), asks, generates or counts)
        if handler is not None
        else None,
        "inputs": (set(inputs) if handler is not None else list(inputs)) or None,
        "outputs": list(outputs),
        "js": js,
        "cancels": list(cancels),
        "trigger_mode": trigger_mode,
        "show_progress": show_progress,
        "api_visibility": "private",
        "concurrency_limit": "default" if generates else at_once,
        "concurrency_id": GENERATION if generates else None,
    }
    if len(triggers) > 1:
        return gr.on(list(triggers), **options)
    trigger = triggers[0] if triggers else _page_load()
    return trigger(**options)  # `gr.on` does not take `.then`


class Gathered:
    """Many components' values in one unseen component, put there by the browser when asked to.

    A browser looks through the whole page for each component that any event has taken or set,
    every time the server says something: an event before a stream had better take few.
    """

    def __init__(self, inputs: AbstractSet[Component]) -> None:
        self._order = tuple(inputs)
        self.values = gr.Textbox("", visible="hidden")

    def listen(self, triggers: Sequence[Any]) -> Any:
        """Gather whenever one of `triggers` fires; `.then` of the event, the values are there."""
        options: dict[str, Any] = {
            "fn": None, "inputs": list(self._order), "outputs": [self.values],
            "js": "(...values) => JSON.stringify(values)", "api_visibility": "private",
        }  # fmt: skip
        return gr.on(list(triggers), **options)

    def read(self, values: Values) -> Values:
        """With what was gathered. No component has looked at it: a browser may send anything."""
        gathered = json.loads(values[self.values] or "[]")
        if not isinstance(gathered, list) or len(gathered) != len(self._order):
            raise InvalidRequestError("The page sent no values.", "Reload it.")
        found = dict(zip(self._order, gathered, strict=True))
        return Values({**values, **found}, values.visitor, values.token)


def _page_load() -> Any:
    # `gr.on` without triggers would also follow every change of an input.
    if Context.root_block is None:
        raise RuntimeError("listen() belongs inside a gr.Blocks")
    return Context.root_block.load


def _guarded(
    handler: Handler,
    on_error: Callable[..., Updates] | None,
    takes_values: bool,
    asks: bool,
    counts: bool,
) -> Handler:
    visitors, door = _ASKED.get()
    guarded = _guarded_stream if inspect.isasyncgenfunction(handler) else _guarded_call
    inner = handler
    if door is not None:
        inner = _counted(handler, door) if counts else _let_in(handler, door) if asks else handler
    made = guarded(inner, on_error)
    return _asked(handler, made, visitors) if takes_values else functools.wraps(handler)(made)


def _guarded_call(handler: Handler, on_error: Callable[..., Updates] | None) -> Handler:
    def run(*args: Any) -> Any:
        try:
            with errors_shown():
                return handler(*args)
        except gr.Error as error:
            if on_error is None:
                raise
            return on_error(_words(error), *args)

    return run


def _guarded_stream(handler: Handler, on_error: Callable[..., Updates] | None) -> Handler:
    async def run(values: Values, *args: Any) -> AsyncGenerator[Updates]:
        shown = Values(values, values.visitor, values.token)  # what the page has by now
        try:
            with errors_shown():
                async with aclosing(handler(values, *args)) as updates:
                    async for update in updates:
                        shown.update(update)
                        yield update
        except gr.Error as error:
            if on_error is None:
                raise
            yield on_error(_words(error), shown, *args)

    return run


def _let_in(handler: Handler, door: Observed) -> Handler:
    """The call, unless no more requests may wait, or no more of its visitor's."""

    def run(values: Values, *args: Any) -> Updates:
        door.require_room(values.visitor)
        return handler(values, *args)

    return run


def _counted(handler: Handler, door: Observed) -> Handler:
    """The stream, held against what its visitor has on the way already."""

    async def run(values: Values, *args: Any) -> AsyncGenerator[Updates]:
        with door.hold(values.visitor):
            async with aclosing(handler(values, *args)) as updates:
                async for update in updates:
                    yield update

    return run


def _asked(handler: Handler, guarded: Handler, visitors: Visitors) -> Handler:
    """The function that Gradio calls: it asks for the request too, which handlers never see.

    Gradio passes what is special by annotation.
    """
    wanted = list(inspect.signature(handler).parameters.values())
    hints = get_type_hints(handler)

    def told(args: tuple[Any, ...]) -> tuple[Any, ...]:
        values, *rest, request, oauth_token = args
        visitor = visitor_of(request, oauth_token)
        return (Values(values, visitor, visitors.token(visitor)), *rest)

    if inspect.isasyncgenfunction(guarded):

        async def stream(*args: Any) -> AsyncGenerator[Updates]:
            async with aclosing(guarded(*told(args))) as updates:
                async for update in updates:
                    yield update

        asked: Handler = stream
    else:

        def call(*args: Any) -> Any:
            return guarded(*told(args))

        asked = call
    added = {"request": gr.Request, "oauth_token": gr.OAuthToken | None}
    named = [inspect.Parameter(p.name, p.POSITIONAL_OR_KEYWORD) for p in wanted]
    more = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in added]
    asked.__signature__ = inspect.Signature([*named, *more])  # type: ignore[attr-defined]
    asked.__annotations__ = {
        **{p.name: hints[p.name] for p in wanted[1:] if p.name in hints}, **added
    }  # fmt: skip
    return asked


def _words(error: gr.Error) -> str:
    # Escaped for a toast; whoever shows it here takes it as text.
    return html.unescape(str(error.message))
