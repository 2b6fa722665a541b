"""One attempt to bring a repository's files here, in a process of its own.

Reads a job from stdin, tells on stdout how far it is, in lines of JSON, and ends when stdin is
closed: the other side cancelled, or is gone. A process can be ended whatever its libraries are
waiting for, and takes with it the caches in which they keep tokens. Knows neither retries nor
words; `downloads` does.

`python -m gemma_space.fetching` with a job like
`{"repo_id", "commit", "token", "cache", "weights", "spare_bytes"}`.
"""

import contextlib
import glob
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, set_client_factory, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import tqdm as hub_tqdm
from huggingface_hub.utils._runtime import is_xet_available

from gemma_space.fetch_faults import FetchError, Refused, explain, refusing_client
from gemma_space.kept_files import PARTIAL, Kept, needed, sha256, whole

TELL_SECONDS = 0.2
GRACE_SECONDS = 1.0
BEAT_SECONDS = 5.0
LIST_SECONDS = 10
# How often a slow connection's bar moves and a broken file may go on: every so many bytes.
CHUNK_BYTES = 1 << 18


class Cancelled(BaseException):
    """Ends a download from inside its bar; no `except Exception` may swallow it."""


class Attempt:
    """A job at work."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.repo_id, self.commit = str(job["repo_id"]), str(job["commit"])
        self.token: str | bool = job["token"] or False
        self.cache = Path(job["cache"])
        self.weights, self.spare_bytes = bool(job["weights"]), int(job["spare_bytes"])
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._told_at = 0.0
        self._total = self._there = self._arrived = 0
        self._stored: dict[str, str] = {}  # what the cache calls each file's contents

    def run(self) -> Path:
        """Have every needed file here, verified, and return their folder."""
        try:
            sizes, sums = self._listing()
        except (httpx2.TransportError, OfflineModeIsEnabled, Refused):
            here = self._here()
            if here is None:
                raise
            return here
        names, kept = list(sizes), self._kept(self.commit)
        threading.Thread(target=_beat, args=(kept.blobs,), daemon=True).start()
        bad: list[Path] = []
        for _ in range(2):
            self._begin(kept, sizes)
            self._download(names)
            if not all((kept.folder / name).exists() for name in names):
                raise FetchError("broken")
            bad = list(self._damaged(kept, names, sums))
            if not bad:
                kept.remember(names)
                return kept.folder
            for file in bad:
                _forget(file)
        raise FetchError("damaged", file=bad[0].name)

    def _kept(self, commit: str) -> Kept:
        folder = self.cache / repo_folder_name(repo_id=self.repo_id, repo_type="model")
        return Kept(folder, commit, self.weights)

    def _listing(self) -> tuple[dict[str, int], dict[str, str]]:
        """The size of each needed file, and the checksums that the Hub tells."""
        info = HfApi().model_info(
            self.repo_id, revision=self.commit, files_metadata=True,
            token=self.token, timeout=LIST_SECONDS,
        )  # fmt: skip
        self.commit = info.sha or self.commit  # a branch's name stood in for it
        files = {file.rfilename: file for file in info.siblings or ()}
        chosen = needed(files, self.weights)
        sums = {name: lfs.sha256 for name in chosen if (lfs := files[name].lfs) is not None}
        self._stored = {name: sums.get(name) or files[name].blob_id or name for name in chosen}
        return {name: files[name].size or 0 for name in chosen}, sums

    def _here(self) -> Path | None:
        """What is on the disk already: enough, once nobody can be asked what there should be."""
        try:
            found = Path(snapshot_download(
                self.repo_id, revision=self.commit, cache_dir=self.cache, local_files_only=True,
                allow_patterns=["config.json", "adapter_config.json"],
            ))  # fmt: skip
        except LocalEntryNotFoundError:
            return None
        if not whole(found, self.weights):
            return None
        names = needed((file.name for file in found.iterdir()), self.weights)
        bad = next(self._damaged(self._kept(found.name), names, {}), None)
        if bad is not None:
            raise FetchError("damaged", file=bad.name)
        return found

    def _begin(self, kept: Kept, sizes: dict[str, int]) -> None:
        """Count what is missing, and see that the disk has room for it."""
        # Another commit may have brought the same contents.
        missing = {
            name: size
            for name, size in sizes.items()
            if not (kept.folder / name).exists() and not (kept.blobs / self._stored[name]).exists()
        }
        self._total, needed_bytes = sum(sizes.values()), sum(missing.values())
        self._there, self._arrived = self._total - needed_bytes, 0
        self.cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.cache).free
        if needed_bytes and free < needed_bytes + self.spare_bytes:
            raise FetchError("disk_full", needed_bytes=needed_bytes, free_bytes=free)
        self.tell(finished=self._there, xet=is_xet_available())

    def _download(self, names: list[str]) -> None:
        constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
        snapshot_download(
            self.repo_id, revision=self.commit, token=self.token, cache_dir=self.cache,
            allow_patterns=[glob.escape(name) for name in names], tqdm_class=self._bar(),
        )  # fmt: skip

    def _damaged(self, kept: Kept, names: list[str], sums: dict[str, str]) -> Iterator[Path]:
        """Files whose contents are not what their checksum says."""
        for file in kept.unverified(names):
            wanted = kept.checksum(file, sums.get(file.name))
            if wanted is None:
                continue
            self.tell(checking=True)
            if sha256(file, lambda: self._tell_seldom(checking=True)) != wanted:
                yield file

    def _bar(self) -> type[hub_tqdm]:
        attempt = self

        class Bar(hub_tqdm):
            """Draws nothing and counts the bytes that are on the disk, not those of the wire."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                wire = str(kwargs.get("desc")).startswith("Downloading")
                self._counts = kwargs.get("unit") == "B" and not wire
                kwargs |= {"disable": False, "file": _Nowhere()}
                super().__init__(*args, **kwargs)

            def update(self, n: float | None = 1) -> bool | None:
                if attempt.cancelled.is_set():
                    raise Cancelled
                if self._counts:
                    attempt.arrived(int(n or 0))
                return super().update(n)

        return Bar

    def arrived(self, nbytes: int) -> None:
        """Count bytes, and tell now and then."""
        with self._lock:
            self._arrived += nbytes
        self._tell_seldom()

    def _tell_seldom(self, **facts: Any) -> None:
        if self.cancelled.is_set():
            raise Cancelled
        if time.monotonic() - self._told_at > TELL_SECONDS:
            self.tell(**facts)

    def tell(self, **facts: Any) -> None:
        """Say where the attempt stands."""
        self._told_at = time.monotonic()
        done = min(self._total, self._there + self._arrived)
        say({"done": done, "total": self._total, **facts})


