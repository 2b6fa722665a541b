"""Bringing repositories' files here: shared, retried, cancelled, told in bytes.

Knows when to try again, how long a server may make us wait, and how a failure reads. Each attempt
is a process of its own, which can be ended at any moment. Does not know the Hub's
protocol, nor who may have what.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gemma_space import hub, kept_files
from gemma_space.errors import DownloadError
from gemma_space.fetch_process import attempt
from gemma_space.kept_files import Kept
from gemma_space.memory import show_bytes

log = logging.getLogger(__name__)
TICK_SECONDS = 0.1
# Attempts in a row of which none finished another file.
MAX_ATTEMPTS = 6
MAX_BACKOFF_SECONDS = 30.0
MAX_WAIT_SECONDS = 300.0
STALL_SECONDS = 60.0
SPARE_BYTES = 256 << 20  # left free on the disk beside what is fetched
RETRIED = {"broken", "unreachable", "hub_broken", "rate_limited"}


class Report(Protocol):
    """Told where a download stands: bytes, and what is going on beside fetching."""

    def __call__(self, done_bytes: int, total_bytes: int, note: str = "") -> None: ...


class DownloadCancelledError(Exception):
    """Whoever wanted the download has left."""


@dataclass
class _Running:
    """A download and those who wait for it."""

    repo_id: str
    commit: str
    token: str | None = field(repr=False)
    weights: bool
    waiting: int = 0
    cancelled: bool = False
    done_bytes: int = 0
    total_bytes: int = 0
    note: str = ""
    refused: bool = False
    settled: threading.Event = field(default_factory=threading.Event)
    folder: Path | None = None
    error: Exception | None = None


class Downloads:
    """The downloads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str, bool], _Running] = {}
        self._plain_http = False  # the Hub's own transport failed here

    def bring(
        self,
        repo_id: str,
        commit: str,
        token: str | None,
        report: Report = lambda done_bytes, total_bytes, note="": None,
        cancelled: Callable[[], bool] = lambda: False,
        *,
        weights: bool = True,
    ) -> Path:
        """The folder with a checkpoint's files, fetched if they are not here, verified.

        Whoever asks for the same files meanwhile waits for the same download; it ends when the
        last of them leaves, within two seconds.

        Args:
            token: of whoever may have them; used by the first who asks.
            report: told as often as the caller is woken.
            cancelled: asked as often; true leaves.

        Raises:
            DownloadError: worded for people, whatever went wrong.
            DownloadCancelledError: `cancelled` said so.
        """
        kept = Kept(hub.cache_folder(repo_id), commit, weights)
        if kept.complete():
            return kept.folder
        download = self._join(repo_id, commit, token, weights)
        self._wait(download, report, cancelled)
        if download.refused and download.token != token:  # that was about somebody else
            download = self._join(repo_id, commit, token, weights)
            self._wait(download, report, cancelled)
        if download.folder is None:
            raise download.error or DownloadCancelledError()
        return download.folder

    def _wait(self, download: _Running, report: Report, cancelled: Callable[[], bool]) -> None:
        try:
            while not download.settled.wait(TICK_SECONDS):
                report(download.done_bytes, download.total_bytes, download.note)
                if cancelled():
                    raise DownloadCancelledError
        finally:
            self._leave(download)

    def _join(self, repo_id: str, commit: str, token: str | None, weights: bool) -> _Running:
        key = (repo_id, commit, weights)
        with self._lock:
            download = self._running.get(key)
            if download is None or download.cancelled:
                download = self._running[key] = _Running(repo_id, commit, token, weights)
                threading.Thread(
                    target=self._run, args=(key, download), name="download", daemon=True
                ).start()
            download.waiting += 1
            return download

    def _leave(self, download: _Running) -> None:
        with self._lock:
            download.waiting -= 1
            download.cancelled = download.cancelled or not download.waiting

    def _run(self, key: tuple[str, str, bool], download: _Running) -> None:
        try:
            download.folder = self._try_again_and_again(download)
        except (DownloadError, DownloadCancelledError) as error:
            download.error = error.with_traceback(None)
        except Exception as error:
            log.error("downloading %s failed", download.repo_id, exc_info=error)
            download.error = _in_words(download.repo_id, {"failed": "broken"}, 1)
        finally:
            with self._lock:
                if self._running.get(key) is download:
                    del self._running[key]
            download.settled.set()

    def _try_again_and_again(self, download: _Running) -> Path:
        in_vain, finished = 0, 0
        while True:
            told = self._attempt(download)
            if "folder" in told:
                return Path(told["folder"])
            now_finished = int(told.get("finished", 0))
            in_vain = 1 if now_finished > finished else in_vain + 1
            finished = max(finished, now_finished)
            wait = float(told.get("wait_seconds", 0)) or min(
                2.0 ** (in_vain - 1), MAX_BACKOFF_SECONDS
            )
            log.warning("download of %s: %s", download.repo_id, told["failed"])
            if told["failed"] not in RETRIED or in_vain >= MAX_ATTEMPTS or wait > MAX_WAIT_SECONDS:
                download.refused = told["failed"] == "refused"
                raise _in_words(download.repo_id, told, in_vain)
            for left in _countdown(wait):
                download.note = _WAITING[told["failed"] == "rate_limited"].format(
                    seconds=round(left + 0.5), next=in_vain + 1, most=MAX_ATTEMPTS
                )
                if download.cancelled:
                    raise DownloadCancelledError
            download.note = ""

    def _attempt(self, download: _Running) -> dict[str, Any]:
        """Run one process to its end and return what it told last."""
        last: dict[str, Any] = {"failed": "broken"}
        job = {
            "repo_id": download.repo_id, "commit": download.commit, "token": download.token,
            "weights": download.weights, "spare_bytes": SPARE_BYTES,
        }  # fmt: skip
        with attempt(job, self._plain_http) as lines:
            heard_at = time.monotonic()
            while True:
                if download.cancelled:
                    raise DownloadCancelledError
                try:
                    line = lines.get(timeout=TICK_SECONDS)
                except queue.Empty:
                    if time.monotonic() - heard_at > STALL_SECONDS:
                        self._plain_http = self._plain_http or bool(last.get("xet"))
                        return {**last, "failed": "broken", "error": "stall"}
                    continue
                heard_at = time.monotonic()
                if line is None:
                    break
                last |= line
                download.done_bytes = int(last.get("done", 0))
                download.total_bytes = int(last.get("total", 0))
                download.note = "Checking that what arrived is whole" if "checking" in line else ""
        if last.get("error") == "RuntimeError":  # how the Hub's own transport gives up
            self._plain_http = True
        return last


