"""What the stand-in Hub makes the real client do: the facts that other tests lean on.

Over http and over TLS, since the client reads the same answer differently.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx2
import huggingface_hub as client
import pytest
from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils._xet import refresh_xet_connection_info

from tests import stand_in_hub
from tests.hub_files import MASKED, facts
from tests.stand_in_hub import COMMIT, GOOD, SIGNATURE, Fault, StandInHub

REPO, WEIGHTS = "google/x", "model.safetensors"
CHUNK = 100_000  # the client's steps; a file of three and a half takes four
BODY = bytes(range(256)) * 1367
# By token: status, and what the client raises.
CAUGHT: dict[str | None, tuple[int, type[Exception]]] = {
    None: (401, GatedRepoError), "hf_not_accepted": (403, GatedRepoError),
    "hf_pending": (403, GatedRepoError), "hf_rejected": (403, GatedRepoError),
    "hf_fine_grained": (403, HfHubHTTPError), "hf_invalid": (401, HfHubHTTPError),
    "hf_expired": (401, HfHubHTTPError), "hf_blind": (404, RepositoryNotFoundError),
    "hf_limited": (429, HfHubHTTPError), "hf_broken": (500, HfHubHTTPError),
}  # fmt: skip
CAUGHT_OVER_TLS = CAUGHT | {"hf_expired": (401, RepositoryNotFoundError)}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept; it does not."""
    seconds: list[float] = []
    clock = SimpleNamespace(sleep=seconds.append, time=time.time)
    monkeypatch.setattr("huggingface_hub.file_download.time", clock)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
    return seconds


@pytest.fixture(params=[False, True], ids=["http", "tls"])
def hub(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slept: object
) -> Iterator[StandInHub]:
    folder = tmp_path / "files"
    folder.joinpath("sub").mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(BODY)
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "sub" / "notes.txt").write_text("notes")
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    with stand_in_hub.in_place(monkeypatch, tmp_path / "cache", tls=request.param) as hub:
        hub.add(REPO, folder, gated=True)
        yield hub


def fetch(name: str = WEIGHTS, repo: str = REPO) -> Path:
    return Path(client.hf_hub_download(repo, name, token=GOOD))


def look(token: str | bool = GOOD) -> client.HfFileMetadata:
    return client.get_hf_file_metadata(hf_hub_url(REPO, WEIGHTS), token=token)


def leftovers() -> list[Path]:
    return list(Path(constants.HF_HUB_CACHE).rglob("*.incomplete"))


# --- who may -------------------------------------------------------------------------------------


def test_each_token_is_refused_in_the_clients_own_classes(hub: StandInHub) -> None:
    caught_here = CAUGHT_OVER_TLS if hub.url.startswith("https") else CAUGHT
    for token, (status, kind) in caught_here.items():
        with pytest.raises(HfHubHTTPError) as caught:
            look(token or False)
        assert type(caught.value) is kind, token
        assert caught.value.response.status_code == status
    for token in stand_in_hub.GRANTED:
        assert look(token).commit_hash == COMMIT


def test_whoami_says_whose_token_it_is(hub: StandInHub) -> None:
    api = HfApi(endpoint=hub.url)
    assert api.whoami(GOOD)["name"] == "alice"
    assert api.whoami("hf_pending")["name"] == "pending"
    assert api.whoami("hf_write")["auth"]["accessToken"]["role"] == "write"
    for token, reads in (("hf_fine_grained", False), ("hf_fine_gated", True)):
        told = api.whoami(token)["auth"]["accessToken"]
        assert (told["role"], told["fineGrained"]["canReadGatedRepos"]) == ("fineGrained", reads)
    assert api.whoami("hf_oauth_good")["auth"] == {"type": "oauth"}
    for token in ("hf_invalid", "hf_expired", "hf_nobodys", "hf_limited"):
        with pytest.raises(HfHubHTTPError) as caught:
            api.whoami(token)
        assert caught.value.response.status_code == (429 if token == "hf_limited" else 401)


def test_what_is_public_about_a_gated_repository_is_not_its_checksums(hub: StandInHub) -> None:
    api = HfApi(endpoint=hub.url)
    known = facts(hub.files[REPO] / WEIGHTS)
    for token, sha256 in ((False, MASKED), ("hf_pending", MASKED), (GOOD, known.sha256)):
        info = api.model_info(REPO, files_metadata=True, token=token)
        files = {file.rfilename: file for file in info.siblings or ()}
        assert set(files) == {"config.json", WEIGHTS, "sub/notes.txt"}
        assert files["config.json"].lfs is None
        lfs = files[WEIGHTS].lfs
        assert lfs is not None
        assert (files[WEIGHTS].size, lfs.sha256, info.gated) == (len(BODY), sha256, "manual")
        listed = {file.path for file in api.list_repo_tree(REPO, recursive=True, token=token)}
        assert listed == {*files, "sub"}
    with pytest.raises(client.errors.RemoteEntryNotFoundError):
        list(api.list_repo_tree(REPO, "additional_chat_templates", token=GOOD))
    with pytest.raises(client.errors.RevisionNotFoundError):
        api.model_info(REPO, revision="absent", token=GOOD)


