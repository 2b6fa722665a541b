"""A small Hub on the loopback interface: gates, branches and files, as the real one answers.

Knows the wire (status, `X-Error-Code`, `X-Error-Message`, `X-Repo-Commit`, `Range`) and keeps
every request it saw and every body it sent. Tokens are named after what is wrong with them. A
repository it was told nothing about answers as a gated one does.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of every main branch
GOOD = "hf_goodgoodgood"
MAIN = ("main", COMMIT)

# What a gated repository answers to each token: status, error code, message.
ANSWERS: dict[str | None, tuple[int, str, str]] = {
    None: (401, "GatedRepo", "Access to model x is restricted. You must be authenticated."),
    "hf_not_accepted": (403, "GatedRepo", "... and you are not in the authorized list."),
    "hf_pending": (403, "GatedRepo", "Your request is awaiting a review from the authors."),
    "hf_rejected": (403, "GatedRepo", "Your request to access model x has been rejected."),
    "hf_fine_grained": (
        403, "",
        "Please enable access to public gated repositories in your fine-grained token settings",
    ),
    "hf_invalid": (401, "", "Invalid credentials in Authorization header"),
    "hf_expired": (401, "", 'User Access Token "mine" is expired'),
    "hf_blind": (404, "RepoNotFound", "Repository not found"),
    "hf_limited": (429, "", "Too many requests"),
    "hf_broken": (500, "", "Internal error"),
    "hf_maintenance": (503, "", "Down for maintenance"),
    "hf_timeout": (408, "", "Request timeout"),
    "hf_no_file": (404, "EntryNotFound", "Entry not found"),
    "hf_portal": (200, "PORTAL", "Please log in to this hotel's network"),
    "hf_forbidden": (403, "", "Forbidden"),
}  # fmt: skip
# Answered whatever the repository: the token is no good, or the Hub is not.
ANYWHERE = {"hf_invalid", "hf_expired", "hf_limited", "hf_broken", "hf_maintenance", "hf_timeout",
            "hf_portal"}  # fmt: skip


@dataclass
class StandInHub:
    """What it serves, and what it was asked: method, path and token of each request.

    Attributes:
        files: the folder behind each repository's main branch.
        branches: the folders behind other branches, by repository and name.
        open, private, missing: repositories that are not gated; seen only with a granted
            token; not there at all.
        bodies: path and length of each file body that was sent, whole or in part.
        granted: tokens that may read what is gated or private.
    """

    url: str
    files: dict[str, Path] = field(default_factory=dict)
    branches: dict[tuple[str, str], Path] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    bodies: list[tuple[str, int]] = field(default_factory=list)
    granted: set[str] = field(default_factory=lambda: {GOOD})

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


def commit_of(branch: str) -> str:
    """The commit at a branch's head; any other revision is its own."""
    if re.fullmatch(r"[0-9a-f]{40}", branch):
        return branch
    return COMMIT if branch == "main" else hashlib.sha1(branch.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each small answer waits for the other side's patience

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _serve(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        header = self.headers.get("authorization")
        token = header.removeprefix("Bearer ") if header else None
        self.hub.requests.append((self.command, path, token))
        is_api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models" if is_api else "").split("/")
        repo, rest = "/".join(parts[1:3]), parts[3:]
        if token in ANYWHERE:
            self._refuse(*ANSWERS[token], with_body)
        elif repo in self.hub.missing or self._hides(repo, token):
            code = (404, "RepoNotFound", "Repository not found")
            anonymous = (401, "", "Invalid username or password.")
            self._refuse(*(code if token else anonymous), with_body)
        elif is_api:
            self._api(repo, rest, with_body)
        elif repo not in self.hub.open and token not in self.hub.granted:
            self._refuse(*ANSWERS.get(token, ANSWERS["hf_invalid"]), with_body)
        else:
            self._file(repo, rest, with_body)

    def _hides(self, repo: str, token: str | None) -> bool:
        return repo in self.hub.private and token not in self.hub.granted

    def _file(self, repo: str, rest: list[str], with_body: bool) -> None:
        revision = rest[1] if len(rest) > 2 else "main"
        folder = self.hub.folder(repo, revision)
        file = folder / "/".join(rest[2:]) if folder else None
        if folder is None and revision not in MAIN:
            self._refuse(404, "RevisionNotFound", "Invalid rev id", with_body)
        elif file is None or not file.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found", with_body, revision)
        else:
            self._send(200, file.read_bytes(), {}, with_body, commit=commit_of(revision))

    def _api(self, repo: str, rest: list[str], with_body: bool) -> None:
        revision = rest[1] if len(rest) > 1 else "main"
        folder = self.hub.folder(repo, revision)
        if folder is None:
            code = "RevisionNotFound" if repo in self.hub.files else "RepoNotFound"
            self._refuse(404, code, "Not found", with_body)
            return
        files = sorted(f for f in folder.iterdir() if f.is_file())
        if rest and rest[0] == "tree":
            value: Any = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _oid(f)}
                for f in files
            ]
        else:
            value = {
                "id": repo, "sha": commit_of(revision),
                "siblings": [{"rfilename": f.name} for f in files], "tags": [],
                "downloads": 0, "likes": 0, "private": repo in self.hub.private,
                "gated": False if repo in self.hub.open | self.hub.private else "manual",
                "cardData": {"license": self.hub.licenses.get(repo, "gemma")},
            }  # fmt: skip
        kind = {"Content-Type": "application/json"}
        body = json.dumps(value).encode()
        self._send(200, body, kind, with_body, commit=commit_of(revision))

    def _refuse(
        self, status: int, code: str, message: str, with_body: bool, revision: str = "main"
    ) -> None:
        headers = {"X-Error-Message": message}
        if code == "PORTAL":
            self._send(status, message.encode(), {}, with_body)
            return
        if code:
            headers["X-Error-Code"] = code
        commit = commit_of(revision) if code == "EntryNotFound" else ""
        self._send(status, b"", headers, with_body, commit=commit)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        with_body: bool,
        commit: str = "",
    ) -> None:
        if commit:
            etag = f'"{hashlib.sha1(body).hexdigest()}"'
            headers = {**headers, "X-Repo-Commit": commit, "ETag": etag}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")
        if asked and status == 200:
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            headers |= {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
            status, body = 206, body[first : last + 1]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.hub.bodies.append((unquote(urlsplit(self.path).path), len(body)))
            self.wfile.write(body)


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def serve() -> Iterator[StandInHub]:
    """Serve on a free port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = StandInHub(url=f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"hub": hub})
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


@contextmanager
def in_place(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[StandInHub]:
    """Serve to this process's client, which keeps what it downloads in `cache`."""
    with serve() as hub:
        point_client_at(hub, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        yield hub


def point_client_at(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `huggingface_hub` take this for the Hub; it read its endpoint at import."""
    from huggingface_hub import constants

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
