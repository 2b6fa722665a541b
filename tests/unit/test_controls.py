"""Every control: its range, its types, its words; and how defaults and limits are filled in."""

import math
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_space.controls import (
    CONTROLS,
    MAX_SEED,
    MAX_STOP_LENGTH,
    MAX_STOP_STRINGS,
    SEED,
    Control,
    check,
    default_params,
    resolve,
)
from gemma_space.errors import InvalidControlError
from gemma_space.types import Controls, SamplingParams

GREEDY = default_params({"temperature": 0.0}, 512)
LIMIT = 1000
EVERY = pytest.mark.parametrize("control", [*CONTROLS, SEED], ids=lambda c: c.name)
RANGES = {
    "temperature": (0, 2), "top_p": (0, 1), "top_k": (0, 1000), "min_p": (0, 1),
    "typical_p": (0.01, 1), "repetition_penalty": (0.5, 2), "no_repeat_ngram_size": (0, 32),
    "seed": (0, 2**32 - 1), "max_new_tokens": (1, 262_144),
}  # fmt: skip


def resolved(**wanted: Any) -> SamplingParams:
    return resolve(Controls(**wanted), GREEDY, LIMIT)


def refused(**wanted: Any) -> InvalidControlError:
    with pytest.raises(InvalidControlError) as caught:
        resolved(**wanted)
    return caught.value


def test_the_controls_are_those_of_the_public_contract() -> None:
    assert tuple(field.name for field in fields(Controls)) == (
        "max_new_tokens", "temperature", "top_p", "top_k", "min_p", "typical_p",
        "repetition_penalty", "no_repeat_ngram_size", "seed", "stop", "ignore_eos",
    )  # fmt: skip
    assert {c.name: (c.minimum, c.maximum) for c in (*CONTROLS, SEED)} == RANGES
    for control in CONTROLS:
        assert control.minimum <= control.off <= control.maximum
        assert control.label
        assert control.meaning.endswith(".")


@EVERY
def test_both_ends_of_a_range_are_in_it_and_what_lies_beyond_is_refused(control: Control) -> None:
    low, high = RANGES[control.name]
    high = min(high, LIMIT) if control.name == "max_new_tokens" else high
    for end in (low, high):
        assert getattr(resolved(**{control.name: end}), control.name) == end
    beyond = 1 if control.kind is int else 0.001
    for value in (low - beyond, high + beyond, -1e12, 1e12, -(10**30), 10**30):
        error = refused(**{control.name: value})
        assert control.name in error.message
        assert f"from {low} to {high}" in error.hint


@EVERY
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, True, False, "1", "", [1], {}, (1,), b"1", 1j, object]
)
def test_what_is_no_finite_number_is_refused(control: Control, value: object) -> None:
    error = refused(**{control.name: value})
    assert control.name in error.message
    assert error.hint.startswith("Choose a")


@EVERY
def test_whole_numbers_may_come_as_floats_and_fractions_may_not(control: Control) -> None:
    if control.kind is int:
        least = int(control.minimum)
        value = getattr(resolved(**{control.name: float(least)}), control.name)
        assert value == least
        assert type(value) is int
        assert "whole" in refused(**{control.name: least + 0.5}).message
    else:
        whole = next(n for n in (1, 0) if control.minimum <= n <= control.maximum)
        value = getattr(resolved(**{control.name: whole}), control.name)
        assert type(value) is float


@given(
    st.sampled_from([*CONTROLS, SEED]),
    st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=60), st.none(),
              st.lists(st.integers(), max_size=3)),
)  # fmt: skip
def test_check_gives_the_value_or_one_sentence_and_a_next_step(
    control: Control, value: object
) -> None:
    fits = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (control.kind is float or value == int(value))
        and control.minimum <= value <= control.maximum
    )
    if fits:
        kept = check(value, control)
        assert type(kept) is control.kind
        assert kept == value
        return
    with pytest.raises(InvalidControlError) as caught:
        check(value, control)
    assert caught.value.message.startswith(control.name)
    assert len(caught.value.message) < 400
    assert caught.value.hint.endswith(".")


def test_left_out_controls_take_the_checkpoints_defaults() -> None:
    defaults = default_params({"temperature": 1.0, "top_k": 64, "top_p": 0.95, "x": 3.0}, 512)
    params = resolve(Controls(), defaults, LIMIT)
    assert (params.temperature, params.top_k, params.top_p) == (1.0, 64, 0.95)
    assert (params.min_p, params.typical_p, params.repetition_penalty) == (0.0, 1.0, 1.0)
    assert (params.no_repeat_ngram_size, params.max_new_tokens) == (0, 512)
    assert (params.stop, params.ignore_eos) == ((), False)
    assert resolve(Controls(top_k=0), defaults, LIMIT).top_k == 0, "0 is a choice, not a gap"
    assert resolve(Controls(temperature=0), defaults, LIMIT).temperature == 0.0


def test_max_new_tokens_is_limited_by_the_deployment() -> None:
    assert resolve(Controls(), GREEDY, 100).max_new_tokens == 100
    assert resolve(Controls(max_new_tokens=100), GREEDY, 100).max_new_tokens == 100
    with pytest.raises(InvalidControlError, match="from 1 to 100"):
        resolve(Controls(max_new_tokens=101), GREEDY, 100)


def test_a_seed_is_drawn_when_none_is_given_and_kept_when_one_is() -> None:
    drawn = {resolved().seed for _ in range(20)}
    assert len(drawn) > 10
    assert all(0 <= seed <= MAX_SEED for seed in drawn)
    assert resolved(seed=0).seed == 0
    assert resolved(seed=MAX_SEED).seed == MAX_SEED


@pytest.mark.parametrize(
    ("stop", "kept"),
    [((), ()), (["a"], ("a",)), ("END", ("END",)), (("", "x", ""), ("x",)), ([], ()),
     (["é" * MAX_STOP_LENGTH] * MAX_STOP_STRINGS, ("é" * MAX_STOP_LENGTH,) * MAX_STOP_STRINGS)],
)  # fmt: skip
def test_stop_strings_are_taken(stop: Any, kept: tuple[str, ...]) -> None:
    assert resolved(stop=stop).stop == kept


@pytest.mark.parametrize(
    "stop",
    [None, 5, [5], ["a", None], {"a": 1}, [["a"]], ["x"] * (MAX_STOP_STRINGS + 1),
     ["x" * (MAX_STOP_LENGTH + 1)]],
)  # fmt: skip
def test_stop_strings_are_refused(stop: Any) -> None:
    error = refused(stop=stop)
    assert error.message.startswith("stop ")
    assert error.hint


@pytest.mark.parametrize("value", [None, 0, 1, "true", []])
def test_ignore_eos_is_a_boolean(value: Any) -> None:
    assert refused(ignore_eos=value).message.startswith("ignore_eos ")
    assert resolved(ignore_eos=True).ignore_eos is True


@EVERY
def test_a_number_beyond_all_bounds_is_refused_in_words(control: Control) -> None:
    assert "far too large" in str(refused(**{control.name: 10**400}))