def test_private_and_missing_repositories_look_the_same(hub: StandInHub) -> None:
    hub.private.add(REPO)
    hub.missing.add("google/gone")
    api, is_tls = HfApi(endpoint=hub.url), hub.url.startswith("https")
    for repo in (REPO, "google/gone"):
        with pytest.raises(RepositoryNotFoundError if is_tls else HfHubHTTPError) as caught:
            api.model_info(repo, token=False)
        assert caught.value.response.status_code == 401
        with pytest.raises(RepositoryNotFoundError):
            api.auth_check(repo, token="hf_pending")
    assert api.model_info(REPO, token=GOOD).private


# --- files ---------------------------------------------------------------------------------------


def test_files_arrive_and_the_second_origin_never_sees_a_token(hub: StandInHub) -> None:
    folder = Path(client.snapshot_download(REPO, token=GOOD))
    assert (folder / WEIGHTS).read_bytes() == BODY
    assert (folder / WEIGHTS).resolve().name == facts(folder / WEIGHTS).sha256
    assert (folder / "config.json").resolve().name == facts(folder / "config.json").git_sha1
    path = f"/cdn/{REPO}/resolve/{COMMIT}/{WEIGHTS}"
    assert hub.cdn_requests == [("GET", path, None)]
    assert ("GET", path, GOOD) in hub.requests, "it was signed for this token"
    assert hub.sent(WEIGHTS) == len(BODY)
    part = get_session().get(
        hf_hub_url(REPO, WEIGHTS),
        headers={"authorization": f"Bearer {GOOD}", "Range": "bytes=256-511"},
    )
    assert (part.status_code, part.content) == (206, BODY[256:512])
    assert hub.cdn_requests[-1][-1] is None
    assert get_session().get(f"{hub.cdn_url}{path}?sig=x").status_code == 403


def test_a_new_name_is_followed(hub: StandInHub) -> None:
    hub.renamed["google/old"] = REPO
    assert fetch(repo="google/old").read_bytes() == BODY
    assert HfApi(endpoint=hub.url).model_info("google/old", token=GOOD).id == REPO
    answer = get_session().head(hf_hub_url("google/old", WEIGHTS), follow_redirects=False)
    assert (answer.status_code, "X-Repo-Commit" in answer.headers) == (307, False)


