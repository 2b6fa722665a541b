"""Who may use what: verdicts from the wire, their words, what is kept, what never leaks."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from huggingface_hub import constants

from gemma_space import description, hub
from gemma_space.access import Access
from gemma_space.catalog import hub_catalog
from gemma_space.downloads import Downloads
from gemma_space.errors import AccessDeniedError, DownloadError
from gemma_space.hub import Account, Answer, clean_token, probe
from gemma_space.reports import Verdict
from gemma_space.verdicts import WORDS, refusal
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


def _account(token: str) -> Account:
    return Account("ready", "alice")


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
    answer = probe("google/x", "main", token)
    assert answer.verdict == verdict
    assert answer.commit == (COMMIT if verdict == "ready" else None)
    asked = ("HEAD", "/google/x/resolve/main/tokenizer_config.json", token)
    assert stand_in.requests == [asked], "one request, no body, gated file, this token only"


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
    monkeypatch.setattr(hub, "TIMEOUT_SECONDS", 0.2)
    slow = stand_in_hub._Handler._serve
    given_up = threading.Event()

    def hang(handler: Any, with_body: bool) -> None:
        given_up.wait(60)
        slow(handler, with_body)

    monkeypatch.setattr(stand_in_hub._Handler, "_serve", hang)
    try:
        assert probe("google/x", "main", GOOD).verdict == "hub_unreachable"  # else: ready
    finally:
        given_up.set()


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
        description.describe("google/x", COMMIT, None)
    with pytest.raises(DownloadError):
        Downloads().bring("google/x", COMMIT, None)
    assert {token for _, _, token in stand_in.requests} == {None}


# --- tokens --------------------------------------------------------------------------------------


def test_a_home_that_cannot_be_read_holds_no_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It must not keep the server from starting."""
    (tmp_path / "home").write_text("a file where a folder should be")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    assert hub.own_token() is None


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
    assert set(WORDS) == set(get_args(Verdict))


@pytest.mark.parametrize("verdict", [v for v in get_args(Verdict) if v not in ("open", "ready")])
def test_a_refusal_is_one_sentence_and_a_next_step_without_the_token(verdict: Verdict) -> None:
    access = Access(probe=Probe(Answer(verdict)))
    with pytest.raises(AccessDeniedError) as caught:
        access.require(GATED, CANARY)
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    assert "{" not in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.url or verdict in ("repo_missing", "rate_limited", "hub_unreachable")
    if "accept it" in caught.value.hint.lower():
        assert caught.value.url.endswith("/google/gemma-3-270m-it")
        assert caught.value.url in caught.value.hint


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


def test_a_no_is_kept_for_twenty_seconds_unless_it_is_checked_again() -> None:
    clock = Clock()
    asked = Probe(Answer("no_token"), Answer("license_not_accepted"), Answer("ready", COMMIT))
    access = Access(probe=asked, clock=clock)
    for now in (0.0, 19.9):
        clock.now = now
        assert access.check(GATED.repo_id, "main", GOOD).verdict == "no_token"
    clock.now = 20.1
    assert access.check(GATED.repo_id, "main", GOOD).verdict == "license_not_accepted"
    assert access.check(GATED.repo_id, "main", GOOD, fresh=True).verdict == "ready"
    assert access.require(GATED, GOOD) == COMMIT
    assert len(asked.asked) == 3


def test_no_answer_is_never_kept() -> None:
    asked = Probe(Answer("hub_unreachable"), Answer("ready", COMMIT))
    access = Access(probe=asked, clock=Clock())
    assert access.check(GATED.repo_id, "main", GOOD).verdict == "hub_unreachable"
    assert access.check(GATED.repo_id, "main", GOOD).verdict == "ready"


@pytest.mark.parametrize(("said", "seconds"), [(42.0, 42.0), (None, 30.0), (9999.0, 3600.0)])
def test_a_hub_that_asks_to_wait_is_not_asked_before(said: float | None, seconds: float) -> None:
    clock = Clock()
    asked = Probe(Answer("rate_limited", wait_seconds=said), Answer("ready", COMMIT))
    access = Access(probe=asked, clock=clock)
    for now, fresh in ((0.0, False), (seconds - 0.1, True)):
        clock.now = now
        answer = access.check(GATED.repo_id, "main", GOOD, fresh=fresh)
        assert answer.verdict == "rate_limited"
        assert said is None or answer.wait_seconds == pytest.approx(said - now), "what is left"
    clock.now = seconds + 0.1
    assert access.check(GATED.repo_id, "main", GOOD).verdict == "ready"


def test_a_yes_that_is_withdrawn_is_gone_at_the_next_check() -> None:
    asked = Probe(Answer("ready", COMMIT), Answer("license_not_accepted"))
    access = Access(probe=asked, clock=Clock())
    assert access.require(GATED, GOOD) == COMMIT
    access.check(GATED.repo_id, "main", GOOD, fresh=True)
    with pytest.raises(AccessDeniedError):
        access.require(GATED, GOOD)
    assert access.was_granted(GATED, GOOD), "for its name alone"


@pytest.mark.parametrize("silence", ["hub_unreachable", "rate_limited"])
def test_a_check_that_nobody_answers_takes_no_live_yes_away(silence: Verdict) -> None:
    clock, asked = Clock(), Probe(Answer("ready", COMMIT), Answer(silence))
    access = Access(probe=asked, clock=clock)
    assert access.require(GATED, GOOD) == COMMIT
    assert access.check(GATED.repo_id, "main", GOOD, fresh=True).verdict == silence
    assert access.require(GATED, GOOD) == COMMIT
    clock.now = 300.1
    with pytest.raises(AccessDeniedError):
        access.require(GATED, GOOD)


