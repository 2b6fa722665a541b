"""The models in memory: loaded once, shared by lease, evicted when idle and room is needed.

"Registry" means models in memory, not architectures. Knows keys, leases, the byte budget and
who is waiting for a load. Does not know how a model is loaded or run: a `Loader` is handed in.
An adapter is an entry of its own that stands on its base's entry.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from gemma_space import memory
from gemma_space.catalog import Checkpoint
from gemma_space.errors import InvalidRequestError, ModelTooLargeError
from gemma_space.lease import TICK_SECONDS, Charges, Entry, Lease, ModelKey, Report, ServedModel
from gemma_space.memory import show_bytes
from gemma_space.reports import LoadedRow, Turnover
from gemma_space.room import Resident, Room, plan
from gemma_space.types import Precision

log = logging.getLogger(__name__)

# Key, the visitor's token, where to report, whether to give up, and the base of an adapter.
Loader = Callable[
    [ModelKey, str | None, Report, Callable[[], bool], ServedModel | None], ServedModel
]


class ModelRegistry:
    """Holds models within a byte budget.

    Args:
        loader: brings a key into memory; called in a thread of its own.
        budget: bytes that models may take together; asked at each load.
        free: bytes that the device has left at this moment.
        idle_seconds: how long a model stays that nobody uses; 0: until its room is needed.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        loader: Loader,
        budget: Callable[[], int],
        free: Callable[[], int] = lambda: memory.UNLIMITED_BYTES,
        idle_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loader = loader
        self._budget = budget
        self._free = free
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Condition()
        self._entries: dict[ModelKey, Entry] = {}
        self._watching = False
        self._loads = self._evictions = 0

    @contextmanager
    def lease(self, key: ModelKey, token: str | None = None) -> Iterator[Lease]:
        """Hold a model, loading it (and its base) first where it is not in memory.

        Concurrent leases of one key share one load; when the last waiter leaves, it is cancelled.

        Raises:
            ModelTooLargeError: it cannot fit, even with everything idle evicted.
        """
        entry = self._enter(key, token)
        try:
            yield Lease(entry)
        finally:
            self._leave(entry)

    def room(self, *keys: ModelKey) -> Room[ModelKey]:
        """What leases of these keys together would mean for the memory, without taking them."""
        charges = {part: charge for key in keys for part, charge in key.charges().items()}
        with self._lock:
            return self._plan(charges)

    def show_limit(self, room: Room[ModelKey]) -> str:
        """What stands against a model that does not fit, as the second half of a sentence."""
        if room.limit_bytes < self._budget():
            left = max(0, room.limit_bytes - room.kept_bytes)
            return f"this machine has {show_bytes(left)} left at the moment"
        busy = f", of which {show_bytes(room.kept_bytes)} are in use" if room.kept_bytes else ""
        return f"the memory budget is {show_bytes(room.limit_bytes)}{busy}"

    def holds(self, key: ModelKey) -> bool:
        """Whether the model is in memory."""
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and entry.is_loaded

    def unload(self, checkpoint_id: str, precision: Precision | None = None) -> None:
        """Give a model's memory back, in one precision or in all; its adapters leave with it.

        Raises:
            InvalidRequestError: it is not loaded, or somebody is using it.
        """
        with self._lock:
            found = [
                entry
                for key, entry in self._entries.items()
                if key.checkpoint.repo_id == checkpoint_id and precision in (None, key.precision)
            ]
            if not found:
                raise InvalidRequestError(
                    "This model is not loaded in this precision.", "The status says what is loaded."
                )
            if any(entry.in_use for entry in found):
                raise InvalidRequestError(
                    "This model is in use right now.", "Stop its replies, or wait for them."
                )
            self._drop(found)

    def rows(self) -> tuple[LoadedRow, ...]:
        """What is loaded, in the order it was loaded."""
        return tuple(row for _, row in self.rows_by_checkpoint())

    def rows_by_checkpoint(self) -> tuple[tuple[Checkpoint, LoadedRow], ...]:
        """What is loaded, each with its checkpoint."""
        now = self._clock()
        with self._lock:
            return tuple(
                (entry.key.checkpoint, entry.row(now))
                for entry in self._entries.values()
                if entry.is_loaded
            )

    def requests(self) -> int:
        """Requests running or waiting on any engine."""
        with self._lock:
            return sum(e.served.engine.requests for e in self._entries.values() if e.served)

    def cache_bytes(self) -> int:
        """What conversations keep between their turns, of all models."""
        with self._lock:
            return sum(e.served.engine.cache_bytes for e in self._entries.values() if e.served)

    def turnover(self) -> Turnover:
        """How many models came and were evicted so far."""
        return Turnover(loads=self._loads, evictions=self._evictions)

    def _enter(self, key: ModelKey, token: str | None) -> Entry:
        charges = key.charges()
        with self._lock:
            # A cancelled load of the same model gives its memory back before another begins.
            while any(self._entries[part].cancelled for part in key.chain if part in self._entries):
                self._lock.wait()
            self._make_room(key, charges)
            entry: Entry | None = None
            for part in key.chain:
                entry = self._present(part) or self._start(part, charges[part], entry, token)
            assert entry is not None
            entry.leases += 1
            return entry

    def _present(self, key: ModelKey) -> Entry | None:
        entry = self._entries.get(key)
        return None if entry is None or entry.cancelled else entry

    def _start(
        self, key: ModelKey, charge: tuple[int, int], base: Entry | None, token: str | None
    ) -> Entry:
        entry = Entry(key, *charge, base, self._clock)
        loading = threading.Thread(target=self._load, args=(entry, token), daemon=True)
        try:
            loading.start()
        except RuntimeError:
            raise ModelTooLargeError(
                f"There is no memory left to begin loading {key.title}.",
                "Unload another model, or try again later.",
            ) from None
        self._entries[key] = entry
        if base is not None:
            base.attached.add(entry)
        return entry

    def _leave(self, entry: Entry) -> None:
        with self._lock:
            entry.leases -= 1
            entry.touch()
            self._cancel_unwanted(entry)
            self._watch_idle()

    def _cancel_unwanted(self, entry: Entry) -> None:
        if entry.leases or entry.attached or entry.settled.is_set():
            return
        entry.cancelled = True
        if entry.base is not None:
            entry.base.attached.discard(entry)
            self._cancel_unwanted(entry.base)

    def _plan(self, charges: Charges) -> Room[ModelKey]:
        needed = sum(sum(charge) for part, charge in charges.items() if not self._present(part))
        loaded = sum(e.weights_bytes for e in self._entries.values() if e.settled.is_set())
        # The machine may have less left than the budget says: others live here too.
        limit = min(self._budget(), loaded + self._free())
        # Of equally old ones adapters leave first: their base cannot leave before them.
        residents = [
            Resident(e.key, e.nbytes, None if e.in_use or e.key in charges else e.last_used)
            for e in sorted(self._entries.values(), key=lambda e: e.base is None)
        ]
        return plan(needed, limit, residents)

    def _make_room(self, key: ModelKey, charges: Charges) -> None:
        """Evict as planned. What is evicted is gone before anything else is loaded.

        Raises:
            ModelTooLargeError: even all the idle models are too little.
        """
        room = self._plan(charges)
        if room.needed_bytes and not room.fits:
            raise ModelTooLargeError(
                f"{key.title} needs {show_bytes(room.needed_bytes)}; {self.show_limit(room)}.",
                "Choose a lower precision or a smaller model.",
            )
        if room.needed_bytes and room.evict:
            self._evict([self._entries[k] for k in room.evict], "for another model")

    def _evict(self, entries: Sequence[Entry], why: str) -> None:
        log.info("evicting %s: %s", why, ", ".join(entry.key.title for entry in entries))
        self._evictions += len(entries)
        self._drop(entries)

    def _drop(self, entries: Iterable[Entry]) -> None:
        """Let go of models nobody uses and give their memory back."""
        leaving = {part for entry in entries for part in (entry, *entry.attached)}
        for entry in leaving:
            del self._entries[entry.key]
            if entry.base in leaving:
                entry.base = None  # it leaves as a whole; nothing need be taken off it
            self._let_go(entry)
        memory.give_back()

    @staticmethod
    def _let_go(entry: Entry) -> None:
        if entry.base is not None:
            entry.base.attached.discard(entry)
            if entry.served is not None:
                entry.served.close()
        entry.served = None  # whoever still holds the entry must not hold the model

    def _load(self, entry: Entry, token: str | None) -> None:
        try:
            # Into the entry and nowhere else: a name here would keep it while it is given back.
            entry.served = self._loader(
                entry.key, token, entry.report, lambda: entry.cancelled, self._loaded_base(entry)
            )
            entry.weights_bytes = entry.served.nbytes
        except BaseException as error:
            entry.fail(error)
        with self._lock:
            self._loads += entry.served is not None
            if entry.served is None or (entry.cancelled and not entry.leases):
                if self._entries.get(entry.key) is entry:
                    del self._entries[entry.key]
                self._let_go(entry)
            # Before anybody is told: scratch of a quantization, or what is there of a failed load.
            memory.give_back()
            entry.touch()
            entry.settled.set()
            self._lock.notify_all()
            self._watch_idle()

    def _loaded_base(self, entry: Entry) -> ServedModel | None:
        if entry.base is None:
            return None
        while not entry.base.settled.wait(TICK_SECONDS):
            if entry.cancelled:
                break
        if entry.cancelled or entry.base.served is None:
            raise entry.base.error or InterruptedError()
        return entry.base.served

    def _watch_idle(self) -> None:
        """Have one thread look after idle models while there are any in memory."""
        if self._idle_seconds and self._entries and not self._watching:
            self._watching = True
            threading.Thread(target=self._evict_idle, name="idle", daemon=True).start()

    def _evict_idle(self) -> None:
        with self._lock:
            while self._entries:
                now = self._clock()
                due = {
                    e: (now if e.in_use else e.last_used) + self._idle_seconds
                    for e in self._entries.values()
                }
                over = [e for e, at in due.items() if at <= now]
                if over:
                    self._evict(over, "after idle time")
                    continue
                self._lock.wait(min(due.values()) - now)
            self._watching = False
