"""Columns run together or in turn, fail alone, and end together."""

import time
from collections.abc import Iterator
from typing import cast

import pytest

from gemma_space import alerts, memory
from gemma_space.access import Access
from gemma_space.catalog import DEMO_ADAPTER_ID, DEMO_REPO_ID
from gemma_space.comparison import Column, ColumnState, Comparison, parted
from gemma_space.errors import InvalidControlError
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.side_by_side import compare, plan
from gemma_space.types import Controls, Precision
from tests.browser.fake_playground import FakePlayground
from tests.tiny_checkpoints import GEMMA_3_BASE, Checkpoints, no_hub

GREEDY = Controls(temperature=0, max_new_tokens=12)
FP32, BF16, INT8 = Precision.FP32, Precision.BF16, Precision.INT8


def serving(budget: int | None = None) -> Playground:
    rows = served_checkpoints((DEMO_REPO_ID, DEMO_ADAPTER_ID))
    return Playground(rows, Access(probe=no_hub), Settings.model_validate(
        {"memory_budget": budget}))  # fmt: skip


@pytest.fixture(scope="module")
def demo() -> Playground:
    return serving()


def needs(playground: Playground, *precisions: Precision) -> int:
    row = playground.library.find(DEMO_REPO_ID)
    return sum(memory.needs(row, one).total_bytes for one in precisions)


def asked(*columns: Column, text: str = "What is a token?") -> Comparison:
    return Comparison.begin(columns, "chat", seed=3).asking(text)


def column(precision: Precision = BF16, model: str = DEMO_REPO_ID) -> Column:
    return Column(model=model, precision=precision, controls=GREEDY)


def running(playground: Playground, made: Comparison) -> Iterator[tuple[ColumnState, ...]]:
    return compare(playground, made.requests(), alerts.words)


def last(playground: Playground, made: Comparison) -> tuple[ColumnState, ...]:
    return list(running(playground, made))[-1]


def text(state: ColumnState) -> str:
    assert state.generation is not None, state.problem
    return state.generation.text


def scripted(fake: FakePlayground) -> Playground:
    fake.library.fit_together = lambda wanted: True  # type: ignore[attr-defined]
    fake.library.held_bytes = lambda row, chosen: 5  # type: ignore[attr-defined]
    return cast(Playground, fake)


def wait_until_idle(playground: Playground) -> None:
    """An engine that was closed lets go of the request within a step of its own."""
    end = time.monotonic() + 20
    while playground.library.status().queue and time.monotonic() < end:
        time.sleep(0.01)


# --- together or in turn ------------------------------------------------------------------------


def test_what_fits_runs_together_and_an_adapter_shares_its_base(demo: Playground) -> None:
    wanted = [(DEMO_REPO_ID, BF16), (DEMO_ADAPTER_ID, BF16), (DEMO_REPO_ID, FP32)]
    assert plan(demo.library, wanted).waves == ((0, 1, 2),)
    adapter = demo.library.find(DEMO_ADAPTER_ID)
    both = needs(demo, BF16) + memory.adapter_bytes(adapter, BF16)
    narrow = [*wanted[:2], (DEMO_REPO_ID, INT8)]
    assert plan(serving(both).library, narrow).waves == ((0, 1), (2,))


def test_what_does_not_fit_together_runs_in_turn(demo: Playground) -> None:
    budget = needs(demo, FP32, INT8)
    wanted = [(DEMO_REPO_ID, p) for p in (BF16, FP32, INT8)]
    assert plan(serving(budget).library, wanted).waves == ((0,), (1, 2))


def test_what_cannot_run_at_all_makes_nobody_wait(demo: Playground) -> None:
    small = serving(needs(demo, BF16))
    wanted = [("nobody's", BF16), (DEMO_REPO_ID, BF16), (DEMO_REPO_ID, FP32)]
    found = plan(small.library, wanted)
    assert found.waves == ((0, 1, 2),)
    assert found.rows[0] is None


def test_a_column_waits_until_those_before_it_have_ended(demo: Playground) -> None:
    small = serving(needs(demo, FP32))
    begun: list[tuple[bool, ...]] = []
    told = list(running(small, asked(column(FP32), column(BF16))))
    for states in told:
        begun.append(tuple(state.generation is not None for state in states))
        if states[1].progress or states[1].generation:
            assert states[0].done, "it is loaded once the other model may leave"
    assert begun.index((True, False)) < begun.index((True, True))
    assert [state.wave for state in told[-1]] == [0, 1]
    assert text(told[-1][0]) == text(told[-1][1])
    assert [row.precision for row in small.library.status().loaded] == ["bf16"]