def test_strangers_cannot_use_up_the_hosts_quota() -> None:
    asked = Probe(Answer("ready", COMMIT))
    access = Access(CANARY, probe=asked, clock=Clock())
    access.lend([GATED.repo_id])
    for _ in range(20):
        assert access.check(GATED.repo_id, "main", None, fresh=True).verdict == "ready"
    assert len(asked.asked) == 1


def test_the_host_alone_can_change_what_the_host_lends() -> None:
    access = Access(CANARY, probe=Probe(Answer("license_not_accepted")), whose=_account)
    access.lend([GATED.repo_id])
    told = access.report(GATED, None)
    assert "host" in told.message
    assert told.hint == "Only the host can change that; choose another model."


def test_a_repository_that_is_open_no_more_is_not_taken_for_open_when_nobody_answers() -> None:
    """Whoever makes the Hub fall silent about them gets no further than before."""
    answers = {None: Answer("ready", COMMIT), GOOD: Answer("rate_limited")}
    access = Access(probe=lambda repo, revision, token: answers[token], clock=Clock())
    assert access.require(OPEN, GOOD) == "main"
    access.require(OPEN, None)
    answers[None] = Answer("repo_missing")
    access.check(OPEN.repo_id, "main", None, fresh=True)
    with pytest.raises(AccessDeniedError):
        access.require(OPEN, None)
    with pytest.raises(AccessDeniedError):
        access.require(OPEN, GOOD)


def test_a_token_is_cleaned_wherever_it_goes() -> None:
    asked = Probe(Answer("ready", COMMIT))
    access = Access(f"{CANARY}\n", probe=asked, clock=Clock())
    assert access.token_for(GATED.repo_id, f" {GOOD} \n") == GOOD
    access.lend([GATED.repo_id])
    assert access.token_for(GATED.repo_id, None) == CANARY


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


def test_a_busy_hub_keeps_nobody_from_an_open_model() -> None:
    access = Access(probe=Probe(Answer("rate_limited")))
    assert access.require(OPEN, None) == "main"


def test_only_who_had_a_yes_knows_a_name() -> None:
    access = Access(probe=no_hub)
    assert not access.was_granted(GATED, GOOD)
    assert not access.was_granted(GATED, "not a token")


def test_no_token_is_kept_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    access = Access(
        probe=Probe(Answer("ready", COMMIT)), clock=Clock(),
        whose=lambda token: Account("ready", "alice"),
    )  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        access.require(GATED, CANARY)
        told = access.report(GATED, CANARY)
    assert told.account == "alice"
    kept = repr(vars(access)) + repr(list(access._answers.items())) + repr(access)
    kept += repr(list(access._accounts.items())) + repr(told)
    assert "canary" not in kept.lower()
    assert "canary" not in caplog.text.lower()


# --- reports -------------------------------------------------------------------------------------


def test_a_report_names_the_account() -> None:
    access = Access(probe=Probe(Answer("license_not_accepted")), whose=_account)
    told = access.report(GATED, GOOD)
    assert told.message.startswith("alice has not been granted")
    assert told.account == "alice"
    assert told.url.endswith(GATED.repo_id)
    assert not told.granted


def test_an_open_model_is_open_whoever_asks() -> None:
    access = Access(probe=Probe(Answer("ready", COMMIT)), whose=_account)
    for token in (None, GOOD):
        told = access.report(OPEN, token)
        assert told.verdict == "open"
        assert told.granted
    assert access.report(GATED, GOOD).verdict == "ready"


def test_what_the_host_lends_is_told_without_an_account() -> None:
    access = Access(CANARY, probe=Probe(Answer("ready", COMMIT)), whose=_account)
    access.lend([GATED.repo_id])
    told = access.report(GATED, None)
    assert told.verdict == "ready"
    assert "host" in told.message
    assert told.account == ""


def test_whose_token_it_is_is_asked_once_an_hour() -> None:
    clock, asked = Clock(), []

    def whose(token: str) -> Account:
        asked.append(token)
        return Account("hub_unreachable") if len(asked) == 1 else Account("ready", "alice")

    access = Access(probe=no_hub, clock=clock, whose=whose)
    assert access.account(GOOD).verdict == "hub_unreachable"
    for now in (1.0, 3600.0):
        clock.now = now
        assert access.account(GOOD).name == "alice"
    assert len(asked) == 2
    clock.now = 3601.1
    access.account(GOOD)
    assert len(asked) == 3
    assert access.account(None).verdict == "no_token"
    assert access.account("x y").verdict == "token_malformed"
    assert len(asked) == 3


def test_a_token_nobody_knows_is_not_asked_about_again_and_again() -> None:
    clock, asked = Clock(), []

    def whose(token: str) -> Account:
        asked.append(token)
        return Account("token_invalid")

    access = Access(probe=no_hub, clock=clock, whose=whose)
    for now in (0.0, 19.0):
        clock.now = now
        assert access.account(GOOD).verdict == "token_invalid"
    assert len(asked) == 1
    clock.now = 20.1
    access.account(GOOD)
    assert len(asked) == 2


@pytest.mark.parametrize("verdict", ["token_malformed", "token_invalid"])
def test_a_token_that_is_no_good_is_refused_in_words(verdict: Verdict) -> None:
    error = refusal(verdict)
    assert error.verdict == verdict
    assert error.url.startswith("http")
    assert error.url in error.hint
