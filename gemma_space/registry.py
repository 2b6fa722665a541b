"""The models in memory: loaded once, shared by lease, evicted when idle and room is needed.

"Registry" means models in memory, not architectures. Knows keys, leases, the byte budget and
who is waiting for a load. Does not know how a model is loaded or run: a `Loader` is handed in.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from gemma_space.catalog import Checkpoint
from gemma_space.errors import GemmaSpaceError, InvalidRequestError, LoadError, ModelTooLargeError
from gemma_space.memory import show_bytes, weights_bytes
from gemma_space.types import (
    GenerationChunk,
    LoadedRow,
    LoadPhase,
    LoadProgress,
    Precision,
    SamplingParams,
)

log = logging.getLogger(__name__)
TICK_SECONDS = 0.1


class Engine(Protocol):
    """Runs one model: ids in, chunks out. `requests` counts those running or waiting."""

    @property
    def requests(self) -> int: ...

    def stream(
        self, prompt_ids: tuple[int, ...], params: SamplingParams, *, top: int = 0
    ) -> Iterator[GenerationChunk]: ...


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What makes two requests share weights."""

    checkpoint: Checkpoint
    revision: str
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model in memory with its engine. Hold it only inside a lease."""

    key: ModelKey
    engine: Engine
    tokenizer: Any
    nbytes: int


Report = Callable[[LoadPhase, int, int], None]
Loader = Callable[[ModelKey, str | None, Report, Callable[[], bool]], ServedModel]


class _Entry:
    """One key's place in the registry: being loaded, loaded, or failed."""

    def __init__(self, key: ModelKey, needed_bytes: int, now: float) -> None:
        self.key = key
        self.nbytes = needed_bytes
        self.started = now
        self.last_used = now
        self.leases = 0
        self.cancelled = False
        self.phase: LoadPhase = "load"
        self.done_bytes = 0
        self.total_bytes = 0
        self.settled = threading.Event()
        self.served: ServedModel | None = None
        self.error: Exception | None = None

    def report(self, phase: LoadPhase, done_bytes: int, total_bytes: int) -> None:
        self.phase, self.done_bytes, self.total_bytes = phase, done_bytes, total_bytes

    def progress(self, now: float) -> LoadProgress:
        return LoadProgress(
            phase=self.phase,
            done_bytes=self.done_bytes,
            total_bytes=self.total_bytes,
            seconds=now - self.started,
        )


class Lease:
    """The right to use one model; it cannot be evicted meanwhile."""

    def __init__(self, entry: _Entry, clock: Callable[[], float]) -> None:
        self._entry = entry
        self._clock = clock

    def wait(self) -> Iterator[LoadProgress]:
        """Yield while the model is on its way; nothing at all if it is there already.

        Raises:
            GemmaSpaceError: what the load ended with.
        """
        entry = self._entry
        if not entry.settled.is_set():
            while not entry.settled.wait(TICK_SECONDS):
                yield entry.progress(self._clock())
        if entry.error is not None:
            raise entry.error

    @property
    def model(self) -> ServedModel:
        """The model; only after `wait()` has ended."""
        if self._entry.served is None:
            raise RuntimeError("the model is used before it is loaded")
        return self._entry.served


