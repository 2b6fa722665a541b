"""Who may begin: so many requests at once, the rest in order, and nobody once the server closes.

Counts requests of every way in together. Does not know what a request is about.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gemma_space.errors import BusyError, ServerClosingError

TICK_SECONDS = 0.1
CLOSED = ("This server is being shut down.", "Send it again in a minute.")


def _nobody() -> int:
    return 0


class Admission:
    """A line in which the first `places` run and the others wait.

    Args:
        places: how many run at once.
        most_waiting: how many may wait before newcomers are refused.
        elsewhere: how many more wait in a queue of their own, before they come here.
    """

    def __init__(
        self, places: int, most_waiting: int, elsewhere: Callable[[], int] = _nobody
    ) -> None:
        self._places = places
        self._most_waiting = most_waiting
        self._elsewhere = elsewhere
        self._changed = threading.Condition()
        self._line: list[object] = []  # a place is only ever gained: whoever leaves was before
        self._closed = False
        self._ending = False

    @property
    def running(self) -> int:
        """Requests that have a place."""
        return min(len(self._line), self._places)

    @property
    def waiting(self) -> int:
        """Requests in line that have none yet."""
        return max(0, len(self._line) - self._places)

    @property
    def closed(self) -> bool:
        """Whether newcomers are refused because the server closes."""
        return self._closed

    @property
    def ending(self) -> bool:
        """Whether those in line are to end now."""
        return self._ending

    @contextmanager
    def enter(self, refuses: bool = False) -> Iterator[Iterator[None]]:
        """Stand in line until the block ends; iterate what it gives until it is one's turn.

        Args:
            refuses: turn newcomers away when too many wait. Whoever waited in a queue that has
                its own limit is not turned away at its end.

        Raises:
            BusyError: too many wait.
            ServerClosingError: the server closes.
        """
        ticket = self._join(refuses)
        try:
            yield self._wait(ticket)
        finally:
            with self._changed:
                self._line.remove(ticket)
                self._changed.notify_all()

    def close(self) -> None:
        """Refuse newcomers from now on."""
        self._closed = True

    def end(self) -> None:
        """Have those in line end."""
        self._ending = True

    def drain(self, seconds: float) -> bool:
        """Wait until nobody is in line, so long at most; whether that came about."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._line, seconds)

    def _join(self, refuses: bool) -> object:
        with self._changed:
            if self._closed:
                raise ServerClosingError(*CLOSED)
            full = len(self._line) >= self._places
            if refuses and full and self.waiting + self._elsewhere() >= self._most_waiting:
                raise BusyError(
                    f"This server is busy: {self.running} requests are running and "
                    f"{self.waiting + self._elsewhere()} are waiting.",
                    "Send it again later.",
                )
            ticket = object()
            self._line.append(ticket)
            return ticket

    def _wait(self, ticket: object) -> Iterator[None]:
        while True:
            with self._changed:
                if self._ending or self._line.index(ticket) < self._places:
                    return
                self._changed.wait(TICK_SECONDS)
            yield