class _Nowhere:
    """A file for tqdm to draw on that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None


def _beat(blobs: Path) -> None:
    """Tell that something moves while another process brings what this one waits for."""
    before = 0
    while True:
        time.sleep(BEAT_SECONDS)
        now = 0
        for partial in blobs.glob(PARTIAL):
            with contextlib.suppress(OSError):
                now += partial.stat().st_size
        if now != before:
            say({"moves": True})
        before = now


def say(facts: dict[str, Any]) -> None:
    """Tell the other side; when it is gone there is nobody to tell."""
    with contextlib.suppress(OSError, ValueError):
        print(json.dumps(facts), flush=True)


def _forget(file: Path) -> None:
    """Take a damaged file out of the cache, contents and name."""
    stored = file.resolve()
    for path in {file, stored}:
        path.unlink(missing_ok=True)


def _end_when_closed(attempt: Attempt) -> None:
    """Wait for the other side to go; then no more than a moment for a tidy end."""
    sys.stdin.read()
    attempt.cancelled.set()
    time.sleep(GRACE_SECONDS)
    for link in Path("/proc/self/fd").glob("*"):  # files that nobody would ever go on with
        with contextlib.suppress(OSError):
            target = link.readlink()
            if target.suffix == ".incomplete":
                target.unlink()
    os._exit(1)


def main() -> None:
    """Do the job on stdin."""
    attempt = Attempt(json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_when_closed, args=(attempt,), daemon=True).start()
    set_client_factory(refusing_client)
    try:
        say({"folder": str(attempt.run())})
    except Cancelled:
        return
    except BaseException as error:
        say(explain(error))


if __name__ == "__main__":
    main()