class ModelRegistry:
    """Holds models within a byte budget.

    Args:
        loader: brings a key into memory; called in a thread of its own.
        budget: bytes that weights may take together; asked at each load.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        loader: Loader,
        budget: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loader = loader
        self._budget = budget
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[ModelKey, _Entry] = {}

    @contextmanager
    def lease(self, key: ModelKey, token: str | None = None) -> Iterator[Lease]:
        """Hold a model, loading it first where it is not in memory.

        Concurrent leases of one key share one load; when the last waiter leaves, it is cancelled.

        Raises:
            ModelTooLargeError: it cannot fit, even with everything idle evicted.
        """
        self._await_cancelled(key)
        entry = self._enter(key, token)
        try:
            yield Lease(entry, self._clock)
        finally:
            self._leave(entry)

    def unload(self, checkpoint_id: str, precision: Precision | None = None) -> None:
        """Give a model's memory back, in one precision or in all.

        Raises:
            InvalidRequestError: it is not loaded, or somebody is using it.
        """
        with self._lock:
            found = [
                key
                for key in self._entries
                if key.checkpoint.repo_id == checkpoint_id and precision in (None, key.precision)
            ]
            if not found:
                raise InvalidRequestError(
                    "This model is not loaded in this precision.",
                    "The status says what is loaded.",
                )
            if any(self._entries[key].leases for key in found):
                raise InvalidRequestError(
                    "This model is in use right now.", "Stop its replies, or wait for them."
                )
            for key in found:
                del self._entries[key]
        gc.collect()

    def rows(self) -> tuple[LoadedRow, ...]:
        """What is loaded, in the order it was loaded."""
        now = self._clock()
        with self._lock:
            entries = [entry for entry in self._entries.values() if entry.served is not None]
            return tuple(
                LoadedRow(
                    repo_id=entry.key.checkpoint.repo_id,
                    precision=str(entry.key.precision),
                    revision=entry.key.revision,
                    nbytes=entry.nbytes,
                    leases=entry.leases,
                    idle_seconds=0.0 if entry.leases else now - entry.last_used,
                )
                for entry in entries
            )

    def requests(self) -> int:
        """Requests running or waiting on any engine."""
        with self._lock:
            return sum(e.served.engine.requests for e in self._entries.values() if e.served)

    def _await_cancelled(self, key: ModelKey) -> None:
        """A cancelled load of the same model gives its memory back before another begins."""
        entry = self._entries.get(key)
        if entry is not None and entry.cancelled:
            entry.settled.wait()

    def _enter(self, key: ModelKey, token: str | None) -> _Entry:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.cancelled:
                needed = weights_bytes(key.checkpoint, key.precision)
                self._make_room(key, needed)
                entry = _Entry(key, needed, self._clock())
                self._entries[key] = entry
                threading.Thread(
                    target=self._load, args=(entry, token), name="load", daemon=True
                ).start()
            entry.leases += 1
            return entry

    def _leave(self, entry: _Entry) -> None:
        with self._lock:
            entry.leases -= 1
            entry.last_used = self._clock()
            if not entry.leases and not entry.settled.is_set():
                entry.cancelled = True

    def _make_room(self, key: ModelKey, needed: int) -> None:
        """Evict idle models, longest idle first, until `needed` bytes fit the budget.

        Nothing is evicted for a model that would not fit even then. Keys, not entries, are held
        here: what is evicted must be gone before anything else is loaded.
        """
        budget = self._budget()
        used = sum(entry.nbytes for entry in self._entries.values())
        idle = [k for k, e in self._entries.items() if not e.leases and e.settled.is_set()]
        in_use = used - sum(self._entries[k].nbytes for k in idle)
        if in_use + needed > budget:
            busy = f", of which {show_bytes(in_use)} are in use" if in_use else ""
            raise ModelTooLargeError(
                f"{key.checkpoint.title} in {key.precision} needs {show_bytes(needed)}; the "
                f"memory budget is {show_bytes(budget)}{busy}.",
                "Choose a lower precision or a smaller model.",
            )
        if used + needed <= budget:
            return
        for oldest in sorted(idle, key=lambda k: self._entries[k].last_used):
            used -= self._entries.pop(oldest).nbytes
            log.info("evicted %s in %s", oldest.checkpoint.repo_id, oldest.precision)
            if used + needed <= budget:
                break
        gc.collect()

    def _load(self, entry: _Entry, token: str | None) -> None:
        try:
            served = self._loader(entry.key, token, entry.report, lambda: entry.cancelled)
            entry.nbytes, entry.served = served.nbytes, served
            entry.report("ready", entry.total_bytes, entry.total_bytes)
        except GemmaSpaceError as error:
            entry.error = error
        except BaseException as error:
            if not entry.cancelled:
                log.exception("loading %s failed", entry.key.checkpoint.repo_id)
            entry.error = LoadError(
                f"{entry.key.checkpoint.title} could not be loaded ({type(error).__name__}).",
                "The server's log has the details.",
            )
        with self._lock:
            failed = entry.served is None or (entry.cancelled and not entry.leases)
            if failed and self._entries.get(entry.key) is entry:
                del self._entries[entry.key]
            entry.settled.set()
