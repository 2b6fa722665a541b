"""Weights files are brought into the page cache, in steps that can be watched and cancelled.

Loading maps the files and reads them only as they are touched, which cannot be watched and, from
a cold disk, is slower than reading them in order. Knows files and bytes, no tensors.
"""

import mmap
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

STEP_BYTES = 32 * 2**20  # one step of progress, and the longest wait of a cancel
# Linux 5.14: fault pages in without copying them. Python's mmap does not name it before 3.15.
MADV_POPULATE_READ = 22


class ReadAhead:
    """Reads files in order, in a thread of its own."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.total_bytes = sum(file.stat().st_size for file in files)
        self.done_bytes = 0
        self._files = files
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Read no further than the step at hand."""
        self._stopped.set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long; true when everything was read or given up."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _read(self) -> None:
        for file in self._files:
            try:
                self._read_file(file)
            except (OSError, ValueError):
                # An empty or unreadable file: loading will say so better.
                self.done_bytes += file.stat().st_size if file.exists() else 0

    def _read_file(self, file: Path) -> None:
        with (
            file.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as pages,
        ):
            for start in range(0, len(pages), STEP_BYTES):
                if self._stopped.is_set():
                    return
                length = min(STEP_BYTES, len(pages) - start)
                if not _populate(pages, start, length):
                    stream.seek(start)
                    stream.read(length)
                self.done_bytes += length


def _populate(pages: mmap.mmap, start: int, length: int) -> bool:
    if sys.platform != "linux":  # the number means something else there, or nothing
        return False
    try:
        pages.madvise(MADV_POPULATE_READ, start, length)
    except OSError:  # an older kernel
        return False
    return True
