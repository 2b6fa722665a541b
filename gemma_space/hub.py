"""The Hugging Face Hub's protocol: may this token read this repository, whose is it, what is there.

Every call names its token: `False` for none, never `None`, which would mean the deployer's. No
library text is passed on, since it can hold a token or a signed address. Fetches nothing large;
`fetching` does, in a process of its own.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
from huggingface_hub import HfApi, constants, get_session, get_token, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    SafetensorsParsingError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers, parse_ratelimit_headers, validate_repo_id
from huggingface_hub.utils import tqdm as hub_tqdm

from gemma_space.errors import DownloadError
from gemma_space.reports import Verdict

# What tells which model a repository holds, without its weights or vocabulary.
DESCRIPTION = ["config.json", "generation_config.json", "tokenizer_config.json",
               "chat_template.jinja", "adapter_config.json"]  # fmt: skip
PROBE_FILE = "tokenizer_config.json"  # gated, unlike README.md; not counted as a download
TIMEOUT_SECONDS = 10
MAX_REDIRECTS = 3
_TOKEN = re.compile(r"[A-Za-z0-9_\-.]{8,4096}")

# Its caches keep tokens as long as the process lives; a child of its own may use it.
constants.HF_HUB_DISABLE_XET = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The Hub's answer about one token and one repository.

    `commit` where it said one; `wait_seconds` where it said how long it will not answer.
    """

    verdict: Verdict
    commit: str | None = None
    wait_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Whose token it is, as far as the Hub says: `ready` with a name, or why there is none.

    `reads_gated` is false only where the token says that it may not; None where it does not say.
    """

    verdict: Verdict
    name: str = ""
    reads_gated: bool | None = None


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


def clean_token(raw: str | None) -> str | None:
    """A token without surrounding space; None when there is none.

    Raises:
        ValueError: it cannot be a token; a header must never carry it.
    """
    token = (raw or "").strip()
    if token and not _TOKEN.fullmatch(token):
        raise ValueError("not a token")
    return token or None


def own_token() -> str | None:
    """The token of whoever runs this server: `HF_TOKEN`, or the login saved on this machine."""
    try:
        return clean_token(get_token())
    except ValueError:
        return None


def probe(repo_id: str, revision: str, token: str | None) -> Answer:
    """Ask whether `token` may read the files of `repo_id`, with one request and no cache.

    Classified by status and headers, because the client's exception classes differ between
    http and https for the same answer. A renamed repository is asked for under its new name.
    """
    url = hf_hub_url(repo_id, PROBE_FILE, revision=revision)
    for _ in range(MAX_REDIRECTS):
        response = _request("HEAD", url, token)
        if response is None:
            break
        where = response.headers.get("Location", "")
        if not 300 <= response.status_code < 400 or "X-Repo-Commit" in response.headers:
            return _classify(response.status_code, response.headers, bool(token))
        if urlsplit(urljoin(url, where)).netloc != urlsplit(url).netloc:
            break  # the token is for the Hub alone
        url = urljoin(url, where)
    return Answer("hub_unreachable")


def account(token: str) -> Account:
    """Ask whose token it is; the Hub answers this question seldom, so keep what it says."""
    response = _request("GET", f"{constants.ENDPOINT}/api/whoami-v2", token)
    if response is None or response.status_code >= 500:
        return Account("hub_unreachable")
    if response.status_code == 429:
        return Account("rate_limited")
    if response.status_code in (401, 403):
        return Account("token_invalid")
    try:
        told = response.json()
        granted = told.get("auth", {}).get("accessToken", {}).get("fineGrained", {})
        return Account("ready", str(told["name"])[:100], granted.get("canReadGatedRepos"))
    except (ValueError, KeyError, AttributeError, TypeError):  # some proxy's page
        return Account("hub_unreachable")


def _request(method: str, url: str, token: str | None) -> httpx2.Response | None:
    """One request; None where nobody answered."""
    try:
        return get_session().request(
            method,
            url,
            headers=build_hf_headers(token=token or False),
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
        )
    except (httpx2.TransportError, OfflineModeIsEnabled):
        return None


def _classify(status: int, headers: Any, has_token: bool) -> Answer:
    code = headers.get("X-Error-Code", "")
    message = headers.get("X-Error-Message", "").lower()
    commit = headers.get("X-Repo-Commit")
    if status < 400:  # without a commit it is some proxy's page, not the Hub
        return Answer("ready", commit) if commit else Answer("hub_unreachable")
    if code == "EntryNotFound":  # the gate answers before the file's existence
        return Answer("ready", commit)
    if status == 429:
        return Answer("rate_limited", wait_seconds=_wait_seconds(headers))
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


def _wait_seconds(headers: Any) -> float | None:
    info = parse_ratelimit_headers(headers)
    after = headers.get("Retry-After", "")
    return float(info.reset_in_seconds) if info else float(after) if after.isdigit() else None


def is_repo_id(text: str) -> bool:
    """Whether a text has the form of a repository id with its owner."""
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return text.count("/") == 1


def endpoint() -> str:
    """The Hub's address."""
    return constants.ENDPOINT


def repo_url(repo_id: str) -> str:
    """The page where a person reads about the model and accepts its licence."""
    return f"{constants.ENDPOINT}/{repo_id}"


def tokens_url() -> str:
    """The page where a person changes their tokens."""
    return f"{constants.ENDPOINT}/settings/tokens"


def new_token_url() -> str:
    """The page where a person makes a token that reads gated repositories and nothing else."""
    return f"{tokens_url()}/new?canReadGatedRepos=true&tokenType=fineGrained"


def cache() -> str:
    """The folder that the Hub's libraries keep files in."""
    return constants.HF_HUB_CACHE


def cache_folder(repo_id: str) -> Path:
    """Where a repository's files are kept."""
    return Path(cache()) / repo_folder_name(repo_id=repo_id, repo_type="model")


def describe(repo_id: str, commit: str, token: str | None) -> Description:
    """Read what a repository holds: a few kilobytes, whatever the size of its weights.

    Raises:
        DownloadError: worded for people.
    """
    api, sent = HfApi(endpoint=constants.ENDPOINT), token or False
    with _failures_in_words(f"The files of {repo_id} could not be looked at"):
        folder = Path(snapshot_download(repo_id, revision=commit, token=sent,
                                        allow_patterns=DESCRIPTION, tqdm_class=_NoBar))  # fmt: skip
        info = api.model_info(repo_id, revision=commit, token=sent, timeout=TIMEOUT_SECONDS)
        names = [file.rfilename for file in info.siblings or ()]
        headers = [
            api.parse_safetensors_file_metadata(
                repo_id, name, revision=commit, token=sent, timeout=TIMEOUT_SECONDS
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
            "Check the connection and the free disk space, then try again.",
        ) from None


class _NoBar(hub_tqdm):
    """A progress bar that draws nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})
