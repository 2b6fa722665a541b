"""How much one visitor may have: at once and in a minute, by name and by network."""

from contextlib import ExitStack

import pytest

from gemma_space.errors import TooManyRequestsError
from gemma_space.shares import PER_ADDRESS, Shares
from gemma_space.visitors import Visitor

ANNA, BERT = Visitor(key="a" * 43, address="203.0.113.7"), Visitor(key="b" * 43, address="9.9.9.9")


def test_so_many_at_once_and_a_place_comes_back() -> None:
    shares = Shares(2)
    with ExitStack() as rest, ExitStack() as first:
        first.enter_context(shares.hold(ANNA))
        rest.enter_context(shares.hold(ANNA))
        with pytest.raises(TooManyRequestsError, match="You have 2 requests on the way") as caught:
            rest.enter_context(shares.hold(ANNA))
        assert "kept" in caught.value.hint
        assert caught.value.retry_seconds > 0
        rest.enter_context(shares.hold(BERT))
        first.close()
        rest.enter_context(shares.hold(ANNA))
    assert not shares._held, "nothing is kept of whoever left"


def test_what_waits_counts_before_more_may_wait_and_not_once_it_begins() -> None:
    waiting: list[Visitor] = []
    shares = Shares(2, before=lambda: waiting)
    shares.require_place(ANNA)
    with shares.hold(ANNA):
        shares.require_place(ANNA)
        waiting.append(ANNA)
        with pytest.raises(TooManyRequestsError, match="You have 2 requests on the way"):
            shares.require_place(ANNA)
        shares.require_place(BERT)
        with shares.hold(ANNA):
            pass
    waiting += [Visitor(key=f"{n:043}", address=BERT.address) for n in range(2 * PER_ADDRESS)]
    with pytest.raises(TooManyRequestsError, match="Your network has 6 requests"):
        shares.require_place(BERT)
    Shares(0, before=lambda: waiting).require_place(BERT)


def test_a_failure_gives_the_place_back() -> None:
    shares = Shares(1)
    for _ in range(2):
        with pytest.raises(ValueError, match="oh"), shares.hold(ANNA):
            raise ValueError("oh")


def test_whoever_makes_up_names_is_held_by_their_network() -> None:
    shares = Shares(2)
    with ExitStack() as held:
        for number in range(2 * PER_ADDRESS):
            held.enter_context(shares.hold(Visitor(key=f"{number:043}", address="198.51.100.4")))
        for made_up in (Visitor(key="c" * 43), Visitor(signed_in="hf_made_up")):
            with pytest.raises(TooManyRequestsError, match="Your network has"):
                held.enter_context(shares.hold(Visitor(made_up.key, made_up.signed_in,
                                                       address="198.51.100.4")))  # fmt: skip
        held.enter_context(shares.hold(ANNA))


def test_an_account_is_one_visitor_in_every_browser() -> None:
    shares = Shares(1)
    with shares.hold(Visitor(key="a" * 43, account="anna", signed_in="hf_1", address="9.9.9.9")):
        with (
            pytest.raises(TooManyRequestsError),
            shares.hold(Visitor(key="b" * 43, account="anna", signed_in="hf_2", address="8.8.8.8")),
        ):
            pass
        with shares.hold(Visitor(key="a" * 43, account="bert", address="9.9.9.9")):
            pass


def test_what_is_counted_holds_no_token() -> None:
    shares = Shares(1)
    with shares.hold(Visitor(signed_in="hf_" + "x" * 30)):
        assert "hf_" not in str(dict(shares._held))


def test_nobody_is_counted_where_there_is_no_limit() -> None:
    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(Shares().hold(ANNA))


def test_so_many_in_a_minute_and_when_to_come_back() -> None:
    shares = Shares(0, per_minute=3)
    for _ in range(3):
        with shares.hold(ANNA):
            pass
    with pytest.raises(TooManyRequestsError, match="3 requests in the last minute") as caught:
        shares.hold(ANNA).__enter__()
    assert 1 <= caught.value.retry_seconds <= 60
    with shares.hold(BERT):
        pass
