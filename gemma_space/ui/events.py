"""The one door to Gradio events.

Knows how every listener of the page is wired: private, inputs a set, outputs a dict, errors in
words. Does not know what a handler does.
"""

import functools
import html
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Any, Literal

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.context import Context

from gemma_space.alerts import errors_shown
from gemma_space.limits import MAX_GENERATIONS

Values = Mapping[Component, Any]
Updates = dict[Block, Any]
Handler = Callable[..., Any]


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
    generates: bool = False,
) -> Any:
    """Call `handler` whenever one of `triggers` fires; no triggers means when the page loads.

    Args:
        handler: a plain function or an async generator function; None for `js` or `cancels` alone.
        inputs: passed as one mapping from component to value, unless empty.
        js: runs in the browser before the handler, or instead of it. With a handler it must not
            take inputs: a set has no order.
        generates: it shares the places of all events that run a model, the API's included.
        on_error: what to show in place of a toast, given the error's sentence and what the
            handler was given; of a stream, with its updates so far.

    Returns:
        the event; `.then` of it is a trigger too.
    """
    options: dict[str, Any] = {
        "fn": _guarded(handler, on_error) if handler is not None else None,
        "inputs": (set(inputs) if handler is not None else list(inputs)) or None,
        "outputs": list(outputs),
        "js": js,
        "cancels": list(cancels),
        "trigger_mode": trigger_mode,
        "show_progress": show_progress,
        "api_visibility": "private",
        "concurrency_limit": MAX_GENERATIONS if generates else None,
        "concurrency_id": "generation" if generates else None,
    }
    if len(triggers) > 1:
        return gr.on(list(triggers), **options)
    trigger = triggers[0] if triggers else _page_load()
    return trigger(**options)  # `gr.on` does not take `.then`


def _page_load() -> Any:
    # `gr.on` without triggers would also follow every change of an input.
    if Context.root_block is None:
        raise RuntimeError("listen() belongs inside a gr.Blocks")
    return Context.root_block.load


def _guarded(handler: Handler, on_error: Callable[..., Updates] | None) -> Handler:
    if inspect.isasyncgenfunction(handler):
        return _guarded_stream(handler, on_error)

    def run(*args: Any) -> Any:
        with errors_shown():
            return handler(*args)

    @functools.wraps(handler)
    def run_or_show(*args: Any) -> Any:
        try:
            return run(*args)
        except gr.Error as error:
            if on_error is None:
                raise
            return on_error(_words(error), *args)

    return run_or_show


def _guarded_stream(handler: Handler, on_error: Callable[..., Updates] | None) -> Handler:
    @functools.wraps(handler)
    async def run(values: Values, *args: Any) -> AsyncGenerator[Updates]:
        shown = dict(values)  # what the page has by now, for whoever explains an error
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


def _words(error: gr.Error) -> str:
    # Escaped for a toast; whoever shows it here takes it as text.
    return html.unescape(str(error.message))
