"""The ways in which an attempt to fetch files ends early, as facts that travel between processes.

Knows the Hub client's errors and what its answers mean for the next attempt. Does not know when
that is, nor how a failure reads; `downloads` does.
"""

import os
from errno import EDQUOT, ENOSPC
from typing import Any
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers
from huggingface_hub.utils._http import default_client_factory

DEFAULT_WAIT_SECONDS = 5.0


class Refused(BaseException):
    """The Hub is overloaded or broken; whoever started this process decides when to ask again."""

    def __init__(self, status: int, wait_seconds: float) -> None:
        super().__init__(status)
        self.status, self.wait_seconds = status, wait_seconds


class FetchError(Exception):
    """Why the attempt is over, as the facts to tell."""

    def __init__(self, kind: str, **facts: Any) -> None:
        super().__init__(kind)
        self.facts = {"failed": kind, **facts}


def refusing_client() -> httpx2.Client:
    """The library's client, which waits for nobody: its own waits can neither be told nor ended."""

    def look(response: httpx2.Response) -> None:
        if response.status_code == 429:
            raise Refused(429, _wait_seconds(response.headers))
        if response.status_code >= 500:
            raise Refused(response.status_code, 0.0)

    client = default_client_factory()
    client.event_hooks = {**client.event_hooks, "response": [look]}
    return client


def _wait_seconds(headers: Any) -> float:
    info = parse_ratelimit_headers(headers)
    told = headers.get("retry-after", "")
    if told.isdigit():
        return float(told)
    return float(info.reset_in_seconds) if info else DEFAULT_WAIT_SECONDS


def _answer_of(error: BaseException | None) -> int | None:
    """The status of the Hub's answer behind an error; the library wraps it in others.

    Another server's is none: where files are stored a refusal means that a signature grew old.
    """
    while error is not None:
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            asked = urlsplit(str(error.response.request.url)).netloc
            is_hub = asked == urlsplit(constants.ENDPOINT).netloc
            return error.response.status_code if is_hub else None
        error = error.__cause__ or error.__context__
    return None


def explain(error: BaseException) -> dict[str, Any]:
    """An error as facts, none of the library's text among them: it can hold a signed address."""
    if isinstance(error, FetchError):
        return error.facts
    if isinstance(error, Refused):
        kind = "rate_limited" if error.status == 429 else "hub_broken"
        return {"failed": kind, "wait_seconds": error.wait_seconds, "status": error.status}
    status = _answer_of(error)
    if status is not None and status < 500 and status not in (408, 416):
        return {"failed": "refused", "status": status}
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
        return {"failed": "disk_full"}
    if isinstance(error, (OfflineModeIsEnabled, LocalEntryNotFoundError)):
        return {"failed": "unreachable"}
    if isinstance(error, OSError) and error.errno is not None:
        return {"failed": "disk", "error": os.strerror(error.errno).lower()}
    if isinstance(error, httpx2.ConnectError):
        return {"failed": "unreachable"}
    # A broken connection, a wrong length, or whatever else the next attempt may not meet.
    return {"failed": "broken", "error": type(error).__name__}
