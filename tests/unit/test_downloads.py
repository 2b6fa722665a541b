"""Downloads against everything that goes wrong on the way, with the real client and no network.

Each fault is met by a process of its own, as in earnest; the Hub and the server where it stores
large files are on the loopback interface.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gemma_space import downloads, fetching, hub, kept_files
from gemma_space.downloads import DownloadCancelledError, Downloads
from gemma_space.errors import DownloadError
from gemma_space.fetch_faults import explain
from gemma_space.kept_files import sha256
from tests import stand_in_hub
from tests.hub_faults import Fault
from tests.stand_in_hub import COMMIT, GOOD, StandInHub
from tests.unit.test_kept_files import kept_in

MEGABYTE = 1 << 20
REPO = "google/gemma-3-tested"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
SECOND = r"^/cdn.*00002-of"  # where large files are stored


@pytest.fixture(params=[False, True], ids=["http", "tls"])
def stand_in(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[StandInHub]:
    monkeypatch.setattr(downloads, "MAX_BACKOFF_SECONDS", 0.05)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    with stand_in_hub.in_place(monkeypatch, tmp_path / "cache", tls=request.param) as served:
        served.add(REPO, files(tmp_path / "files"), gated=True)
        yield served


http_only = pytest.mark.parametrize("stand_in", [False], indirect=True, ids=["http"])


def files(folder: Path) -> Path:
    """A checkpoint in two shards of two and three megabytes, and what nobody needs."""
    folder.mkdir()
    weights = {name: os.urandom((number + 2) * MEGABYTE) for number, name in enumerate(SHARDS)}
    index = {"weight_map": dict(zip("ab", SHARDS, strict=True))}
    small: dict[str, Any] = {"config.json": {}, "tokenizer.json": {"x": "y" * 3000},
                             "model.safetensors.index.json": index}  # fmt: skip
    for name, body in weights.items():
        (folder / name).write_bytes(body)
    for name, value in small.items():
        (folder / name).write_text(json.dumps(value))
    for name in ("pytorch_model.bin", "model.gguf", "tf_model.h5", "README.md", "run.py"):
        (folder / name).write_bytes(bytes(100))
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    return folder


def bring(told: list[tuple[int, int, str]] | None = None, **more: Any) -> Path:
    def report(done_bytes: int, total_bytes: int, note: str = "") -> None:
        if told is not None:
            told.append((done_bytes, total_bytes, note))

    return Downloads().bring(REPO, COMMIT, GOOD, report, **more)


def assert_whole(found: Path, stand_in: StandInHub) -> None:
    names = {"config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS}
    assert {file.name for file in found.iterdir()} == names, "nothing else was fetched"
    for name in names:
        assert sha256(found / name) == sha256(stand_in.files[REPO] / name)
    assert partials() == []
    assert {token for _, _, token in stand_in.cdn_requests} <= {None}, "the token is for the Hub"


def partials() -> list[Path]:
    return list(Path(hub.cache()).glob("models--*/blobs/*.incomplete"))


def fetched(stand_in: StandInHub, name: str) -> int:
    """How often the contents of a file were asked for."""
    return sum(m == "GET" and p.endswith(name) for m, p, _ in stand_in.cdn_requests)


# --- the way it should be ------------------------------------------------------------------------


def test_only_what_is_needed_comes_once_and_is_verified(stand_in: StandInHub) -> None:
    told: list[tuple[int, int, str]] = []
    found = bring(told)
    assert_whole(found, stand_in)
    assert [d for d, _, _ in told] == sorted(d for d, _, _ in told)
    total = sum(file.stat().st_size for file in found.iterdir())
    assert {t for _, t, _ in told} <= {0, total}
    before = len(stand_in.requests)
    assert bring() == found
    assert len(stand_in.requests) == before, "what was verified asks nobody"


@http_only
def test_the_tokenizer_comes_without_the_weights(stand_in: StandInHub) -> None:
    found = bring(weights=False)
    assert {file.name for file in found.iterdir()} == {"config.json", "tokenizer.json"}
    assert_whole(bring(), stand_in)


@http_only
def test_progress_counts_bytes_of_all_files_and_those_that_were_here(stand_in: StandInHub) -> None:
    stand_in.faults.append(Fault(SECOND, "slow", bytes_per_second=2 * MEGABYTE))
    told: list[tuple[int, int, str]] = []
    bring(told)
    seen = {done for done, total, _ in told if 0 < done < total}
    assert len(seen) >= 2, "it moves while a file is on its way"


@http_only
def test_two_visitors_share_one_download_and_the_last_to_leave_ends_it(
    stand_in: StandInHub,
) -> None:
    slow = Fault(SECOND, "slow", bytes_per_second=2 * MEGABYTE)
    stand_in.faults.append(slow)
    shared = Downloads()
    ended: list[object] = []

    def visitor(cancelled: Callable[[], bool]) -> None:
        try:
            ended.append(shared.bring(REPO, COMMIT, GOOD, cancelled=cancelled))
        except DownloadCancelledError as error:
            ended.append(error)

    leaving = threading.Event()
    first = threading.Thread(target=visitor, args=(leaving.is_set,))
    second = threading.Thread(target=visitor, args=(lambda: False,))
    first.start()
    until(lambda: slow.met)
    second.start()
    until(lambda: [running.waiting for running in shared._running.values()] == [2])
    leaving.set()
    first.join(60)
    assert isinstance(ended[0], DownloadCancelledError)
    second.join(60)
    assert_whole(Path(str(ended[1])), stand_in)
    assert fetched(stand_in, SHARDS[1]) == 1


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


# --- faults on the way ---------------------------------------------------------------------------

FAULTS = {
    "body truncated": Fault(SECOND, "truncate", after_bytes=2 * MEGABYTE),
    "truncated again and again": Fault(SECOND, "truncate", times=3, after_bytes=MEGABYTE),
    "reset in mid-body": Fault(SECOND, "reset", after_bytes=MEGABYTE),
    "reset before the headers": Fault("00002-of", "reset", methods=("HEAD", "GET")),
    "stalled": Fault(SECOND, "stall", after_bytes=MEGABYTE, seconds=4),
    "wrong length, clean end": Fault(SECOND, "wrong_length"),
    "same length, corrupt bytes": Fault(SECOND, "corrupt", after_bytes=MEGABYTE),
    "5xx where files are stored": Fault(SECOND, "status", status=503),
    "a signature that grew old": Fault(SECOND, "status", status=403),
    "5xx at the head of a file": Fault("00002-of", "status", status=502, methods=("HEAD",)),
    "5xx at the listing": Fault("^/api/models", "status", status=500),
    "429 at a file": Fault(SECOND, "status", status=429, headers={"Retry-After": "1"}),
    "429 at the listing": Fault(
        "^/api/models", "status", status=429, headers={"RateLimit": '"api";r=0;t=1'}
    ),
    "captive portal": Fault("00002-of", "portal", methods=("HEAD",)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_download_survives(
    stand_in: StandInHub,
    name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each fault that a way can have; what was finished is not fetched again."""
    given = FAULTS[name]
    if given.kind == "stall":
        monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    fault = Fault(given.pattern, given.kind, given.times, given.methods, given.after_bytes,
                  given.seconds, given.bytes_per_second, given.status, given.headers)  # fmt: skip
    stand_in.faults.append(fault)
    with caplog.at_level(logging.DEBUG):
        found = bring()
    assert fault.met
    assert_whole(found, stand_in)
    assert fetched(stand_in, SHARDS[0]) == 1, "a finished file is kept"
    assert "canary" not in caplog.text.lower()
    assert GOOD not in caplog.text


