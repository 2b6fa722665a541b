"""How long a request will take, from how long earlier ones took.

Knows bytes, tokens and seconds; nothing of models.
"""

import time
from collections.abc import Callable

from gemma_space.chunks import GenerationChunk

START_SECONDS = 5.0  # of a process that begins with the GPU
SHARE = 0.3  # of the newest measurement in what is expected next
THERE_SECONDS = 0.1  # a model that is ready sooner was there before


class Pace:
    """How fast earlier requests of one model went; before the first, a cautious guess.

    Attributes:
        load: bytes per second from the files to the GPU.
        read: prompt tokens per second.
        write: new tokens per second.
    """

    def __init__(self) -> None:
        self.load = 1.0 * 2**30
        self.read = 1000.0
        self.write = 15.0
        self._seen: set[str] = set()

    def expected(self, nbytes: int, prompt_tokens: int, new_tokens: int) -> float:
        """Seconds, with a load: whether a process has the model already is not known before."""
        reply = prompt_tokens / self.read + new_tokens / self.write
        return START_SECONDS + nbytes / self.load + reply

    def note(self, what: str, count: int, seconds: float) -> None:
        """Learn from `count` bytes or tokens that took `seconds`."""
        if count <= 0 or seconds <= 0:
            return
        share = SHARE if what in self._seen else 1.0
        self._seen.add(what)
        setattr(self, what, (1 - share) * getattr(self, what) + share * count / seconds)


class Stopwatch:
    """Follows one request's chunks and tells its pace."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._clock = clock
        self._began = clock()
        self._first: float | None = None
        self._last = self._began
        self._read = 0
        self._written = 0

    def ready(self, nbytes: int, seconds: float) -> None:
        """The model is there."""
        if seconds > THERE_SECONDS:  # else it was there before, which says nothing of a load
            self._pace.note("load", nbytes, seconds)
        self._began = self._clock()

    def look(self, chunk: GenerationChunk) -> None:
        """Take a chunk."""
        now = self._clock()
        self._read = chunk.prompt_done_tokens - chunk.cached_tokens
        if chunk.token_id is not None:
            self._written += 1
            self._first = self._first or now
        self._last = now

    def end(self) -> None:
        """Tell how fast it went; one that was stopped counts as far as it came."""
        read_until = self._first or self._last
        self._pace.note("read", self._read, read_until - self._began)
        if self._first is not None:
            self._pace.note("write", self._written - 1, self._last - self._first)
