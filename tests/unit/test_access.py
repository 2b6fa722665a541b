"""Who may use what: verdicts from the wire, their words, what is kept, what never leaks."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from huggingface_hub.utils import disable_progress_bars

from gemma_space import hub
from gemma_space.access import WORDS, Access
from gemma_space.catalog import Checkpoint, hub_catalog
from gemma_space.errors import AccessDeniedError, DownloadError
from gemma_space.hub import Answer, Verdict, clean_token, probe
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.types import ChatRequest, Controls, Message, Precision
from tests import stand_in_hub, tiny_checkpoints
from tests.stand_in_hub import COMMIT, GOOD, StandInHub
from tests.tiny_checkpoints import Checkpoints, no_hub

ROWS = {row.repo_id.removeprefix("google/"): row for row in hub_catalog()}
GATED, OPEN = ROWS["gemma-3-270m-it"], ROWS["gemma-4-E2B-it"]
CANARY = "hf_canaryCANARYcanary0001"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with stand_in_hub.serve() as served:
        stand_in_hub.point_client_at(served, monkeypatch)
        yield served


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Probe:
    """Answers as told and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, str | None]] = []

    def __call__(self, repo_id: str, revision: str, token: str | None) -> Answer:
        self.asked.append((repo_id, revision, token))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


# --- the wire ------------------------------------------------------------------------------------

VERDICTS: dict[str | None, Verdict] = {
    GOOD: "ready", None: "no_token", "hf_not_accepted": "license_not_accepted",
    "hf_pending": "request_pending", "hf_rejected": "request_rejected",
    "hf_fine_grained": "token_lacks_gated_scope", "hf_invalid": "token_invalid",
    "hf_expired": "token_invalid", "hf_blind": "repo_missing", "hf_limited": "rate_limited",
    "hf_broken": "hub_unreachable", "hf_maintenance": "hub_unreachable",
    "hf_timeout": "hub_unreachable", "hf_no_file": "ready", "hf_portal": "hub_unreachable",
    "hf_forbidden": "repo_missing",
}  # fmt: skip


@pytest.mark.parametrize(("token", "verdict"), VERDICTS.items(), ids=str)
def test_the_wire_decides(stand_in: StandInHub, token: str | None, verdict: Verdict) -> None:
    stand_in.files["google/x"] = Path(__file__).parent
    started = time.monotonic()
    answer = probe("google/x", "main", token)
    assert answer.verdict == verdict
    assert answer.commit == (COMMIT if verdict == "ready" else None)
    asked = ("HEAD", "/google/x/resolve/main/tokenizer_config.json", token)
    assert stand_in.requests == [asked], "one request, no body, gated file, this token only"
    assert time.monotonic() - started < 2


