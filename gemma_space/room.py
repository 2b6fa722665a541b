"""Who has to leave so that a model fits: the eviction rule, as a pure function.

Knows sizes, ages and who is in use. Does not know what a model is, nor does anything itself:
the registry follows the plan, the fit meter shows it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Resident(Generic[K]):
    """Something in memory. `last_used` is in seconds; None while it is in use."""

    key: K
    nbytes: int
    last_used: float | None


@dataclass(frozen=True, slots=True)
class Room(Generic[K]):
    """A plan for `needed_bytes` more.

    Attributes:
        limit_bytes: what everything together may take.
        kept_bytes: what would stay: all that is in use, and the idle that need not leave.
        evict: who would leave, longest idle first; nobody where it would not help.
    """

    needed_bytes: int
    limit_bytes: int
    kept_bytes: int
    evict: tuple[K, ...]

    @property
    def fits(self) -> bool:
        return self.kept_bytes + self.needed_bytes <= self.limit_bytes


def plan(needed_bytes: int, limit_bytes: int, residents: Iterable[Resident[K]]) -> Room[K]:
    """Evict the longest idle, one after the other, until `needed_bytes` fit under the limit.

    When even all the idle are too little, nobody leaves.
    """
    everyone = list(residents)
    taken = sum(resident.nbytes for resident in everyone)
    in_use = sum(resident.nbytes for resident in everyone if resident.last_used is None)
    if in_use + needed_bytes > limit_bytes:
        return Room(needed_bytes, limit_bytes, in_use, ())
    leaving: list[K] = []
    idle = [(r.last_used, r) for r in everyone if r.last_used is not None]
    for _, resident in sorted(idle, key=lambda pair: pair[0]):
        if taken + needed_bytes <= limit_bytes:
            break
        taken -= resident.nbytes
        leaving.append(resident.key)
    return Room(needed_bytes, limit_bytes, taken, tuple(leaving))
