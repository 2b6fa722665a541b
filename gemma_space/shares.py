"""How much of this server one visitor may take, so that others find a place too.

Counts what is begun, and what waits before more may wait: by visitor, and by address, because a
visitor's name costs nothing (a browser forgets a cookie, a caller makes up a key). Knows neither
web requests nor models, and keeps no token: a name is a digest.
"""

import hashlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from gemma_space.errors import TooManyRequestsError
from gemma_space.visitors import Visitor

PER_ADDRESS = 3  # times what one visitor may have: a household, an office, a classroom
RETRY_SECONDS = 5
LATER = "Your text is kept: send it again in a moment."


def _nobody() -> Iterable[Visitor]:
    return ()


class Shares:
    """What each visitor has of the server at this moment.

    Args:
        at_once: requests that one visitor may have running or waiting; 0: any number.
        per_minute: requests that one visitor may begin in a minute; 0: any number.
        before: of a queue in which requests wait before they begin: whose these are.
    """

    def __init__(
        self, at_once: int = 0, per_minute: int = 0,
        before: Callable[[], Iterable[Visitor]] = _nobody,
    ) -> None:  # fmt: skip
        self._at_once = at_once
        self._before = before
        self._pace = _Pace(per_minute) if per_minute else None
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def require_place(self, visitor: Visitor) -> None:
        """Refuse a request before it waits, if with those that wait already it would be too many.

        Raises:
            TooManyRequestsError: they have as many as they may.
        """
        if not self._at_once:
            return
        waiting = Counter(name for other in self._before() for name in _names(other))
        with self._lock:
            for name, times in _names(visitor).items():
                self._require_place(name, times, waiting[name])

    @contextmanager
    def hold(self, visitor: Visitor) -> Iterator[None]:
        """Have one request of this visitor count until the block ends.

        Raises:
            TooManyRequestsError: they have as many as they may; nothing is counted then.
        """
        names = _names(visitor)
        with self._lock:
            for name, times in names.items():
                self._require_place(name, times)
            if self._pace is not None:
                self._pace.begin(names)
            self._held.update(names.keys())
        try:
            yield
        finally:
            with self._lock:
                for name in names:
                    self._held[name] -= 1
                    if not self._held[name]:
                        del self._held[name]

    def _require_place(self, name: str, times: int, waiting: int = 0) -> None:
        count = self._held[name] + waiting
        if self._at_once and count >= self._at_once * times:
            raise TooManyRequestsError(
                f"{_whose(times)} {count} request{'s' * (count > 1)} on the way here; no more may "
                "be at once.",
                LATER,
                RETRY_SECONDS,
            )


class _Pace:
    """How many were begun in the minute that ends now."""

    def __init__(self, most: int) -> None:
        from limits import RateLimitItemPerMinute  # takes as long as a tenth of the start
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self._most = most
        self._item = RateLimitItemPerMinute
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def begin(self, names: Mapping[str, int]) -> None:
        """Count one more under each of these names, or under none."""
        items = {name: self._item(self._most * times) for name, times in names.items()}
        for name, item in items.items():
            if not self._window.test(item, name):
                reset = self._window.get_window_stats(item, name).reset_time
                raise TooManyRequestsError(
                    f"{_whose(names[name])} begun {item.amount} requests in the last minute; "
                    "no more may be.",
                    LATER,
                    max(1, math.ceil(reset - time.time())),
                )
        for name, item in items.items():
            self._window.hit(item, name)


def _names(visitor: Visitor) -> dict[str, int]:
    """What a request counts under, and how many times a visitor's share each of these has."""
    who = (
        ("account", visitor.account),
        ("token", visitor.signed_in),
        ("browser", visitor.key),
        ("address", visitor.address),
    )
    kind, value = next(((kind, value) for kind, value in who if value), ("nobody", ""))
    names = {hashlib.sha256(f"{kind} {value}".encode()).hexdigest(): 1}
    if visitor.address:
        names[visitor.address] = PER_ADDRESS
    return names


def _whose(times: int) -> str:
    return "You have" if times == 1 else "Your network has"
