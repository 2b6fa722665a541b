"""The Hugging Face Hub: may this token read this repository, and bring its files here.

The only importer of `huggingface_hub`. Every call names its token: `False` for none, never
`None`, which would mean the deployer's. No library text is passed on, since it can hold a token
or a signed address.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import HfApi, constants, get_session, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    SafetensorsParsingError,
)
from huggingface_hub.utils import build_hf_headers, validate_repo_id
from huggingface_hub.utils import tqdm as hub_tqdm

from gemma_space.errors import DownloadError

Verdict = Literal[
    "ready", "no_token", "token_malformed", "token_invalid", "license_not_accepted",
    "request_pending", "request_rejected", "token_lacks_gated_scope", "repo_missing",
    "revision_missing", "rate_limited", "hub_unreachable",
]  # fmt: skip
# What a checkpoint needs; other formats and duplicates of the weights stay on the Hub.
FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model"]
# What tells which model a repository holds, without its weights or vocabulary.
DESCRIPTION = ["config.json", "generation_config.json", "tokenizer_config.json",
               "chat_template.jinja", "adapter_config.json"]  # fmt: skip
PROBE_FILE = "tokenizer_config.json"  # gated, unlike README.md; not counted as a download
PROBE_TIMEOUT_SECONDS = 10
_TOKEN = re.compile(r"[A-Za-z0-9_\-.]{8,4096}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The Hub's answer about one token and one repository; `commit` where it said one."""

    verdict: Verdict
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What a repository says about itself, without its weights.

    `folder` holds its small files; `tensors` are dtype and shape by name, from the headers of its
    safetensors files.
    """

    folder: Path
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    gated: bool
    license: str


class DownloadCancelled(BaseException):
    """Raised inside the progress bar to end a download; no `except Exception` may swallow it."""


def clean_token(raw: str | None) -> str | None:
    """A token without surrounding space; None when there is none.

    Raises:
        ValueError: it cannot be a token; a header must never carry it.
    """
    token = (raw or "").strip()
    if token and not _TOKEN.fullmatch(token):
        raise ValueError("not a token")
    return token or None


def probe(repo_id: str, revision: str, token: str | None) -> Answer:
    """Ask whether `token` may read the files of `repo_id`, with one request and no cache.

    Classified by status and headers, because the client's exception classes differ between
    http and https for the same answer.
    """
    url = hf_hub_url(repo_id, PROBE_FILE, revision=revision)
    try:
        response = get_session().request(
            "HEAD",
            url,
            headers=build_hf_headers(token=token or False),
            timeout=PROBE_TIMEOUT_SECONDS,
            follow_redirects=False,
        )
    except (httpx2.TransportError, OfflineModeIsEnabled):
        return Answer("hub_unreachable")
    return _classify(response.status_code, response.headers, bool(token))


def _classify(status: int, headers: Any, has_token: bool) -> Answer:
    code = headers.get("X-Error-Code", "")
    message = headers.get("X-Error-Message", "").lower()
    commit = headers.get("X-Repo-Commit")
    if status < 400:  # without a commit it is some proxy's page, not the Hub
        return Answer("ready", commit) if commit else Answer("hub_unreachable")
    if code == "EntryNotFound":  # the gate answers before the file's existence
        return Answer("ready", commit)
    if status == 429:
        return Answer("rate_limited")
    if status >= 500 or status == 408:
        return Answer("hub_unreachable")
    if code == "GatedRepo":
        if status == 401 and not has_token:
            return Answer("no_token")
        if "awaiting a review" in message:
            return Answer("request_pending")
        return Answer("request_rejected" if "rejected" in message else "license_not_accepted")
    if code == "RevisionNotFound":
        return Answer("revision_missing")
    if status == 401 and has_token:
        return Answer("token_invalid")
    if status == 403 and "fine-grained" in message:
        return Answer("token_lacks_gated_scope")
    return Answer("repo_missing")


def is_repo_id(text: str) -> bool:
    """Whether a text has the form of a repository id with its owner."""
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return text.count("/") == 1


def repo_url(repo_id: str) -> str:
    """The page where a person reads about the model and accepts its licence."""
    return f"{constants.ENDPOINT}/{repo_id}"


def describe(repo_id: str, commit: str, token: str | None) -> Description:
    """Read what a repository holds: a few kilobytes, whatever the size of its weights.

    Raises:
        DownloadError: worded for people.
    """
    folder = _snapshot(repo_id, commit, token, DESCRIPTION)
    api, sent = HfApi(endpoint=constants.ENDPOINT), token or False
    with _failures_in_words(f"The files of {repo_id} could not be looked at"):
        info = api.model_info(repo_id, revision=commit, token=sent, timeout=PROBE_TIMEOUT_SECONDS)
        names = [file.rfilename for file in info.siblings or ()]
        headers = [
            api.parse_safetensors_file_metadata(
                repo_id, name, revision=commit, token=sent, timeout=PROBE_TIMEOUT_SECONDS
            )
            for name in names
            if name.endswith(".safetensors") and "/" not in name
        ]
    tensors = {
        name: (tensor.dtype, tuple(tensor.shape))
        for header in headers
        for name, tensor in header.tensors.items()
    }
    card = info.card_data
    guarded = bool(info.gated or info.private)
    return Description(folder, tensors, guarded, str(card.license or "") if card else "")


def download(
    repo_id: str,
    revision: str,
    token: str | None,
    report: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Path:
    """Bring a checkpoint's files into the Hub's cache and return their folder.

    Args:
        report: called with bytes done and bytes in all, from worker threads.
        cancelled: asked at every step; true ends the download.

    Raises:
        DownloadError: worded for people, whatever went wrong.
        DownloadCancelled: `cancelled` said so.
    """
    return _snapshot(repo_id, revision, token, FILES, _reporting_bar(report, cancelled))


def download_tokenizer(repo_id: str, revision: str, token: str | None) -> Path:
    """Bring everything but the weights here; a few MB.

    Raises:
        DownloadError: worded for people.
    """
    return _snapshot(repo_id, revision, token, [p for p in FILES if p != "*.safetensors"])


def _snapshot(
    repo_id: str,
    revision: str,
    token: str | None,
    patterns: list[str],
    bar: type[hub_tqdm] | None = None,
) -> Path:
    with _failures_in_words(f"The files of {repo_id} could not be downloaded"):
        folder = snapshot_download(
            repo_id,
            revision=revision,
            token=token or False,
            allow_patterns=patterns,
            tqdm_class=bar or _reporting_bar(lambda done, total: None, lambda: False),
        )
    return Path(folder)


@contextmanager
def _failures_in_words(subject: str) -> Iterator[None]:
    try:
        yield
    except (
        HfHubHTTPError, httpx2.HTTPError, OSError, ValueError, RuntimeError,
        SafetensorsParsingError,
    ) as error:  # fmt: skip
        raise DownloadError(
            f"{subject} ({type(error).__name__}).",
            "Check the connection and the free disk space, then load it again.",
        ) from None


def _reporting_bar(
    report: Callable[[int, int], None], cancelled: Callable[[], bool]
) -> type[hub_tqdm]:
    """A progress bar that draws nothing, sums bytes and may raise."""

    class Bar(hub_tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # Of the two bars in bytes, the one of finished bytes; the other counts the wire.
            wire = str(kwargs.get("desc")).startswith("Downloading")
            self._counts = kwargs.get("unit") == "B" and not wire
            self._done = 0  # not `n`, which stays 0 once any library has switched bars off
            kwargs["disable"] = False
            kwargs["file"] = _Nowhere()
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> bool | None:
            if cancelled():
                raise DownloadCancelled
            shown = super().update(n)
            if self._counts:
                self._done += int(n or 0)
                report(self._done, int(self.total or 0))
            return shown

    return Bar


class _Nowhere:
    """A file for tqdm to draw on that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None
