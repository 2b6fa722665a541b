"""A small Hub on the loopback interface: gates, branches and files, as the real one answers.

Knows the wire (status, `X-Error-Code`, `X-Error-Message`, `X-Repo-Commit`, `Range`), sends large
files through signed addresses of a second origin, and keeps every request it saw and every body
it sent. Tokens are named after what is wrong with them. A repository it was told nothing about
answers as a gated one does. Wording and masks follow recordings of the real Hub; it was never
compared with it, has no chunk storage (Xet), no pages and no other kinds of repositories.
"""

import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.hub_faults import PORTAL, Fault, FaultyHandler
from tests.hub_files import LFS_SUFFIXES, Facts, Listing, facts, heads
from tests.hub_second_origin import SIGNATURE, SecondOrigin, Signing, token_of
from tests.hub_tls import Network, write_authority
from tests.hub_tokens import ACCOUNTS, ANONYMOUS, ANSWERS, ANYWHERE, GOOD, GRANTED, MISSING, whoami

__all__ = ["ANSWERS", "ANYWHERE", "COMMIT", "GOOD", "GRANTED", "SIGNATURE", "Fault", "StandInHub"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of every main branch
XET_TOKEN = "xet_canary"
NOBODY = "http://127.0.0.1:9"  # nothing listens there: the chunk storage is always broken
MAIN = ("main", COMMIT)


@dataclass
class StandInHub(Signing):
    """What it serves, to whom, and under which names.

    Attributes:
        ca_file: who signed its certificate, where it speaks TLS.
        files: the folder behind each repository's main branch.
        branches: the folders behind other branches, by repository and name.
        open, private, missing: repositories that are not gated; seen only with a granted
            token; not there at all.
        renamed: the new id of each repository that has one.
        lfs_names, xet_names: files kept by LFS besides those with its suffixes, and by Xet.
        granted: tokens that may read what is gated or private.
        accounts: whose each token is; other tokens are of accounts named like them.
        limited_seconds: how long a 429 asks to wait.
    """

    url: str
    network: Network = field(repr=False)
    ca_file: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)
    branches: dict[tuple[str, str], Path] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    lfs_names: set[str] = field(default_factory=set)
    xet_names: set[str] = field(default_factory=set)
    granted: set[str] = field(default_factory=lambda: set(GRANTED))
    accounts: dict[str, str] = field(default_factory=lambda: dict(ACCOUNTS))
    limited_seconds: int = 1

    def add(self, repo: str, folder: Path, *, gated: bool = False, license: str = "gemma") -> str:
        """Serve a folder as a repository and return its id."""
        self.files[repo], self.licenses[repo] = folder, license
        if not gated:
            self.open.add(repo)
        return repo

    def folder(self, repo: str, revision: str) -> Path | None:
        """What a branch or commit holds; None where there is no such revision."""
        if revision in MAIN:
            return self.files.get(repo)
        return next(
            (
                folder
                for (owner, branch), folder in self.branches.items()
                if owner == repo and revision in (branch, commit_of(branch))
            ),
            None,
        )

    def sent(self, ending: str) -> int:
        """Bytes of files with this ending that anybody received."""
        return sum(length for path, length in self.bodies if path.endswith(ending))

    def is_xet(self, file: Path) -> bool:
        """Whether a file is told to be in chunk storage."""
        return file.name in self.xet_names

    def is_lfs(self, file: Path) -> bool:
        """Whether a file comes from the second origin; what is in chunk storage does too."""
        return file.suffix in LFS_SUFFIXES or file.name in self.lfs_names | self.xet_names

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections until the block ends; then answer at the same addresses."""
        self.over.set()
        self.network.stop()
        try:
            yield
        finally:
            self.over.clear()
            self.network.start(self)


def commit_of(branch: str) -> str:
    """The commit at a branch's head; any other revision is its own."""
    if re.fullmatch(r"[0-9a-f]{40}", branch):
        return branch
    return COMMIT if branch == "main" else hashlib.sha1(branch.encode()).hexdigest()