@http_only
def test_a_server_that_ignores_ranges_on_resume(stand_in: StandInHub) -> None:
    stand_in.faults += [
        Fault(SECOND, "truncate", after_bytes=2 * MEGABYTE),
        Fault(SECOND, "ignore_range"),
    ]
    assert_whole(bring(), stand_in)


@http_only
def test_the_servers_wait_is_honoured_and_told(stand_in: StandInHub) -> None:
    stand_in.faults.append(Fault(SECOND, "status", status=429, headers={"Retry-After": "2"}))
    told: list[tuple[int, int, str]] = []
    started = time.monotonic()
    bring(told)
    assert time.monotonic() - started > 2
    notes = {note for _, _, note in told if note}
    assert "The Hub asks to wait; going on in 2 s" in notes


@http_only
def test_a_hub_that_comes_back_is_met_again(stand_in: StandInHub) -> None:
    ended: list[Path] = []
    with stand_in.down():
        visitor = threading.Thread(target=lambda: ended.append(bring()))
        downloads.MAX_BACKOFF_SECONDS = 1.0  # put back with the fixture's own change
        visitor.start()
        time.sleep(1.5)
    visitor.join(30)
    assert_whole(ended[0], stand_in)


ENDLESS = {
    "5xx": (Fault(SECOND, "status", times=None, status=503), "6 attempts in a row failed"),
    "reset": (Fault(SECOND, "reset", times=None, after_bytes=10), "6 attempts in a row failed"),
    "corrupt": (Fault(SECOND, "corrupt", times=None), "arrived damaged twice"),
    "429 for an hour": (
        Fault(SECOND, "status", times=None, status=429, headers={"Retry-After": "3600"}),
        "gives no more files",
    ),
    "refused by the Hub": (
        Fault("00002-of", "status", times=None, status=403, methods=("HEAD", "GET")),
        "refused the files",
    ),
}


