"""Our OpenAI route against `transformers serve`: two real servers, one checkpoint, one client.

`python -m benchmarks.serve` writes a random Gemma 3 of about 300 million parameters, serves it in
bf16 by this app, by `transformers serve` and by `transformers serve --continuous-batching`, and
asks `/v1/chat/completions` of each in turn: one visitor, eight at once, a conversation of ten
turns. With continuous batching that server takes the sampling of the first request for all others,
so it is measured beside the plain one and not instead of it. At the end: how much memory each has.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gemma_space.environment import set_library_defaults

set_library_defaults()

import httpx  # noqa: E402
import psutil  # noqa: E402

from benchmarks.app_process import resident_bytes, served  # noqa: E402
from benchmarks.engine import Timed, together, write_checkpoint  # noqa: E402
from benchmarks.figure import Figure, Pair, figures_of, main  # noqa: E402
from benchmarks.visitors import compared, rate  # noqa: E402
from gemma_space.types import Message  # noqa: E402
from tests.transformers_serve import TransformersServe  # noqa: E402

THEIRS = {
    "`transformers serve`": (),
    "`transformers serve --continuous-batching`": ("--continuous-batching",),
}
REPLY_SECONDS = 600


class Route:
    """A server's `/v1/chat/completions`, and its process."""

    def __init__(self, url: str, model: str, process: psutil.Process) -> None:
        self._url, self._model, self.process = url, model, process

    def reply(self, messages: Sequence[Message], tokens: int) -> tuple[str, Timed]:
        """A greedy reply of so many tokens, and when its pieces came."""
        body = {
            "model": self._model, "max_tokens": tokens, "temperature": 0, "stream": True,
            "messages": [{"role": one.role, "content": one.content} for one in messages],
        }  # fmt: skip
        timed, text = Timed(), ""
        path = f"{self._url}/v1/chat/completions"
        with httpx.stream("POST", path, json=body, timeout=REPLY_SECONDS) as answer:
            if answer.status_code != 200:
                raise RuntimeError(f"{path}: {answer.read()[:500].decode()}")
            for line in answer.iter_lines():
                if piece := _piece(line):
                    timed.token()
                    text += piece
        return text, timed


def _piece(line: str) -> str:
    """The text in one line of a stream; most lines have none."""
    data = line.removeprefix("data: ")
    if data == line or data == "[DONE]":
        return ""
    choices = json.loads(data).get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


@contextmanager
def transformers_serve(home: Path, model: str, options: Sequence[str]) -> Iterator[Route]:
    """It as it comes, with all the threads that the machine has."""
    server = TransformersServe(home, *options, threads=os.cpu_count() or 1)
    try:
        server.start()
        yield Route(server.url, model, psutil.Process(server.pid))
    finally:
        server.kill()


def measured(ours: Route, theirs: Route, name: str, pairs: int, quick: bool) -> Iterator[Pair]:
    """Both warm, then in turn; their memory at the end."""
    for route in (ours, theirs):
        rate(route.reply, 1, 4)
    for _ in range(pairs):
        yield from compared(ours.reply, theirs.reply, name, quick)
    yield Pair(name="resident memory of the server after all that", unit="bytes",
               ours=resident_bytes(ours.process), baseline=name,
               theirs=resident_bytes(theirs.process))  # fmt: skip


def figures(pairs: int, quick: bool) -> list[Figure]:
    """Serve it by each in turn, beside ours."""
    found: list[Pair] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "gemma-random")
        together([lambda: write_checkpoint(folder, quick)])
        for number, (name, options) in enumerate(THEIRS.items()):
            with (
                served(GEMMA_SPACE_MODELS=str(folder)) as (url, process),
                transformers_serve(Path(scratch, str(number)), str(folder), options) as theirs,
            ):
                ours = Route(url, f"{folder}:bf16", process)
                found += measured(ours, theirs, name, pairs, quick)
    return figures_of(found)


if __name__ == "__main__":
    main(__doc__, figures, pairs=3)
