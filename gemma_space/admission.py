"""Who may begin: so many requests at once, the rest in order, and nobody once the server closes.

Counts requests of every way in together. Does not know what a request is about.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gemma_space.errors import BusyError, ServerClosingError

TICK_SECONDS = 0.1
CLOSED = ("This server is being shut down.", "Send it again in a minute.")
LATER = "Your text is kept: try again in a minute."


def _nobody() -> tuple[int, int]:
    return 0, 0


class Admission:
    """A line in which the first `places` run and the others wait.

    Args:
        places: how many run at once.
        most_waiting: how many may wait before newcomers are refused.
        before: of a queue that stands before this line: how many wait there, and how many have
            left it and may not have come here yet.
    """

    def __init__(
        self, places: int, most_waiting: int, before: Callable[[], tuple[int, int]] = _nobody
    ) -> None:
        self._places = places
        self._most_waiting = most_waiting
        self._before = before
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
        """Requests that have none yet, here or in the queue before."""
        return max(0, self._everybody() - self._places)

    @property
    def closed(self) -> bool:
        """Whether newcomers are refused because the server closes."""
        return self._closed

    @property
    def ending(self) -> bool:
        """Whether those in line are to end now."""
        return self._ending

    @property
    def full(self) -> bool:
        """Whether newcomers are refused because too many wait."""
        return self._everybody() >= self._places + self._most_waiting

    def require_room(self) -> None:
        """Refuse whoever could not stand in line now.

        Raises:
            BusyError: too many wait.
            ServerClosingError: the server closes.
        """
        self._require_open()
        if self.full:
            raise BusyError(
                f"Too many people are asking right now: {self._everybody()} requests are running "
                "or waiting.",
                LATER,
            )

    @contextmanager
    def enter(self, refuses: bool = False) -> Iterator[Iterator[int]]:
        """Stand in line until the block ends; iterate what it gives until it is one's turn.

        Each item is how many wait in front.

        Args:
            refuses: turn newcomers away when too many wait. Whoever waited in the queue before
                this line is not turned away at its end.

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

    def _everybody(self) -> int:
        waiting, begun = self._before()
        return waiting + max(begun, len(self._line))

    def _require_open(self) -> None:
        if self._closed:
            raise ServerClosingError(*CLOSED)

    def _join(self, refuses: bool) -> object:
        with self._changed:
            self._require_open()
            if refuses:
                self.require_room()
            ticket = object()
            self._line.append(ticket)
            return ticket

    def _wait(self, ticket: object) -> Iterator[int]:
        while True:
            with self._changed:
                before = self._line.index(ticket) - self._places
                if self._ending or before < 0:
                    return
                self._changed.wait(TICK_SECONDS)
            yield before
