"""What a Hub tells about the files of a folder: sizes, git and LFS checksums, listings.

Pure values in the shapes of the API's JSON; no server and no client.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

LFS_SUFFIXES = frozenset({".safetensors", ".bin", ".gguf", ".msgpack", ".h5"})
MASKED = "*" * 64  # instead of a checksum, for those who may not read the file


@dataclass(frozen=True)
class Facts:
    """Of one file: its size, what git calls it, and its sha256."""

    size: int
    git_sha1: str
    sha256: str

    @property
    def pointer(self) -> bytes:
        """What git keeps where LFS keeps the file."""
        version = "version https://git-lfs.github.com/spec/v1"
        return f"{version}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def xet_hash(self) -> str:
        """Some other 64 digits: a real one takes the chunks that the stand-in does not make."""
        return hashlib.sha256(f"xet {self.sha256}".encode()).hexdigest()


def facts(file: Path) -> Facts:
    """Read once for as long as the file stays as it is."""
    stat = file.stat()
    return _facts(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1000)
def _facts(file: Path, size: int, mtime_ns: int) -> Facts:
    body = file.read_bytes()
    return Facts(len(body), git_sha1(body), hashlib.sha256(body).hexdigest())


def git_sha1(body: bytes) -> str:
    """The name of a blob in git."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def heads(commits: Mapping[str, str]) -> dict[str, Any]:
    """The branches of a repository."""
    branches = [
        {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
        for name, commit in commits.items()
    ]
    return {"branches": branches, "tags": [], "converts": [], "pullRequests": []}


@dataclass(frozen=True)
class Listing:
    """A folder as one caller sees it.

    Attributes:
        is_lfs, is_xet: asked about each file.
        masked: the caller may not read what LFS keeps, and does not see its checksums.
    """

    folder: Path
    is_lfs: Callable[[Path], bool]
    is_xet: Callable[[Path], bool]
    masked: bool = False

    def siblings(self, blobs: bool) -> list[dict[str, Any]]:
        """Every file, with sizes and checksums if wanted."""
        return [
            {"rfilename": name, **(self._blob(file) if blobs else {})}
            for name, file in self._under(self.folder, recursive=True)
            if file.is_file()
        ]

    def tree(self, inside: str, recursive: bool) -> list[dict[str, Any]] | None:
        """What is in a subfolder; None where there is no such."""
        folder = self.folder / inside
        if not folder.is_dir():
            return None
        return [self._entry(name, file) for name, file in self._under(folder, recursive)]

    def _under(self, folder: Path, recursive: bool) -> Iterator[tuple[str, Path]]:
        found = folder.rglob("*") if recursive else folder.iterdir()
        for file in sorted(found):
            yield file.relative_to(self.folder).as_posix(), file

    def _entry(self, name: str, file: Path) -> dict[str, Any]:
        if file.is_dir():
            oid = hashlib.sha1(name.encode()).hexdigest()
            return {"type": "directory", "path": name, "size": 0, "oid": oid}
        blob = self._blob(file)
        entry = {"type": "file", "path": name, "size": blob["size"], "oid": blob["blobId"]}
        if lfs := blob.get("lfs"):
            entry["lfs"] = {"oid": lfs["sha256"], **lfs}
        if self.is_xet(file):
            entry["xetHash"] = MASKED if self.masked else facts(file).xet_hash
        return entry

    def _blob(self, file: Path) -> dict[str, Any]:
        known = facts(file)
        if not self.is_lfs(file):
            return {"size": known.size, "blobId": known.git_sha1}
        sha256 = MASKED if self.masked else known.sha256
        lfs = {"sha256": sha256, "size": known.size, "pointerSize": len(known.pointer)}
        return {"size": known.size, "blobId": git_sha1(known.pointer), "lfs": lfs}