def test_chunk_storage_is_offered_and_broken(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.xet_names.add(WEIGHTS)
    offered = look().xet_file_data
    assert offered is not None
    headers = {"authorization": f"Bearer {GOOD}"}
    connection = refresh_xet_connection_info(file_data=offered, headers=headers)
    assert connection.access_token == stand_in_hub.XET_TOKEN
    with pytest.raises(httpx2.ConnectError):
        get_session().get(connection.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    assert fetch().read_bytes() == BODY
    assert {token for _, _, token in hub.cdn_requests} == {None}


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [
    Fault(WEIGHTS, "truncate", after_bytes=2 * CHUNK + 10),
    Fault(WEIGHTS, "stall", after_bytes=2 * CHUNK + 10, seconds=60),
], ids=lambda fault: fault.kind)  # fmt: skip
@pytest.mark.parametrize("ignores_range", [False, True])
def test_a_broken_body_is_resumed(
    hub: StandInHub, slept: list[float], fault: Fault, ignores_range: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if fault.kind == "stall":
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1.0)
    hub.faults = [Fault(**vars(fault))]
    hub.faults += [Fault(WEIGHTS, "ignore_range")] if ignores_range else []
    assert fetch().read_bytes() == BODY
    again = len(BODY) - (0 if ignores_range else 2 * CHUNK)
    assert [length for _, length in hub.bodies] == [2 * CHUNK + 10, again]
    assert [fault.met for fault in hub.faults] == [1] * len(hub.faults)
    assert slept == [1]


def test_a_reset_is_not_resumed_and_nothing_is_kept(hub: StandInHub, slept: list[float]) -> None:
    hub.faults = [Fault(WEIGHTS, "reset", after_bytes=2 * CHUNK + 10)]
    hub.faults += [Fault("config.json", "reset", methods=("HEAD",))]
    if hub.url.startswith("https"):
        # Python below 3.13 takes a reset below TLS for a mere end, and the client then resumes.
        with contextlib.suppress(httpx2.ReadError):
            assert fetch().read_bytes() == BODY
            assert slept == [1]
    else:
        with pytest.raises(httpx2.ReadError):
            fetch()
        assert slept == []
    assert leftovers() == []
    assert fetch().read_bytes() == BODY
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
        fetch("config.json")


def test_damage_of_the_same_length_is_taken_for_good(hub: StandInHub) -> None:
    """Why every file is compared with its checksum."""
    hub.faults = [Fault(WEIGHTS, "corrupt", after_bytes=1000), Fault("config.json", "corrupt")]
    damaged = fetch()
    assert damaged.read_bytes()[:1000] == BODY[:1000]
    assert damaged.read_bytes() != BODY
    assert damaged.resolve().name == facts(hub.files[REPO] / WEIGHTS).sha256
    assert fetch() == damaged, "and is kept"
    assert fetch("config.json").read_bytes() != (hub.files[REPO] / "config.json").read_bytes()


def test_a_wrong_length_is_noticed(hub: StandInHub) -> None:
    hub.faults = [Fault(WEIGHTS, "wrong_length")]
    with pytest.raises(OSError, match="Consistency check failed"):
        fetch()


def test_the_second_origins_errors_show_the_signed_address(
    hub: StandInHub, slept: list[float]
) -> None:
    for status in (403, 500, 503):
        hub.faults = [Fault("^/cdn", "status", status=status)]
        with pytest.raises(HfHubHTTPError) as caught:
            fetch()
        assert SIGNATURE in str(caught.value)
    assert slept == []


@pytest.mark.parametrize(("headers", "seconds"), [
    ({"RateLimit": '"resolvers";r=0;t=30'}, 31), ({"Retry-After": "7"}, 8), ({}, 1),
])  # fmt: skip
def test_a_429_is_waited_out(
    hub: StandInHub, slept: list[float], headers: dict[str, str], seconds: float
) -> None:
    hub.faults = [Fault("^/cdn", "status", status=429, headers=headers)]
    assert fetch().read_bytes() == BODY
    assert slept == [seconds]


def test_a_portal_is_no_hub(hub: StandInHub) -> None:
    hub.faults = [Fault("", "portal", times=None, methods=("GET", "HEAD"))]
    with pytest.raises(client.errors.LocalEntryNotFoundError):
        fetch()
    HfApi(endpoint=hub.url).auth_check(REPO, token="hf_pending")  # takes its page for a yes


def test_a_slow_body_and_a_slow_hub(hub: StandInHub) -> None:
    hub.faults = [Fault(WEIGHTS, "slow", bytes_per_second=2 * len(BODY))]
    started = time.monotonic()
    assert fetch().read_bytes() == BODY
    assert 0.3 < time.monotonic() - started < 10
    assert hub.sent(WEIGHTS) == len(BODY)
    hub.delay_seconds = 60
    with pytest.raises(httpx2.ReadTimeout):
        get_session().head(hf_hub_url(REPO, WEIGHTS), timeout=0.2)


# --- coming and going ----------------------------------------------------------------------------


def test_a_hub_that_is_down_refuses_and_comes_back(hub: StandInHub) -> None:
    assert look().commit_hash == COMMIT
    with hub.down(), pytest.raises(httpx2.TransportError):
        get_session().head(hub.url)
    assert look().commit_hash == COMMIT


@pytest.mark.parametrize("tls", [False, True])
def test_it_starts_and_stops_at_once(tls: bool) -> None:
    seconds: list[float] = []
    for _ in range(5):  # the machine may be busy
        started = time.monotonic()
        with stand_in_hub.serve(tls):
            pass
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.4  # and not a turn of the server's loop, half a second


def test_a_child_process_trusts_it_too(hub: StandInHub) -> None:
    code = f"import huggingface_hub as h; print(h.HfApi().model_info({REPO!r}, token=False).sha)"
    told = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "HF_ENDPOINT": hub.url},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == COMMIT


def test_clients_that_hang_up_make_no_noise(
    hub: StandInHub, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.faults = [Fault(WEIGHTS, "slow", bytes_per_second=len(BODY), times=None)]
    for _ in range(3):
        url, headers = hf_hub_url(REPO, WEIGHTS), {"authorization": f"Bearer {GOOD}"}
        with get_session().stream("GET", url, headers=headers) as answer:
            next(answer.iter_raw())
    time.sleep(0.3)
    assert capfd.readouterr().err == ""
