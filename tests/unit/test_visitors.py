"""Whose token acts for whom: where it comes from, how long it is held, what nobody else gets."""

import logging
from collections.abc import Callable

import pytest

from gemma_space import visitors as module
from gemma_space.access import Access
from gemma_space.errors import AccessDeniedError, InvalidRequestError
from gemma_space.hub import Account
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.visitors import PASTED_SECONDS, Visitor, Visitors
from tests.tiny_checkpoints import no_hub

CANARY = "hf_canaryCANARYcanary0003"
OWN = "hf_ownownownown"
ALICE, BOB = Visitor(key="a" * 43), Visitor(key="b" * 43)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def served(
    whose: Callable[[str], Account] = lambda token: Account("ready", "alice"),
    own: str | None = None,
    clock: Clock | None = None,
) -> Visitors:
    access = Access(probe=no_hub, whose=whose)
    return Visitors(access, (lambda: own) if own else None, clock or Clock())


def nobody(token: str) -> Account:
    raise AssertionError("somebody was asked")


def test_a_pasted_token_is_one_browsers_alone_until_it_is_forgotten() -> None:
    visitors = served()
    assert visitors.paste(ALICE, f" {CANARY}\n").name == "alice"
    assert (visitors.token(ALICE), visitors.source(ALICE)) == (CANARY, "pasted")
    assert (visitors.token(BOB), visitors.source(BOB)) == (None, "none")
    assert visitors.token(Visitor()) is None
    visitors.forget(ALICE)
    assert (visitors.token(ALICE), visitors.source(ALICE)) == (None, "none")
    visitors.forget(ALICE)


def test_a_pasted_token_is_held_for_eight_hours() -> None:
    clock = Clock()
    visitors = served(clock=clock)
    visitors.paste(ALICE, CANARY)
    clock.now = PASTED_SECONDS - 1
    assert visitors.token(ALICE) == CANARY
    clock.now = PASTED_SECONDS + 1
    assert visitors.token(ALICE) is None


def test_a_token_that_nobody_asks_for_again_is_dropped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[float] = []
    clock = Clock()

    def sleep(seconds: float) -> None:
        steps.append(seconds)
        clock.now += PASTED_SECONDS / 2 + 1

    monkeypatch.setattr(module.time, "sleep", sleep)
    started: list[Callable[[], None]] = []

    class Later:
        def __init__(self, target: Callable[[], None], **_: object) -> None:
            started.append(target)

        def start(self) -> None:
            return

    monkeypatch.setattr(module.threading, "Thread", Later)
    visitors = served(clock=clock)
    visitors.paste(ALICE, CANARY)
    visitors.paste(BOB, CANARY)
    assert len(started) == 1
    started[0]()
    assert steps == [module.TIDY_SECONDS] * 2
    assert not visitors._pasted._Cache__data  # type: ignore[attr-defined]
    visitors.paste(ALICE, CANARY)
    assert len(started) == 2


@pytest.mark.parametrize("raw", ["", "hello", "hf_x y", "hf_abcdefgh\nX-Evil: 1", "‘hf_abcdefgh’"])
def test_what_is_no_token_is_refused_before_anybody_is_asked(raw: str) -> None:
    visitors = served(whose=nobody)
    with pytest.raises(AccessDeniedError) as caught:
        visitors.paste(ALICE, raw)
    assert caught.value.verdict == "token_malformed"
    assert not raw or raw not in str(caught.value)
    assert visitors.token(ALICE) is None


def test_a_token_the_hub_does_not_know_is_not_kept_and_the_one_before_is() -> None:
    answers = {CANARY: Account("ready", "alice"), "hf_revoked1": Account("token_invalid")}
    visitors = served(whose=lambda token: answers[token])
    visitors.paste(ALICE, CANARY)
    with pytest.raises(AccessDeniedError) as caught:
        visitors.paste(ALICE, "hf_revoked1")
    assert caught.value.verdict == "token_invalid"
    assert visitors.token(ALICE) == CANARY


@pytest.mark.parametrize("verdict", ["hub_unreachable", "rate_limited"])
def test_a_token_is_kept_when_nobody_says_whose_it_is(verdict: str) -> None:
    visitors = served(whose=lambda token: Account(verdict))  # type: ignore[arg-type]
    assert visitors.paste(ALICE, CANARY).verdict == verdict
    assert visitors.token(ALICE) == CANARY


def test_a_browser_without_cookies_is_told_so() -> None:
    with pytest.raises(InvalidRequestError, match="cookie"):
        served().paste(Visitor(), CANARY)


def test_pasted_goes_before_signed_in_goes_before_the_machines_own() -> None:
    visitors = served(own=OWN)
    here = Visitor(key="c" * 43, signed_in="hf_signedsigned", is_local=True)
    assert visitors.source(here) == "signed_in"
    visitors.paste(here, CANARY)
    assert visitors.token(here) == CANARY
    visitors.forget(here)
    assert visitors.token(here) == "hf_signedsigned"
    assert visitors.token(Visitor(key=here.key, is_local=True)) == OWN
    assert visitors.token(Visitor(key=here.key, is_local=False)) is None


@pytest.mark.parametrize(
    ("environment", "serves"),
    [
        ({}, True),
        ({"server_name": "127.0.0.1"}, True),
        ({"server_name": "localhost"}, True),
        ({"server_name": "0.0.0.0"}, False),
        ({"server_name": "192.168.1.4"}, False),
        ({"share": True}, False),
        ({"root_path": "/gemma"}, False),
        ({"own_login": False}, False),
        ({"space_id": "somebody/space"}, False),
    ],
    ids=str,
)
def test_the_deployers_token_serves_them_alone_on_their_own_machine(
    environment: dict[str, object], serves: bool
) -> None:
    settings = Settings(hf_token=OWN, **environment)  # type: ignore[arg-type]
    checkpoints = served_checkpoints([])
    visitors = Playground(checkpoints, Access(probe=no_hub), settings).visitors
    assert visitors.token(Visitor(is_local=True)) == (OWN if serves else None)
    assert visitors.token(Visitor(is_local=False)) is None


def test_a_saved_login_counts_as_the_machines_own(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = f"{tmp_path}/token"
    with open(saved, "w", encoding="utf-8") as file:
        file.write(OWN + "\n")
    visitors = Playground(served_checkpoints([]), Access(probe=no_hub), Settings()).visitors
    assert visitors.token(Visitor(is_local=True)) is None
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", saved)
    assert visitors.token(Visitor(is_local=True)) == OWN


def test_no_token_shows_in_what_is_printed_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    visitors = served(own=CANARY)
    with caplog.at_level(logging.DEBUG):
        visitors.paste(ALICE, CANARY)
        visitors.account(ALICE)
    shown = repr(Visitor(key=CANARY, signed_in=CANARY)) + repr(visitors) + caplog.text
    assert "canary" not in shown.lower()