def test_auto_in_every_column_takes_what_it_would_take_alone(demo: Playground) -> None:
    small = serving(needs(demo, BF16))
    auto = Column(model=DEMO_REPO_ID, precision=Precision.AUTO, controls=GREEDY)
    first, second = last(small, asked(auto, column(INT8)))
    assert first.generation is not None
    assert (first.generation.precision, first.wave, second.wave) == ("bf16", 0, 1)


# --- what comes ---------------------------------------------------------------------------------


def test_columns_come_as_they_would_alone(demo: Playground) -> None:
    made = asked(column(), column(FP32), column(model=DEMO_ADAPTER_ID))
    states = last(demo, made)
    alone = [last(demo, asked(one))[0] for one in made.columns]
    assert [text(state) for state in states] == [text(state) for state in alone]
    assert text(states[0]) != text(states[2])
    found = parted(states)
    assert found.partings[2] is not None
    assert (found.partings[2].kind, found.partings[2].unit) == ("apart", "token")
    at = found.at[2]
    assert at is not None
    assert text(states[0])[:at] == text(states[2])[:at]
    weights = [state.weights_bytes for state in states]
    assert weights[0] < weights[2] < weights[1], "an adapter's base counts"
    assert all(state.ends[-1] == len(text(state)) for state in states)


def test_the_same_tokens_of_another_checkpoint_are_compared_by_characters(
    checkpoints: Checkpoints,
) -> None:
    other = str(checkpoints.folder(GEMMA_3_BASE))
    rows = served_checkpoints([DEMO_REPO_ID, other])
    both = Playground(rows, Access(probe=no_hub), Settings())
    columns = [Column(model=m, precision=FP32, controls=GREEDY) for m in (DEMO_REPO_ID, other)]
    made = Comparison.begin(columns, "raw", seed=3).asking("Once upon a time")
    states = last(both, made)
    assert states[0].vocabulary != states[1].vocabulary
    assert parted(states).partings[1] is not None


# --- what goes wrong ----------------------------------------------------------------------------


def test_one_columns_failure_is_told_there_and_disturbs_no_other(demo: Playground) -> None:
    too_long = Column(model=DEMO_REPO_ID, precision=BF16, controls=Controls(max_new_tokens=9999))
    wrong = Column(model=DEMO_REPO_ID, controls=InvalidControlError("seed is no number.", "Fix."))
    made = asked(too_long, column(), wrong, column(model="nobody's"))
    states = last(demo, made)
    assert "max_new_tokens" in states[0].problem
    assert text(states[1]) == text(last(demo, asked(column()))[0])
    assert states[2].problem == "seed is no number. Fix."
    assert "nobody's" in states[3].problem
    assert all(state.done for state in states)


def test_a_failure_half_way_keeps_the_reply_so_far() -> None:
    fake = scripted(FakePlayground(words=("One ", "two ", "three"), fail_after=2))
    (state,) = last(fake, asked(Column(model="fake/chat")))
    assert text(state) == "One two "
    assert "stumbled" in state.problem
    assert not state.answered


def test_closing_ends_every_column_and_leaves_the_engines_idle(demo: Playground) -> None:
    long = Controls(max_new_tokens=1500, ignore_eos=True)
    columns = [Column(model=DEMO_REPO_ID, precision=p, controls=long) for p in (BF16, FP32)]
    stream = running(demo, asked(*columns))
    next(
        states
        for states in stream
        if all(state.generation is not None and state.generation.text for state in states)
    )
    stream.close()  # type: ignore[attr-defined]
    wait_until_idle(demo)
    status = demo.library.status()
    assert status.queue == 0
    assert [row.leases for row in status.loaded] == [0] * len(status.loaded)
    assert text(last(demo, asked(column()))[0]), "and they can be asked again"


def test_closing_does_not_wait_for_replies_to_end() -> None:
    fake = FakePlayground(words=("word ",) * 500, seconds=0.01)
    stream = running(scripted(fake), asked(*[Column(model="fake/chat")] * 2))
    next(states for states in stream if all(state.generation for state in states))
    stream.close()  # type: ignore[attr-defined]
    assert fake.events == ["started", "started", "closed", "closed"]


def test_closing_at_once_begins_nothing(demo: Playground) -> None:
    stream = running(demo, asked(column(), column(FP32)))
    assert next(stream) == (ColumnState(), ColumnState())
    stream.close()  # type: ignore[attr-defined]
    assert demo.library.status().queue == 0
