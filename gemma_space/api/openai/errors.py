"""Errors as OpenAI's clients read them: a status code and `{"error": {...}}`.

Knows which of our errors is which status. What it says is the error's own sentence.
"""

import json
from typing import Any

from pydantic import ValidationError

from gemma_space.alerts import worded
from gemma_space.errors import (
    AccessDeniedError,
    BusyError,
    ContextLengthError,
    DownloadError,
    GemmaSpaceError,
    InvalidControlError,
    InvalidRequestError,
    ModelNotFoundError,
    ModelTooLargeError,
    PrecisionUnsupportedError,
    ServerClosingError,
    TooManyRequestsError,
)

# By the first that fits; status, type, code.
KINDS: tuple[tuple[type[GemmaSpaceError], int, str, str | None], ...] = (
    (ContextLengthError, 400, "invalid_request_error", "context_length_exceeded"),
    (InvalidRequestError, 400, "invalid_request_error", "invalid_value"),
    (PrecisionUnsupportedError, 400, "invalid_request_error", "precision_unsupported"),
    (ModelNotFoundError, 404, "invalid_request_error", "model_not_found"),
    (BusyError, 429, "rate_limit_error", "queue_full"),
    (TooManyRequestsError, 429, "rate_limit_error", "rate_limit_exceeded"),
    (ServerClosingError, 503, "server_error", "server_closing"),
    (ModelTooLargeError, 503, "server_error", "model_too_large"),
    (DownloadError, 503, "server_error", "download_failed"),
    (GemmaSpaceError, 500, "server_error", None),
)
# By what the Hub said; all others mean 403.
VERDICTS = {
    "no_token": (401, "authentication_error"),
    "token_malformed": (401, "authentication_error"),
    "token_invalid": (401, "authentication_error"),
    "repo_missing": (404, "invalid_request_error"),
    "revision_missing": (404, "invalid_request_error"),
    "rate_limited": (429, "rate_limit_error"),
    "hub_unreachable": (503, "server_error"),
}
OUR_NAMES = {"max_new_tokens": "max_tokens"}
RETRY_SECONDS = 5


class RefusedBody(InvalidRequestError):  # noqa: N818 - it is a request, refused
    """A body that cannot be read as the request it should be.

    `param` names the field, `code` is the machine's word for what is wrong with it.
    """

    def __init__(
        self, message: str, hint: str = "", param: str = "", code: str = "", status: int = 400
    ) -> None:
        super().__init__(message, hint)
        self.param = param
        self.code = code
        self.status = status


def error_answer(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """The status, the body and the headers that tell of an error."""
    said = worded(error)
    status, kind, code = _kind(said)
    body = {"message": str(said), "type": kind, "param": _param(said), "code": code}
    seconds = said.retry_seconds if isinstance(said, TooManyRequestsError) else RETRY_SECONDS
    headers = {"Retry-After": str(seconds)} if status in (429, 503) else {}
    if isinstance(said, BusyError | ServerClosingError | TooManyRequestsError):
        headers["x-should-retry"] = "true"
    return status, {"error": body}, headers


def refused(error: ValidationError) -> RefusedBody:
    """The first thing wrong with a body, by the name of its field."""
    first = error.errors(include_url=False, include_input=False)[0]
    raised = (first.get("ctx") or {}).get("error")
    if isinstance(raised, RefusedBody):
        return raised
    place = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "json_invalid":
        return RefusedBody("The body is no JSON.", "Send a JSON object.", code="invalid_json")
    if first["type"] == "missing":
        return RefusedBody(f"{place} is missing.", "Send it.", place, "missing_required_parameter")
    if first["type"] == "extra_forbidden":
        return RefusedBody(
            f"{place} is not supported here.", "Leave it out.", place, "unsupported_parameter"
        )
    what = first["msg"][:1].lower() + first["msg"][1:]
    return RefusedBody(f"{place or 'The body'} cannot be used: {what}.", "", place, "invalid_type")


def event(data: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _kind(error: GemmaSpaceError) -> tuple[int, str, str | None]:
    if isinstance(error, RefusedBody):
        return error.status, "invalid_request_error", error.code or "invalid_value"
    if isinstance(error, AccessDeniedError):
        status, kind = VERDICTS.get(error.verdict, (403, "permission_error"))
        return status, kind, error.verdict or "access_denied"
    return next((s, t, c) for e, s, t, c in KINDS if isinstance(error, e))


def _param(error: GemmaSpaceError) -> str | None:
    if isinstance(error, RefusedBody):
        return error.param or None
    if isinstance(error, InvalidControlError):
        return OUR_NAMES.get(error.control, error.control) or None
    if isinstance(error, ModelNotFoundError | PrecisionUnsupportedError | AccessDeniedError):
        return "model"
    return None
