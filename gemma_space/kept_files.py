"""What of a repository is kept on this machine's disk, whole and verified.

Knows which of a repository's files are needed, where the Hub's cache puts them, and the record of
those whose contents were compared with their checksums. Does not fetch anything.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

# What a checkpoint needs; other formats of the weights stay on the Hub.
WANTED = ("*.json", "*.jinja", "tokenizer.model")
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
RECORD = "gemma-space-verified.json"
SHA256 = re.compile(r"[0-9a-f]{64}")
PARTIAL = "*.incomplete"
HOUR_SECONDS = 3600.0
STEP_BYTES = 8 << 20


def needed(names: Iterable[str], weights: bool = True) -> list[str]:
    """The files of a repository that a load reads, of all its files.

    Weights as transformers chooses them: one file before shards. A tokenizer in one format; the
    fast one where there is one. Nothing in subfolders, which hold other formats.

    Args:
        weights: false leaves the weights out.
    """
    there = {name for name in names if "/" not in name}
    chosen = {name for name in there if any(fnmatchcase(name, p) for p in WANTED)}
    if "tokenizer.json" in there:
        chosen.discard("tokenizer.model")
    if not weights or WHOLE in there:
        chosen.discard(INDEX)
    if not weights:
        return sorted(chosen)
    stored = {name for name in there if name.endswith(".safetensors")}
    if WHOLE in stored:
        stored = {name for name in stored if name == WHOLE or not name.startswith("model")}
    elif INDEX in there:
        stored = {name for name in stored if SHARD.fullmatch(name) or "adapter" in name}
    return sorted(chosen | stored)


def whole(folder: Path, weights: bool) -> bool:
    """Whether a folder has what a load reads, as far as its own files tell."""
    there = {file.name for file in folder.iterdir()}
    if not weights:
        return bool(there & {"tokenizer.json", "tokenizer.model"})
    if not there & {"config.json", "adapter_config.json"}:
        return False
    if INDEX in there and WHOLE not in there:
        shards = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return set(shards) <= there
    return any(name.endswith(".safetensors") for name in there)


def stamp(file: Path) -> list[int]:
    """What tells that a file is still the one that was looked at: size and time in ns."""
    facts = file.stat()
    return [facts.st_size, facts.st_mtime_ns]


class Kept:
    """The files of one repository at one commit, as the Hub's cache lays them out.

    Args:
        repository: the repository's folder in the cache.
        commit: 40 hexadecimal digits.
        weights: with the weights, or all but those.
    """

    def __init__(self, repository: Path, commit: str, weights: bool) -> None:
        self.folder = repository / "snapshots" / commit
        self.blobs = repository / "blobs"
        self._record = repository / RECORD
        self._key = commit if weights else f"{commit} without weights"

    def complete(self) -> bool:
        """Whether every needed file is here and is the one that was verified."""
        files = self._read().get(self._key)
        with contextlib.suppress(OSError):
            return bool(files) and all(
                stamp(self.folder / name) == seen for name, seen in files.items()
            )
        return False

    def unverified(self, names: Iterable[str]) -> Iterator[Path]:
        """Those of the files whose contents nobody has compared yet."""
        seen: dict[str, list[int]] = {}
        for files in self._read().values():
            seen |= files
        for name in names:
            file = self.folder / name
            if stamp(file) != seen.get(name):
                yield file

    def checksum(self, file: Path, listed: str | None) -> str | None:
        """The sha256 that a file must have; None for small files, which have another.

        The cache names what is stored apart by it. Where it keeps no such names (a file system
        without links), it is what the Hub `listed`, which masks it for some.
        """
        stored = file.resolve()
        known = stored.name if stored.parent == self.blobs.resolve() else listed or ""
        return known if SHA256.fullmatch(known) else None

    def remember(self, names: Iterable[str]) -> None:
        """Note that these are all there is to it, and verified."""
        record = {**self._read(), self._key: {name: stamp(self.folder / name) for name in names}}
        part = self._record.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):  # a cache that cannot be written is verified each time
            part.write_text(json.dumps(record), encoding="utf-8")
            part.replace(self._record)

    def _read(self) -> dict[str, dict[str, list[int]]]:
        try:
            found = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        pairs = found.items() if isinstance(found, dict) else ()
        return {key: files for key, files in pairs if isinstance(files, dict)}


def sha256(file: Path, step: Callable[[], object] = lambda: None) -> str:
    """A file's checksum, in hexadecimal digits; `step` is called every few megabytes."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(STEP_BYTES):
            digest.update(piece)
            step()
    return digest.hexdigest()


def sweep(cache: Path, older_than_seconds: float = HOUR_SECONDS) -> int:
    """Delete what broken-off downloads left in the Hub's cache, and return how many bytes.

    Nothing resumes such a file. A younger one may belong to a download of another program.
    """
    freed = 0
    for partial in cache.glob(f"models--*/blobs/{PARTIAL}"):
        with contextlib.suppress(OSError):
            facts = partial.stat()
            if time.time() - facts.st_mtime > older_than_seconds:
                partial.unlink()
                freed += facts.st_size
    return freed
