"""A server that answers as badly as it is told to: cut off, damaged, late, or not at all.

Knows HTTP and what can go wrong below it; not what a Hub is.
"""

import re
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import unquote, urlsplit

Kind = Literal[
    "reset", "truncate", "stall", "slow", "status", "ignore_range", "corrupt", "wrong_length",
    "portal",
]  # fmt: skip
IN_THE_BODY = ("reset", "truncate", "stall", "slow", "corrupt", "wrong_length")
WITHOUT_A_BODY = ("reset", "truncate", "stall")  # what can happen to a HEAD
PORTAL = b"<html>Please log in to this hotel's network</html>"
PIECES_A_SECOND = 20


@dataclass
class Fault:
    """One thing that goes wrong, for the requests that it fits.

    Attributes:
        pattern: searched for in the path.
        kind: "reset" and "truncate" break the connection, by RST and by FIN; "stall" and
            "slow" keep it waiting; "corrupt" flips every bit, "wrong_length" says less than
            there is and means it; "status" and "portal" answer something else altogether.
        times: how often; None for ever.
        methods: a HEAD is reset, truncated or stalled before its headers.
        after_bytes: of the body, or of the whole file for "corrupt"; what comes before is right.
            "wrong_length" ends there, or in the middle if this is 0.
        seconds: how long a "stall" lasts; then the rest follows.
        bytes_per_second: of a "slow" body.
        status, headers: of a "status".
        met: how often it happened.
    """

    pattern: str
    kind: Kind
    times: int | None = 1
    methods: tuple[str, ...] = ("GET",)
    after_bytes: int = 0
    seconds: float = 0.0
    bytes_per_second: int = 1_000_000
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    met: int = 0

    def fits(self, method: str, path: str) -> bool:
        """Whether it is this request's turn."""
        left = self.times is None or self.met < self.times
        return left and method in self.methods and re.search(self.pattern, path) is not None


@dataclass(kw_only=True)
class Troubled:
    """What a server is told to do wrong.

    Attributes:
        faults: of those that fit a request, the first happens.
        delay_seconds: before any answer.
        bodies: path and length of each body that was sent, whole or in part.
        over: set once the server stops; ends whatever it waits for.
    """

    faults: list[Fault] = field(default_factory=list)
    delay_seconds: float = 0.0
    bodies: list[tuple[str, int]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def meet(self, method: str, path: str, *kinds: str) -> Fault | None:
        """The fault of one of these kinds that happens to this request, counted."""
        with self._lock:
            for fault in self.faults:
                if fault.kind in kinds and fault.fits(method, path):
                    fault.met += 1
                    return fault
        return None


H = TypeVar("H", bound=Troubled)


class FaultyHandler(BaseHTTPRequestHandler, Generic[H]):
    """Sends what a subclass decides, or what is left of it."""

    hub: H
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each small answer waits for the other side's patience

    def do_HEAD(self) -> None:
        self.hub.over.wait(self.hub.delay_seconds)
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self.hub.over.wait(self.hub.delay_seconds)
        self._serve(with_body=True)

    def log_message(self, format: str, *args: Any) -> None:
        return

    @property
    def asked(self) -> str:
        """The path that was asked for, unquoted and without its query."""
        return unquote(urlsplit(self.path).path)

    def _serve(self, with_body: bool) -> None:
        raise NotImplementedError

    def _spoilt(self) -> bool:
        """Whether a fault answered before anybody looked at the request."""
        kinds = ("status", "portal") + (WITHOUT_A_BODY if self.command == "HEAD" else ())
        fault = self.hub.meet(self.command, self.asked, *kinds)
        match fault.kind if fault else None:
            case "status" if fault:
                self._send(fault.status, b"", fault.headers)
            case "portal":
                self._send(200, PORTAL, {"Content-Type": "text/html"})
            case "stall" if fault:
                self.hub.over.wait(fault.seconds)
                return False
            case "reset":
                self._reset()
            case "truncate":
                self.close_connection = True
            case _:
                return False
        return True

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str], kept_as: str = ""
    ) -> None:
        """Answer; a body is noted under the path, or under what it is `kept_as`."""
        headers, fault, first = dict(headers), None, 0
        if body and status == 200 and body is not PORTAL:
            fault = self.hub.meet(self.command, self.asked, *IN_THE_BODY)
            if (asked := self._range()) and asked[0] >= len(body):
                status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
            elif asked:
                first, last = asked[0], min(asked[1] or len(body), len(body) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
                status, body = 206, body[first : last + 1]
        if fault and fault.kind == "corrupt":
            start = max(fault.after_bytes - first, 0)
            body = body[:start] + bytes(byte ^ 0xFF for byte in body[start:])
        elif fault and fault.kind == "wrong_length":
            body = body[: fault.after_bytes or len(body) // 2]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET" and body:
            self._write(kept_as or self.asked, body, fault)

    def _range(self) -> tuple[int, int | None] | None:
        """The first and last byte that were asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")
        if not asked or self.hub.meet(self.command, self.asked, "ignore_range"):
            return None
        return int(asked[1]), int(asked[2]) if asked[2] else None

    def _write(self, path: str, body: bytes, fault: Fault | None) -> None:
        kind, end = (fault.kind, fault.after_bytes) if fault else ("", 0)
        if kind in ("reset", "truncate"):
            self._put(path, body[:end])
            self._reset() if kind == "reset" else None
            self.close_connection = True
        elif kind == "stall" and fault:
            self._put(path, body[:end])
            self.hub.over.wait(fault.seconds)
            self._put(path, body[end:])
        elif kind == "slow" and fault:
            step = max(1, fault.bytes_per_second // PIECES_A_SECOND)
            for start in range(0, len(body), step):
                if not self._put(path, body[start : start + step]):
                    return
                self.hub.over.wait(1 / PIECES_A_SECOND)
        else:
            self._put(path, body)

    def _put(self, path: str, piece: bytes) -> bool:
        """Send a piece; false when nobody is there any more."""
        if self.hub.over.is_set() or not piece:
            return not piece
        # Noted first: a client that has the bytes may look at once whether it was sent them.
        self.hub.bodies.append((path, len(piece)))
        try:
            self.wfile.write(piece)
        except OSError:
            self.close_connection = True
            return False
        return True

    def _reset(self) -> None:
        """Break the connection with RST; what was sent before gets a moment to arrive."""
        time.sleep(0.02)
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.rfile.close()  # it holds the socket too
        self.connection.close()