_WAITING = {
    True: "The Hub asks to wait; going on in {seconds} s",
    False: "The connection broke; attempt {next} of {most} in {seconds} s",
}


def _countdown(seconds: float) -> Iterator[float]:
    """The seconds that are left, until none are."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        yield left
        time.sleep(min(TICK_SECONDS, left))


def _in_words(repo_id: str, told: dict[str, Any], attempts: int) -> DownloadError:
    kind = told["failed"]
    if kind == "disk_full":
        sizes = ""
        if "needed_bytes" in told:
            needed, free = show_bytes(told["needed_bytes"]), show_bytes(told["free_bytes"])
            sizes = f": {needed} are to be fetched and {free} are free"
        return DownloadError(
            f"There is no room on the disk for {repo_id}{sizes}.",
            "Free some space, or choose a smaller model.",
        )
    if kind == "rate_limited":
        minutes = max(1, round(float(told.get("wait_seconds", 0)) / 60))
        return DownloadError(
            f"The Hub gives no more files of {repo_id} for the moment.",
            f"Load it again in about {minutes} min; the files that are here are kept.",
        )
    if kind == "refused":
        return DownloadError(
            f"The Hub refused the files of {repo_id} (status {told.get('status')}).",
            "Check the access to it, then load it again.",
        )
    if kind == "damaged":
        return DownloadError(
            f"A file of {repo_id} arrived damaged twice ({told.get('file')}).",
            "Load it again; if that does not help, the network changes what it carries.",
        )
    if kind == "disk":
        return DownloadError(
            f"The files of {repo_id} could not be written here ({told.get('error')}).",
            "Check that HF_HOME is a folder that may be written.",
        )
    return DownloadError(
        f"The files of {repo_id} could not be downloaded"
        + (f"; {attempts} attempts in a row failed." if attempts > 1 else "."),
        "Check the network, then load it again; the files that are here are kept.",
    )


def sweep() -> None:
    """Delete what downloads that broke off long ago left on the disk."""
    freed = kept_files.sweep(Path(hub.cache()))
    if freed:
        log.info("swept %s of broken-off downloads", show_bytes(freed))
