"""A model in memory and the right to use it.

Knows what makes two requests share weights, how a load's progress is told, and that a lease is
held while a model is used. Does not know when models come and go; the registry does.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from gemma_space import memory
from gemma_space.catalog import Checkpoint
from gemma_space.chunks import GenerationChunk
from gemma_space.errors import GemmaSpaceError, LoadError
from gemma_space.reports import LoadedRow, LoadPhase, LoadProgress
from gemma_space.types import Attention, Precision, SamplingParams

log = logging.getLogger(__name__)
TICK_SECONDS = 0.1
SPEED_SECONDS = 8.0
MIN_SPEED_SECONDS = 0.8


class Engine(Protocol):
    """Runs one model: ids in, chunks out; closing what gives the chunks stops the work.

    `requests` counts those running or waiting; `cache_bytes` is what conversations keep between
    their turns.
    """

    @property
    def requests(self) -> int: ...

    @property
    def cache_bytes(self) -> int: ...

    def stream(
        self,
        prompt_ids: tuple[int, ...],
        params: SamplingParams,
        *,
        top: int = 0,
        max_time: float | None = None,
    ) -> Generator[GenerationChunk]: ...

    def score(
        self, token_ids: tuple[int, ...], *, top: int = 0, max_time: float | None = None
    ) -> Generator[GenerationChunk]: ...

    def examine(
        self,
        token_ids: tuple[int, ...],
        look: Callable[[int, Any], None],
        *,
        max_time: float | None = None,
    ) -> Generator[GenerationChunk]: ...


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What makes two requests share weights.

    `base` is the key of the model that an adapter is attached to; several adapters and requests
    without any share that one.
    """

    checkpoint: Checkpoint
    revision: str
    precision: Precision
    attention: Attention = Attention.AUTO
    base: "ModelKey | None" = None

    @property
    def title(self) -> str:
        return f"{self.checkpoint.title} in {self.precision}"

    @property
    def chain(self) -> tuple["ModelKey", ...]:
        """Everything that must be in memory, in loading order."""
        return (self,) if self.base is None else (*self.base.chain, self)

    def charges(self) -> "Charges":
        """What each part of the chain takes beside its base.

        Imports a library at the first look at a config; not to be called under a lock.
        """
        found = {} if self.base is None else self.base.charges()
        if self.base is None:
            needed = memory.needs(self.checkpoint, self.precision)
            found[self] = needed.weights_bytes, needed.kv_bytes
        else:
            found[self] = memory.adapter_bytes(self.checkpoint, self.precision), 0
        return found


Charges = dict[ModelKey, tuple[int, int]]  # bytes of weights, and of a conversation's KV cache


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model in memory with its engine. Hold it only inside a lease.

    Attributes:
        nbytes: of the weights; an adapter's alone, without its base.
        notes: sentences about where it runs that its users should know.
        close: called when it leaves while its base stays.
    """

    key: ModelKey
    engine: Engine
    tokenizer: Any
    nbytes: int
    notes: tuple[str, ...] = ()
    close: Callable[[], None] = _nothing


class Report(Protocol):
    """Told where a load stands: the phase, its bytes, and what is going on beside."""

    def __call__(
        self, phase: LoadPhase, done_bytes: int, total_bytes: int, note: str = ""
    ) -> None: ...


class Speed:
    """How fast bytes come, judged by the last few seconds alone.

    What was there before counts as nothing, and a pace of long ago says little about the rest.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def look(self, done_bytes: int) -> None:
        """Take a count; one that is lower than before begins anew."""
        now = self._clock()
        if self._seen and done_bytes < self._seen[-1][1]:
            self._seen.clear()
        while len(self._seen) > 1 and now - self._seen[1][0] > SPEED_SECONDS:
            self._seen.popleft()
        self._seen.append((now, done_bytes))

    def bytes_per_second(self) -> float | None:
        """The pace; None while it says nothing."""
        if not self._seen:
            return None
        began, first = self._seen[0]
        seconds, count = self._clock() - began, self._seen[-1][1] - first
        return count / seconds if seconds > MIN_SPEED_SECONDS and count > 0 else None