@http_only
@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_told_in_words(
    stand_in: StandInHub, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    fault, words = ENDLESS[name]
    stand_in.faults.append(fault)
    with caplog.at_level(logging.DEBUG), pytest.raises(DownloadError, match=words) as caught:
        bring()
    assert caught.value.hint
    assert caught.value.__cause__ is None
    for text in (str(caught.value), caplog.text):
        assert stand_in.url not in text
        assert stand_in.cdn_url not in text
        assert GOOD not in text
        assert "canary" not in text.lower()
    assert partials() == []
    fault.times = 0
    assert_whole(bring(), stand_in)
    assert fetched(stand_in, SHARDS[0]) == 1, "finished files stay for the next time"


@http_only
def test_a_hub_that_is_down_is_told(stand_in: StandInHub) -> None:
    with stand_in.down(), pytest.raises(DownloadError, match="6 attempts in a row"):
        bring()


@http_only
def test_no_room_on_the_disk_is_known_before_anything_comes(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DownloadError, match=r"no room on the disk.*5\.0 MiB are to be fetched"):
        bring()
    assert stand_in.sent(".safetensors") == 0


@http_only
def test_a_cache_that_cannot_be_written_is_told(stand_in: StandInHub) -> None:
    cache = Path(hub.cache())
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where a folder should be")
    with pytest.raises(DownloadError, match=r"could not be written here \([a-z ]+\)"):
        bring()


@http_only
@pytest.mark.skipif(sys.platform == "win32", reason="no limits there")
def test_a_disk_that_takes_no_more_in_the_middle_of_a_file_is_told(stand_in: StandInHub) -> None:
    """Its end is a limit of this process and its children, met by a real write."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, before[1]))
    try:
        with pytest.raises(DownloadError, match=r"could not be written here \(file too large\)"):
            bring()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert partials() == []
    assert_whole(bring(), stand_in)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(number: int) -> None:
    assert explain(OSError(number, "of the system")) == {"failed": "disk_full"}


# --- cancel --------------------------------------------------------------------------------------

BUSY = {
    "a slow body": Fault(SECOND, "slow", bytes_per_second=1000),
    "a stalled body": Fault(SECOND, "stall", after_bytes=MEGABYTE, seconds=600),
    "a Hub that hangs": Fault("00002-of", "stall", seconds=600, methods=("HEAD",)),
    "the Hub's wait": Fault(SECOND, "status", status=429, headers={"Retry-After": "250"}),
}


@http_only
@pytest.mark.parametrize("name", BUSY)
def test_cancel_ends_it_before_the_hub_would_and_leaves_nothing_half(
    stand_in: StandInHub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "300")
    fault = BUSY[name]
    fault.met = 0
    stand_in.faults.append(fault)
    gone = threading.Event()
    shared = Downloads()
    ended: list[BaseException] = []

    def visitor() -> None:
        try:
            shared.bring(REPO, COMMIT, GOOD, cancelled=gone.is_set)
        except DownloadCancelledError as error:
            ended.append(error)

    thread = threading.Thread(target=visitor)
    thread.start()
    until(lambda: fault.met)
    time.sleep(0.3)
    gone.set()
    thread.join(60)
    assert ended
    until(lambda: not any(t.name == "download" for t in threading.enumerate()), 60)
    assert partials() == []
    stand_in.faults.clear()
    assert_whole(bring(), stand_in)
    assert fetched(stand_in, SHARDS[0]) == 1


# --- the process ---------------------------------------------------------------------------------


@http_only
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_no_argument_and_no_environment_shows_the_token(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child's command line is open to everybody on the machine."""
    monkeypatch.setenv("HF_TOKEN", "hf_deployersOwnCanary0001")
    stand_in.faults.append(Fault(SECOND, "slow", bytes_per_second=2 * MEGABYTE))
    seen: list[str] = []

    def look(done_bytes: int, total_bytes: int, note: str = "") -> None:
        for child in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                arguments = child.read_bytes()
                if b"gemma_space.fetching" in arguments:
                    around = child.with_name("environ").read_bytes()
                    seen.append((arguments + around).decode(errors="replace"))

    Downloads().bring(REPO, COMMIT, GOOD, look)
    assert seen
    for text in seen:
        assert GOOD not in text
        assert "hf_deployersOwn" not in text


@http_only
def test_a_file_that_was_damaged_on_the_disk_is_fetched_again(stand_in: StandInHub) -> None:
    found = bring()
    stored = (found / SHARDS[0]).resolve()
    stored.write_bytes(bytes(stored.stat().st_size))
    assert_whole(bring(), stand_in)
    assert fetched(stand_in, SHARDS[0]) == 2
    assert fetched(stand_in, SHARDS[1]) == 1


@http_only
def test_files_that_another_program_left_are_verified_before_their_first_use(
    stand_in: StandInHub, tmp_path: Path
) -> None:
    found = bring()
    (found.parent.parent / "gemma-space-verified.json").unlink()
    before = len(stand_in.bodies)
    assert_whole(bring(), stand_in)
    assert not [p for p, _ in stand_in.bodies[before:] if "/resolve/" in p], "verified, not fetched"


@http_only
def test_without_a_hub_what_is_here_is_enough_if_it_is_whole(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch's name, for nobody can say its commit: what an open model falls back to."""
    found = Downloads().bring(REPO, COMMIT, GOOD)
    refs = found.parent.parent / "refs" / "main"
    refs.parent.mkdir(exist_ok=True)
    refs.write_text(COMMIT)
    with stand_in.down():
        assert Downloads().bring(REPO, "main", None) == found
        (found / SHARDS[1]).unlink()
        with pytest.raises(DownloadError):
            Downloads().bring(REPO, "main", None)


@http_only
def test_the_hubs_own_transport_may_fail_and_plain_http_takes_over(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Xet-backed files whose storage cannot be reached: it would go on trying for minutes."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(downloads, "STALL_SECONDS", 10.0)  # an import takes a while
    stand_in.xet_names |= set(SHARDS)
    assert_whole(bring(), stand_in)
    asked = [p for _, p, _ in stand_in.requests if "xet-read-token" in p]
    assert asked, "the Hub's own transport was tried"


@http_only
def test_a_renamed_repository_is_followed(stand_in: StandInHub) -> None:
    stand_in.renamed["google/old-name"] = REPO
    assert hub.probe("google/old-name", "main", GOOD).commit == COMMIT
    found = Downloads().bring("google/old-name", COMMIT, GOOD)
    assert hashlib.sha256((found / SHARDS[0]).read_bytes()).hexdigest() == sha256(
        stand_in.files[REPO] / SHARDS[0]
    )


def test_a_file_that_takes_long_to_verify_tells_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would look like a stall, and be begun again and again."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(fetching, "say", told.append)
    monkeypatch.setattr(fetching, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(kept_files, "STEP_BYTES", 1000)
    kept = kept_in(tmp_path, {"model.safetensors": bytes(10_000)})
    attempt = fetching.Attempt(
        {"repo_id": "a/b", "commit": COMMIT, "token": None, "weights": True,
         "cache": str(tmp_path), "spare_bytes": 0}
    )  # fmt: skip
    assert list(attempt._damaged(kept, ["model.safetensors"], {})) == []
    assert sum("checking" in line for line in told) >= 10
    attempt.cancelled.set()
    with pytest.raises(fetching.Cancelled):
        list(attempt._damaged(kept, ["model.safetensors"], {}))


@http_only
def test_who_waits_for_another_programs_download_is_not_stalled(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub's cache lets one process at a time fetch a file."""
    monkeypatch.setattr(downloads, "STALL_SECONDS", 7.0)
    stand_in.faults.append(Fault(SECOND, "slow", bytes_per_second=MEGABYTE // 4))
    first, second = Downloads(), Downloads()
    ended: list[Path] = []
    other = threading.Thread(target=lambda: ended.append(first.bring(REPO, COMMIT, GOOD)))
    other.start()
    until(lambda: fetched(stand_in, SHARDS[1]))
    assert_whole(second.bring(REPO, COMMIT, GOOD), stand_in)
    other.join(30)
    assert ended
    assert fetched(stand_in, SHARDS[1]) == 1


@http_only
def test_a_branchs_name_in_place_of_a_commit_is_enough(stand_in: StandInHub) -> None:
    """What an open model has when one question to the Hub was lost."""
    found = Downloads().bring(REPO, "main", GOOD)
    assert found.name == COMMIT
    assert_whole(found, stand_in)


@http_only
def test_contents_that_another_commit_brought_need_no_room(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.branches[(REPO, "later")] = stand_in.files[REPO]
    bring()
    monkeypatch.setattr(downloads, "SPARE_BYTES", 1 << 60)
    sent = stand_in.sent(".safetensors")
    later = stand_in_hub.commit_of("later")
    found = Downloads().bring(REPO, later, GOOD)
    assert found.name == later
    assert stand_in.sent(".safetensors") == sent


@http_only
def test_a_refusal_of_the_first_is_not_the_seconds(stand_in: StandInHub) -> None:
    stand_in.delay_seconds = 0.3
    shared = Downloads()
    ended: list[object] = []

    def first() -> None:
        try:
            ended.append(shared.bring(REPO, COMMIT, "hf_not_accepted"))
        except DownloadError as error:
            ended.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    until(lambda: shared._running)
    assert_whole(shared.bring(REPO, COMMIT, GOOD), stand_in)
    thread.join(20)
    assert isinstance(ended[0], DownloadError)
