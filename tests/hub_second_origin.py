"""Where the Hub keeps large files: another origin, with signed addresses and no tokens.

Knows which addresses were signed, for whom and for which file; not what a repository is.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.hub_faults import FaultyHandler, Troubled
from tests.hub_files import facts

SIGNATURE = "SIGNEDURLCANARY"  # begins what is secret in a signed address


@dataclass(kw_only=True)
class Signing(Troubled):
    """What both origins know.

    Attributes:
        requests: method, path and token of each request; those to the second origin have a path
            under /cdn and count for the token that got the address signed.
        cdn_requests: the latter with the token that they really carried, which must be none.
        signed: by signature, for which token and which file.
    """

    cdn_url: str
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    cdn_requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    signed: dict[str, tuple[str | None, Path]] = field(default_factory=dict)

    def sign(self, path: str, file: Path, token: str | None) -> str:
        """An address of a file at the second origin, good for whoever has it."""
        with self._lock:
            signature = f"{SIGNATURE}{len(self.signed):04d}"
            self.signed[signature] = (token, file)
        return f"{self.cdn_url}/cdn{path}?sig={signature}&Expires={int(time.time()) + 3600}"


class SecondOrigin(FaultyHandler[Signing]):
    """Gives a file to whoever has a signed address."""

    def _serve(self, with_body: bool) -> None:
        path, query = self.asked, parse_qs(urlsplit(self.path).query)
        token, file = self.hub.signed.get(query.get("sig", [""])[0], (None, None))
        self.hub.cdn_requests.append((self.command, path, token_of(self.headers)))
        self.hub.requests.append((self.command, path, token))
        if self._spoilt():
            return
        if file is None:
            self._send(403, b"", {})
        else:
            etag = {"ETag": f'"{facts(file).sha256}"'}
            self._send(200, file.read_bytes(), etag, kept_as=path.removeprefix("/cdn"))


def token_of(headers: Any) -> str | None:
    """The token that a request carries."""
    header = headers.get("authorization")
    return header.removeprefix("Bearer ") if header else None
