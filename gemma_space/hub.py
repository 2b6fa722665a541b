"""The Hugging Face Hub's protocol: may this token read this repository, and whose is it.

Every call names its token: `False` for none, never `None`, which would mean the deployer's. No
library text is passed on, since it can hold a token or a signed address. Fetches no files.
"""

import re
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
from huggingface_hub import (
    constants,
    get_session,
    get_token,
    hf_hub_url,
    set_client_factory,
)
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers, parse_ratelimit_headers, validate_repo_id
from huggingface_hub.utils._http import default_client_factory

from gemma_space.reports import Verdict

PROBE_FILE = "tokenizer_config.json"  # gated, unlike README.md; not counted as a download
TIMEOUT_SECONDS = 10
MAX_REDIRECTS = 3
_TOKEN = re.compile(r"[A-Za-z0-9_\-.]{8,4096}")

# Its caches keep tokens as long as the process lives; a child of its own may use it.
constants.HF_HUB_DISABLE_XET = True


def _client() -> httpx2.Client:
    """The library's client without a memory: it is shared by all visitors."""
    client = default_client_factory()
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return client


set_client_factory(_client)


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
    except (ValueError, OSError):  # no token, or an HF_HOME that is no folder to be read
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
        if urlsplit(urljoin(url, where))[:2] != urlsplit(url)[:2]:
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
