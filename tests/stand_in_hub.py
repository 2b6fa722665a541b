"""A small Hub on the loopback interface: gates, error headers and files, as the real one answers.

Knows the wire (status, `X-Error-Code`, `X-Error-Message`, `X-Repo-Commit`) and keeps every
request it saw. Tokens are named after what is wrong with them.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD = "hf_goodgoodgood"

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


@dataclass
class StandInHub:
    """What it serves, and what it was asked: method, path and token of each request."""

    url: str
    files: dict[str, Path] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    granted: set[str] = field(default_factory=lambda: {GOOD})


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _serve(self, with_body: bool) -> None:
        path = urlsplit(self.path).path
        header = self.headers.get("authorization")
        token = header.removeprefix("Bearer ") if header else None
        self.hub.requests.append((self.command, path, token))
        repo = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        folder = self.hub.files.get(repo)
        if path.startswith("/api/models/"):
            self._api(path, folder, with_body)
        elif token not in self.hub.granted:
            self._refuse(*ANSWERS.get(token, ANSWERS["hf_invalid"]), with_body)
        elif folder is None or not (folder / path.rsplit("/", 1)[1]).is_file():
            self._refuse(404, "EntryNotFound", "Entry not found", with_body)
        else:
            self._send(200, (folder / path.rsplit("/", 1)[1]).read_bytes(), {}, with_body)

    def _api(self, path: str, folder: Path | None, with_body: bool) -> None:
        if folder is None:
            self._refuse(404, "RepoNotFound", "Repository not found", with_body)
            return
        files = sorted(f for f in folder.iterdir() if f.is_file())
        if "/tree/" in path:
            value: Any = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _oid(f)}
                for f in files
            ]
        else:
            value = {
                "id": "x/y", "sha": COMMIT, "siblings": [{"rfilename": f.name} for f in files],
                "tags": [], "downloads": 0, "likes": 0, "private": False, "gated": "manual",
            }  # fmt: skip
        kind = {"Content-Type": "application/json"}
        self._send(200, json.dumps(value).encode(), kind, with_body)

    def _refuse(self, status: int, code: str, message: str, with_body: bool) -> None:
        headers = {"X-Error-Message": message}
        if code == "PORTAL":
            self._send(status, message.encode(), {}, with_body, commit=False)
            return
        if code:
            headers["X-Error-Code"] = code
        self._send(status, b"", headers, with_body, commit=code == "EntryNotFound")

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        with_body: bool,
        commit: bool = True,
    ) -> None:
        self.send_response(status)
        if commit:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
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


def point_client_at(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `huggingface_hub` take this for the Hub; it read its endpoint at import."""
    from huggingface_hub import constants

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
