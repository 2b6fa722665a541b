"""Caches of conversations between their turns, found again by what they begin with.

Knows ids, bytes and which was used last. An entry is used by one request at a time and is here
only while nobody uses it. Does not know whose it is: whoever sends the same ids may continue
from them, and nothing else of an entry can be seen.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

STRIDE = 256
# An entry that would lose more than this share of itself stays, for its own conversation.
MOST_CUT = 0.25
FEWEST_COPIED = 32  # tokens; to compute fewer anew costs no more than a copy


class Cuttable(Protocol):
    """A cache of one conversation."""

    @property
    def nbytes(self) -> int: ...

    def reach(self) -> int: ...

    def cut(self, tokens: int) -> None: ...

    def branch(self, tokens: int) -> Self: ...


C = TypeVar("C", bound=Cuttable)


@dataclass
class _Entry(Generic[C]):
    ids: tuple[int, ...]
    cache: C
    nbytes: int


class PrefixCache(Generic[C]):
    """Least recently used entries leave first.

    Args:
        budget_bytes: for all entries together.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[Hashable, int], _Entry[C]] = OrderedDict()
        self._count = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the entries that are here."""
        with self._lock:
            return sum(entry.nbytes for entry in self._entries.values())

    def take(self, ids: Sequence[int], kind: Hashable = None) -> tuple[C, int] | None:
        """The longest beginning of `ids` that is here, and its length.

        At least one id is left to compute, whose logits are wanted. An entry that shares most of
        itself is handed out; of one that shares only its beginning, a copy of that.

        Args:
            kind: only entries of this one, such as an adapter's name, can be continued.
        """
        wanted = tuple(ids)
        with self._lock:
            best, shared = None, 0
            for key, entry in self._entries.items():
                if key[0] == kind:
                    count = min(_shared(entry.ids, wanted), len(wanted) - 1)
                    if count > shared and len(entry.ids) - count <= entry.cache.reach():
                        best, shared = key, count
            if best is None:
                return None
            entry = self._entries[best]
            gone = len(entry.ids) - shared
            if gone > MOST_CUT * len(entry.ids):
                if shared < FEWEST_COPIED:
                    return None
                self._entries.move_to_end(best)
                return entry.cache.branch(gone), shared
            del self._entries[best]
        entry.cache.cut(gone)
        return entry.cache, shared

    def put(self, ids: Sequence[int], cache: C, kind: Hashable = None) -> None:
        """Keep a cache of exactly these ids, if there is room for it."""
        nbytes = cache.nbytes
        with self._lock:
            if nbytes > self.budget_bytes or not ids:
                return
            self._count += 1
            self._entries[(kind, self._count)] = _Entry(tuple(ids), cache, nbytes)
            while sum(entry.nbytes for entry in self._entries.values()) > self.budget_bytes:
                self._entries.popitem(last=False)

    def clear(self, kind: Hashable = None) -> None:
        """Drop the entries of a kind."""
        with self._lock:
            for key in [key for key in self._entries if key[0] == kind]:
                del self._entries[key]


def _shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many ids two sequences begin with alike."""
    count = min(len(one), len(other))
    for start in range(0, count, STRIDE):  # slices compare faster than their ids one by one
        if one[start : start + STRIDE] != other[start : start + STRIDE]:
            return next((i for i in range(start, count) if one[i] != other[i]), count)
    return count
