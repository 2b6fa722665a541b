"""One request to one server, as the engine's own chunks.

Knows the order: body, wire, chunks, the time limit. Does not know which server is asked, nor what
is done when it fails.
"""

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from gemma_space.chunks import GenerationChunk
from gemma_space.remote.answers import chunks
from gemma_space.remote.probing import Ask, Reply, Route
from gemma_space.remote.wire import Wire
from gemma_space.types import SamplingParams

EOS_FOLLOWED = "The server ended at the end of the turn although it was asked to go on."


def trial(wire: Wire, url: str, model: str) -> Ask:
    """A way to ask one server for a few tokens and wait for them."""

    def ask(route: Route, prompt: Any, body: dict[str, Any]) -> Reply:
        if route == "chat":
            answers = wire.chat(url, model, prompt, body)
        else:
            answers = wire.complete(url, body | {"model": model, "prompt": prompt})
        found = list(chunks(answers, chat=route == "chat"))
        return Reply(
            text="".join(chunk.thinking + chunk.text for chunk in found),
            scored=any(chunk.pieces for chunk in found),
            usage=found[-1].usage,
        )

    return ask


def limited(
    source: Generator[GenerationChunk], params: SamplingParams, max_time: float | None
) -> Generator[GenerationChunk]:
    """The chunks until the time is over, which begins with the first that writes; and what of the
    request was not kept to."""
    end: float | None = None
    with closing(source):
        for chunk in source:
            if max_time is not None and chunk.writes and end is None:
                end = time.monotonic() + max_time
            if end is not None and time.monotonic() > end and not chunk.finish_reason:
                yield GenerationChunk(text=chunk.text, thinking=chunk.thinking,
                                      pieces=chunk.pieces, finish_reason="time_limit")  # fmt: skip
                return
            if params.ignore_eos and chunk.finish_reason == "stop":
                yield GenerationChunk(finish_reason="stop", usage=chunk.usage,
                                      notes=(EOS_FOLLOWED,))  # fmt: skip
                return
            yield chunk