def test_an_anonymous_visitor_sees_private_as_missing(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = (401, "", "Invalid username or password.")
    monkeypatch.setitem(stand_in_hub.ANSWERS, None, answer)
    assert probe("google/x", "main", None).verdict == "repo_missing"


def test_no_hub_is_told_apart_from_no() -> None:
    assert probe("google/x", "main", None).verdict == "hub_unreachable"  # nothing listens there


def test_a_hub_that_hangs_is_given_up(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "PROBE_TIMEOUT_SECONDS", 0.2)
    slow = stand_in_hub._Handler._serve

    def hang(handler: Any, with_body: bool) -> None:
        time.sleep(0.8)
        slow(handler, with_body)

    monkeypatch.setattr(stand_in_hub._Handler, "_serve", hang)
    started = time.monotonic()
    assert probe("google/x", "main", None).verdict == "hub_unreachable"
    assert time.monotonic() - started < 0.7


def test_the_machines_own_token_is_never_sent(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    saved = tmp_path / "token"
    saved.write_text(CANARY)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(saved))
    # The environment variable is the second line of defence; this is about the first.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    assert probe("google/x", "main", None).verdict == "no_token"
    with pytest.raises(DownloadError):
        hub.download("google/x", "main", None, lambda d, t: None, lambda: False)
    assert {token for _, _, token in stand_in.requests} == {None}


# --- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", ["", "  ", None, "\n\t"])
def test_a_blank_token_is_none(raw: str | None) -> None:
    assert clean_token(raw) is None


@pytest.mark.parametrize("raw", [GOOD, f"  {GOOD}\n", "eyJhbGciOi.J9_x-", "x" * 4096])
def test_a_token_is_trimmed(raw: str) -> None:
    assert clean_token(raw) == raw.strip()


MALFORMED = ["hf_x y", "hf_ü123456", "short", "hf_abcdefgh\nX-Evil: 1", "x" * 4097, "‘hf_abcdef’",
             "hf_abcdefgh\x00", "Bearer hf_abcdefgh"]  # fmt: skip


@pytest.mark.parametrize("raw", MALFORMED)
def test_a_malformed_token_is_refused_and_never_sent(raw: str) -> None:
    access = Access(probe=no_hub)
    assert access.check(GATED.repo_id, "main", raw) == Answer("token_malformed")
    with pytest.raises(AccessDeniedError) as caught:
        access.require(GATED, raw)
    assert raw not in str(caught.value)


# --- words and memory ----------------------------------------------------------------------------


def test_every_verdict_has_words() -> None:
    assert set(WORDS) == set(get_args(Verdict)) - {"ready"}


@pytest.mark.parametrize("verdict", [v for v in get_args(Verdict) if v != "ready"])
def test_a_refusal_is_one_sentence_and_a_next_step_without_the_token(verdict: Verdict) -> None:
    access = Access(probe=Probe(Answer(verdict)))
    with pytest.raises(AccessDeniedError) as caught:
        access.require(GATED, CANARY)
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    assert "{" not in str(caught.value)
    assert CANARY not in str(caught.value)
    if "accept" in caught.value.hint.lower():
        assert "/google/gemma-3-270m-it" in caught.value.hint


def test_a_yes_is_kept_for_five_minutes() -> None:
    clock, asked = Clock(), Probe(Answer("ready", COMMIT))
    access = Access(probe=asked, clock=clock)
    for now in (0.0, 100.0, 299.9):
        clock.now = now
        assert access.require(GATED, GOOD) == COMMIT
    assert len(asked.asked) == 1
    clock.now = 300.1
    asked.answers = [Answer("license_not_accepted")]
    with pytest.raises(AccessDeniedError):
        access.require(GATED, GOOD)
    assert len(asked.asked) == 2
    clock.now = 0.0
    with pytest.raises(AccessDeniedError):
        access.require(GATED, GOOD)


def test_a_no_is_asked_again_each_time() -> None:
    asked = Probe(Answer("no_token"), Answer("license_not_accepted"), Answer("ready", COMMIT))
    access = Access(probe=asked, clock=Clock())
    for _ in range(2):
        with pytest.raises(AccessDeniedError):
            access.require(GATED, GOOD)
    assert access.require(GATED, GOOD) == COMMIT
    assert len(asked.asked) == 3


def test_a_yes_is_for_one_visitor_and_one_repository() -> None:
    asked = Probe(Answer("ready", COMMIT))
    access = Access(probe=asked, clock=Clock())
    for row, token in ((GATED, GOOD), (GATED, None), (GATED, CANARY), (OPEN, GOOD)):
        access.require(row, token)
    assert [(repo, token) for repo, _, token in asked.asked] == [
        (GATED.repo_id, GOOD), (GATED.repo_id, None), (GATED.repo_id, CANARY),
        (OPEN.repo_id, GOOD),
    ]  # fmt: skip


def test_the_deployers_token_serves_only_where_it_was_lent() -> None:
    asked = Probe(Answer("ready", COMMIT))
    Access(probe=asked).require(GATED, None)
    lending = Access(deployer_token=CANARY, probe=asked)
    lending.require(GATED, None)
    lending.lend([GATED.repo_id])
    lending.require(GATED, None)
    lending.require_repository("somebody/elses", "hf_visitor1")
    assert [token for _, _, token in asked.asked] == [None, None, CANARY, "hf_visitor1"]


def test_a_local_folder_asks_nobody(checkpoints: Checkpoints) -> None:
    from gemma_space.local_checkpoint import local_checkpoint

    row = local_checkpoint(checkpoints.folder(tiny_checkpoints.GEMMA_1))
    assert Access(probe=no_hub).require(row, None) == "local"


def test_without_a_hub_open_models_may_go_on_and_gated_ones_may_not() -> None:
    access = Access(probe=Probe(Answer("hub_unreachable")))
    assert access.require(OPEN, None) == "main"
    with pytest.raises(AccessDeniedError, match="cannot be reached"):
        access.require(GATED, GOOD)


def test_no_token_is_kept_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    access = Access(deployer_token=None, probe=Probe(Answer("ready", COMMIT)), clock=Clock())
    with caplog.at_level(logging.DEBUG):
        access.require(GATED, CANARY)
    kept = repr(vars(access)) + repr(list(access._ready.items())) + repr(access)
    assert "canary" not in kept.lower()
    assert "canary" not in caplog.text.lower()


# --- from the gate to the answer -----------------------------------------------------------------


def _says_hi(row: Checkpoint) -> ChatRequest:
    return ChatRequest(
        messages=(Message(role="user", content="Hi"),), model=row.repo_id,
        precision=Precision.FP32, controls=Controls(max_new_tokens=3, temperature=0.0),
    )  # fmt: skip


def test_a_gated_model_is_downloaded_once_and_refused_to_others_even_when_loaded(
    stand_in: StandInHub,
    checkpoints: Checkpoints,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stand_in.files[GATED.repo_id] = checkpoints.folder(tiny_checkpoints.GEMMA_3)
    stand_in.granted.add(CANARY)
    playground = Playground([GATED], Access(), Settings())
    with caplog.at_level(logging.DEBUG):
        for token in (None, "hf_not_accepted", "hf_fine_grained", "hf x"):
            with pytest.raises(AccessDeniedError):
                list(playground.chat(_says_hi(GATED), token))
        assert playground.library.status().loaded == ()
        phases = [p.phase for p in playground.library.load(GATED.repo_id, "fp32", CANARY)]
        assert phases[0] == "access"
        assert phases[-1] == "ready"
        *_, last = playground.chat(_says_hi(GATED), CANARY)
        assert getattr(last, "revision", "") == COMMIT
        for token in (None, "hf_not_accepted", "hf_pending"):
            with pytest.raises(AccessDeniedError) as caught:
                list(playground.chat(_says_hi(GATED), token))
            assert caught.value.hint
            with pytest.raises(AccessDeniedError):
                playground.tokenize("hi", GATED.repo_id, token=token)
    fetched = [p for method, p, _ in stand_in.requests if method == "GET" and "/resolve/" in p]
    assert len(fetched) == len(set(fetched)), "downloaded once"
    assert any(path.endswith("model.safetensors") for path in fetched)
    shown = caplog.text + "".join(capfd.readouterr())
    assert "canary" not in shown.lower()


def test_a_download_that_fails_is_worded_without_address_or_token(
    stand_in: StandInHub, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DownloadError) as caught:
        hub.download("google/absent", COMMIT, CANARY, lambda d, t: None, lambda: False)
    assert "google/absent" in caught.value.message
    assert caught.value.hint
    for text in (str(caught.value), caplog.text):
        assert "127.0.0.1" not in text
        assert CANARY not in text
    assert caught.value.__cause__ is None


def test_a_download_reports_bytes_and_can_be_cancelled(
    stand_in: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(1_000_000))
    (folder / "pytorch_model.bin").write_bytes(bytes(10))
    stand_in.files["google/y"] = folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(hub.DownloadCancelled):
        hub.download("google/y", COMMIT, GOOD, lambda d, t: None, lambda: True)
    disable_progress_bars()  # as transformers does for everybody once it has loaded a model
    told: list[tuple[int, int]] = []
    found = hub.download("google/y", COMMIT, GOOD, lambda d, t: told.append((d, t)), lambda: False)
    assert (found / "model.safetensors").stat().st_size == 1_000_000
    assert not (found / "pytorch_model.bin").exists()
    assert told[-1] == (1_000_002, 1_000_002)
    assert [d for d, _ in told] == sorted(d for d, _ in told)
