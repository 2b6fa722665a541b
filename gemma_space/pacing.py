"""From a blocking generator to a paced asynchronous one.

A stream of states (each update replaces the last) is pulled in a thread of its own and handed on
at most every so many seconds, the newest state only: a slow reader never builds up a backlog.
Whoever stops listening sets the flag; the thread closes the generator after the step at hand, so
cleanup never runs on the server's event loop. Knows neither models nor Gradio.
"""

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
# A listener that is gone is only noticed when something is sent.
HEARTBEAT_SECONDS = 1.0


class Every:
    """Tells that so many seconds have passed since it was made, or since it last told so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = time.monotonic()

    def due(self) -> bool:
        """Whether it is time; the next time is counted from here."""
        now = time.monotonic()
        if now - self._since < self._seconds:
            return False
        self._since = now
        return True


class _Pump(Generic[T]):
    """Pulls one generator in a daemon thread and keeps its newest item."""

    def __init__(self, source: Callable[[], Iterator[T]]) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._latest: list[T] = []
        self._done = False
        self._error: BaseException | None = None
        # With the context of whoever listens: what the work asks elsewhere is asked for them.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._pull,), name="pacing", daemon=True).start()

    def _pull(self) -> None:
        try:
            iterator = self._source()
            try:
                for item in iterator:
                    if self._stop.is_set():
                        return
                    with self._lock:
                        self._latest = [item]
                    self._wake()
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
        except BaseException as error:
            self._error = error
        finally:
            self._done = True
            self._wake()

    def _wake(self) -> None:
        # The loop may be gone at shutdown; nobody is left to listen then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._news.set)

    async def take(self) -> tuple[list[T], bool]:
        """Wait for news; the newest item (or none) and whether the stream has ended."""
        await self._news.wait()
        self._news.clear()
        done = self._done  # read before the item: what came before the end is then never missed
        with self._lock:
            items, self._latest = self._latest, []
        return items, done

    def stop(self) -> None:
        self._stop.set()

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error


async def paced(source: Callable[[], Iterator[T]], seconds: float) -> AsyncGenerator[T, None]:
    """Yield the newest item of `source()` at most every `seconds`; first at once, last always.

    Items in between may be skipped, so each must carry the whole state; one equal to the last
    shown is repeated once a second only (a request that waits). Closing or cancelling
    this generator closes the source within one of its steps, without waiting for it.

    Raises:
        whatever the source raises, after the last item before it.
    """
    pump = _Pump(source)
    shown: list[T] = []
    shown_at = 0.0
    try:
        while True:
            items, done = await pump.take()
            for item in items:
                now = time.monotonic()
                if not shown or item != shown[0] or now - shown_at > HEARTBEAT_SECONDS:
                    shown, shown_at = [item], now
                    yield item
            if done:
                pump.raise_error()
                return
            await asyncio.sleep(seconds)
    finally:
        pump.stop()
