"""A load that is followed: how many bytes are both read from disk and in place, and a way to stop.

Knows transformers' hook for its progress bars, which is one for the whole process, and sorts its
calls by thread. Knows nothing of what is loaded. Importing it imports transformers.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as transformers_logging

from gemma_space.reading import ReadAhead

TELL_SECONDS = 0.1


class LoadCancelledError(Exception):
    """The last one waiting for this load has gone."""


class FollowedLoad:
    """Reads ahead and reports while a block loads weights.

    Args:
        ahead: the files, not yet being read.
        report: called with bytes that are read and in place, and bytes in all.
        cancelled: asked at each step.
    """

    def __init__(
        self,
        ahead: ReadAhead,
        report: Callable[[int, int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self._ahead = ahead
        self._report = report
        self._cancelled = cancelled
        self._share = 0.0

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow the weights that this thread loads in the block; then wait for the reading.

        Raises:
            LoadCancelledError: from inside the loading, as soon as `cancelled` says so.
        """
        thread = threading.get_ident()
        try:
            self._ahead.start()
            self._tell()
            _by_thread[thread] = self
            yield
            self._share = 1.0
            while not self._ahead.wait(TELL_SECONDS):
                self._tell()
            self._tell()
        finally:
            _by_thread.pop(thread, None)
            self._ahead.stop()

    def through(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, one step each."""
        listed = list(items)
        for count, item in enumerate(listed):
            self._share = count / len(listed)
            self._tell()
            yield item

    def _tell(self) -> None:
        if self._cancelled():
            raise LoadCancelledError
        total = self._ahead.total_bytes
        self._report(min(self._ahead.done_bytes, int(self._share * total)), total)


_by_thread: dict[int, FollowedLoad] = {}


def _bar(make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The bar of a followed thread while it goes through the weights, else the library's own."""
    load = _by_thread.get(threading.get_ident())
    if load is None or not str(kwargs.get("desc")).startswith("Loading weights"):
        return make(*args, **kwargs)
    return load.through(args[0])


transformers_logging.set_tqdm_hook(_bar)