class _Handler(FaultyHandler[StandInHub]):
    def _serve(self, with_body: bool) -> None:
        self.token = token = token_of(self.headers)
        self.hub.requests.append((self.command, self.asked, token))
        is_api = self.asked.startswith("/api/models/")
        path = urlsplit(self.path).path.removeprefix("/api/models" if is_api else "")
        parts = [unquote(part) for part in path.split("/")]
        repo, rest = "/".join(parts[1:3]), parts[3:]
        if self._spoilt():
            return
        if token in ANYWHERE:
            self._refuse(*ANSWERS[token])
        elif self.asked == "/api/whoami-v2":
            self._whoami()
        elif repo in self.hub.renamed:
            there = self.path.replace(f"/{repo}", f"/{self.hub.renamed[repo]}", 1)
            self._send(307, b"", {"Location": there})
        elif repo in self.hub.missing or (repo in self.hub.private and not self._is_granted()):
            self._refuse(*(MISSING if token else ANONYMOUS))
        elif is_api and rest[:1] not in (["auth-check"], ["xet-read-token"]):
            self._api(repo, rest)
        elif repo not in self.hub.open and not self._is_granted():
            self._refuse(*ANSWERS.get(token, ANSWERS["hf_invalid"]))
        elif is_api:
            self._xet_token() if rest[0] == "xet-read-token" else self._send(200, b"OK", {})
        else:
            self._file(repo, rest)

    def _is_granted(self) -> bool:
        return self.token in self.hub.granted

    def _whoami(self) -> None:
        if self.token is None:
            self._refuse(*ANONYMOUS)
        elif self.token in {*ANSWERS, *self.hub.granted, *self.hub.accounts}:
            self._send_json(whoami(self.token, self.hub.accounts))
        else:
            self._refuse(*ANSWERS["hf_invalid"])

    def _file(self, repo: str, rest: list[str]) -> None:
        revision = rest[1] if len(rest) > 2 else "main"
        folder = self.hub.folder(repo, revision)
        file = folder / "/".join(rest[2:]) if folder else None
        if folder is None and revision not in MAIN:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        commit = {"X-Repo-Commit": commit_of(revision)}
        if file is None or not file.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found", commit)
        elif self.hub.is_lfs(file):
            self._send(302, b"", commit | self._elsewhere(repo, revision, file, facts(file)))
        else:
            self._send(200, file.read_bytes(), commit | {"ETag": f'"{facts(file).git_sha1}"'})

    def _elsewhere(self, repo: str, revision: str, file: Path, known: Facts) -> dict[str, str]:
        headers = {
            "Location": self.hub.sign(self.asked, file, self.token),
            "X-Linked-Etag": f'"{known.sha256}"',
            "X-Linked-Size": str(known.size),
        }
        if self.hub.is_xet(file):
            auth = f"{self.hub.url}/api/models/{repo}/xet-read-token/{commit_of(revision)}"
            headers |= {"X-Xet-Hash": known.xet_hash, "Link": f'<{auth}>; rel="xet-auth"'}
        return headers

    def _xet_token(self) -> None:
        expires = int(time.time()) + 3600
        told = {"casUrl": NOBODY, "exp": expires, "accessToken": XET_TOKEN}
        names = ("X-Xet-Cas-Url", "X-Xet-Token-Expiration", "X-Xet-Access-Token")
        self._send_json(told, dict(zip(names, map(str, told.values()), strict=True)))

    def _api(self, repo: str, rest: list[str]) -> None:
        revision = rest[1] if len(rest) > 1 else "main"
        folder = self.hub.folder(repo, revision)
        if folder is None:
            code = "RevisionNotFound" if repo in self.hub.files else "RepoNotFound"
            self._refuse(404, code, "Not found")
            return
        asked = parse_qs(urlsplit(self.path).query)
        masked = repo not in self.hub.open and not self._is_granted()
        listing = Listing(folder, self.hub.is_lfs, self.hub.is_xet, masked)
        commit = {"X-Repo-Commit": commit_of(revision)}
        if rest[:1] == ["refs"]:
            branches = [name for owner, name in self.hub.branches if owner == repo]
            self._send_json(heads({name: commit_of(name) for name in ("main", *branches)}))
        elif rest[:1] != ["tree"]:
            blobs = {"siblings": listing.siblings("blobs" in asked)}
            self._send_json(self._about(repo, revision) | blobs, commit)
        else:
            recursive = asked.get("recursive", [""])[0].lower() == "true"
            found = listing.tree("/".join(rest[2:]), recursive)
            if found is None:
                self._refuse(404, "EntryNotFound", "Entry not found", commit)
            else:
                self._send_json(found, commit)

    def _about(self, repo: str, revision: str) -> dict[str, Any]:
        return {
            "id": repo, "sha": commit_of(revision), "tags": [], "downloads": 0, "likes": 0,
            "private": repo in self.hub.private,
            "gated": False if repo in self.hub.open | self.hub.private else "manual",
            "cardData": {"license": self.hub.licenses.get(repo, "gemma")},
        }  # fmt: skip

    def _refuse(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        if code == "PORTAL":
            self._send(status, PORTAL, {})
            return
        told = {**(headers or {}), "X-Error-Message": message}
        if code == "EntryNotFound":
            told.setdefault("X-Repo-Commit", COMMIT)
        if code:
            told["X-Error-Code"] = code
        if status == 429:
            quota = "api" if self.asked.startswith("/api/") else "resolvers"
            seconds = self.hub.limited_seconds
            told |= {"RateLimit": f'"{quota}";r=0;t={seconds}', "Retry-After": str(seconds)}
        self._send(status, b"", told)

    def _send_json(self, value: Any, headers: Mapping[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json"}
        self._send(200, json.dumps(value).encode(), kind | dict(headers or {}))


@contextmanager
def serve(tls: bool = False) -> Iterator[StandInHub]:
    """Serve on free ports until the block ends."""
    with ExitStack() as stack:
        authority = None
        if tls:
            authority = write_authority(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        network = Network([_Handler, SecondOrigin], tls)
        here, elsewhere = network.urls
        hub = StandInHub(here, network, authority, cdn_url=elsewhere)
        network.start(hub)
        try:
            yield hub
        finally:
            hub.over.set()
            network.stop()
            if tls:
                _forget_client()  # it trusts nobody but this Hub


@contextmanager
def in_place(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tls: bool = False
) -> Iterator[StandInHub]:
    """Serve to this process's client, which keeps what it downloads in `cache`."""
    with serve(tls) as hub:
        point_client_at(hub, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        yield hub


def point_client_at(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `huggingface_hub` take this for the Hub; it read its endpoint at import.

    A child process does with this environment and `HF_ENDPOINT`.
    """
    from huggingface_hub import constants

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    if hub.ca_file:
        monkeypatch.setenv("SSL_CERT_FILE", str(hub.ca_file))
    _forget_client()  # the next one reads its certificates anew


def _forget_client() -> None:
    if "huggingface_hub" in sys.modules:
        from huggingface_hub.utils import close_session

        close_session()