class Entry:
    """One key's place in memory: being loaded, loaded, or failed. Guarded by the registry's lock.

    Args:
        weights_bytes: as computed; what the model really takes once it is there.
        kv_bytes: kept free for a conversation.
        base: the entry this one is attached to, which cannot leave before it.
    """

    def __init__(
        self,
        key: ModelKey,
        weights_bytes: int,
        kv_bytes: int,
        base: "Entry | None",
        clock: Callable[[], float],
    ) -> None:
        self.key = key
        self.weights_bytes = weights_bytes
        self.kv_bytes = kv_bytes
        self.base = base
        self.attached: set[Entry] = set()
        self.leases = 0
        self.cancelled = False
        self.settled = threading.Event()
        self.served: ServedModel | None = None
        self.error: Exception | None = None
        self._clock = clock
        self._started = self.last_used = clock()
        self._speed = Speed(clock)
        if key.checkpoint.is_local:
            self._speed.look(0)
        self._note = ""
        self._phase: LoadPhase = "load" if key.checkpoint.is_local else "download"
        self._done_bytes = self._total_bytes = 0

    @property
    def in_use(self) -> bool:
        """Leased, on its way, or under something that is."""
        return bool(
            self.leases or not self.settled.is_set() or any(a.in_use for a in self.attached)
        )

    @property
    def is_loaded(self) -> bool:
        """In memory to stay: a load that is over while everybody has left goes again."""
        return self.served is not None and self.settled.is_set()

    @property
    def nbytes(self) -> int:
        """What it takes of the budget."""
        return self.weights_bytes + self.kv_bytes

    def row(self, now: float) -> LoadedRow:
        """How it is reported; `now` in seconds of the clock."""
        return LoadedRow(
            repo_id=self.key.checkpoint.repo_id,
            precision=str(self.key.precision),
            revision=self.key.revision,
            nbytes=self.weights_bytes,
            leases=self.leases,
            idle_seconds=0.0 if self.in_use else now - self.last_used,
        )

    def touch(self) -> None:
        """Note that it was used just now, and so was what it stands on."""
        self.last_used = self._clock()
        if self.base is not None:
            self.base.touch()

    def report(self, phase: LoadPhase, done_bytes: int, total_bytes: int, note: str = "") -> None:
        """Take a step of the load, from whichever thread does it."""
        if phase != self._phase:
            self._speed = Speed(self._clock)
            if phase == "load":  # of a download some may be here already
                self._speed.look(0)
        if total_bytes:  # before it is known, nothing has been counted
            self._speed.look(done_bytes)
        self._phase, self._done_bytes, self._total_bytes = phase, done_bytes, total_bytes
        self._note = note

    def fail(self, error: BaseException) -> None:
        """Take what the load ended with, without the frames that would keep half a model alive."""
        if not isinstance(error, GemmaSpaceError):
            if not self.cancelled:
                log.error("loading %s failed", self.key.checkpoint.repo_id, exc_info=error)
            error = LoadError(
                f"{self.key.checkpoint.title} could not be loaded ({type(error).__name__}).",
                "The server's log has the details.",
            )
        error.__cause__ = error.__context__ = None
        self.error = error.with_traceback(None)

    def progress(self) -> LoadProgress:
        """Where the load stands; while the base is on its way, where that stands."""
        if self.base is not None and not self.base.settled.is_set():
            return self.base.progress()
        pace = None if self._note else self._speed.bytes_per_second()
        left = (self._total_bytes - self._done_bytes) / pace if pace else None
        return LoadProgress(
            phase=self._phase,
            done_bytes=self._done_bytes,
            total_bytes=self._total_bytes,
            seconds=self._clock() - self._started,
            seconds_left=left,
            bytes_per_second=pace,
            note=self._note,
        )


class Lease:
    """The right to use one model; it cannot be evicted meanwhile."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def wait(self) -> Iterator[LoadProgress]:
        """Yield while the model is on its way; nothing at all if it is there already.

        Raises:
            GemmaSpaceError: what the load ended with.
        """
        while not self._entry.settled.wait(TICK_SECONDS):
            yield self._entry.progress()
        if self._entry.error is not None:
            raise self._entry.error

    @property
    def model(self) -> ServedModel:
        """The model; only after `wait()` has ended."""
        if self._entry.served is None:
            raise RuntimeError("the model is used before it is loaded")
        return self._entry.served
