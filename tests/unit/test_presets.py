"""Presets: what each one sets, and what is taken from values that a browser hands over."""

import json
import math
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_space.controls import CONTROLS, check, default_params, resolve
from gemma_space.errors import InvalidControlError
from gemma_space.presets import BUILT_IN, SAMPLING, Preset, fit, offered, recommended
from gemma_space.types import Controls, SamplingParams
from gemma_space.ui.controls import SamplingControls

GEMMA_3 = default_params({"temperature": 1.0, "top_k": 64, "top_p": 0.95}, 512)
NAMES = {control.name for control in SAMPLING}
NUMBERS = st.one_of(st.integers(), st.floats(), st.just(10**400), st.just(-(10**400)))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=20), inner, max_size=4)
    ),
    max_leaves=12,
)
ANYTHING = st.one_of(
    JSON,
    st.dictionaries(st.sampled_from(sorted(NAMES)), JSON),
    st.dictionaries(st.one_of(st.sampled_from(sorted(NAMES)), st.text(max_size=9)), NUMBERS),
)


@pytest.mark.parametrize("preset", offered(GEMMA_3), ids=lambda preset: preset.name)
def test_each_preset_is_in_range_and_changes_only_how_tokens_are_chosen(preset: Preset) -> None:
    assert set(preset.values) == NAMES
    assert preset.reason.endswith(".")
    assert fit(preset.values).values == preset.values
    assert fit(preset.values).note == ""
    before = replace(GEMMA_3, seed=7, stop=("END",), ignore_eos=True, max_new_tokens=99)
    given: dict[str, Any] = dict(preset.values)
    controls = Controls(**given, seed=7, stop=("END",), ignore_eos=True, max_new_tokens=99)
    after = resolve(controls, GEMMA_3, 1000)
    assert after == replace(before, **given)


def test_the_model_teams_recommendation_is_what_a_reset_gives() -> None:
    values = recommended(GEMMA_3).values
    assert (values["temperature"], values["top_k"], values["top_p"], values["min_p"]) == (
        1.0, 64, 0.95, 0.0,
    )  # fmt: skip
    given: dict[str, Any] = dict(values)
    assert resolve(Controls(**given, seed=0), GEMMA_3, 1000) == GEMMA_3


def test_precise_is_greedy_and_the_presets_differ() -> None:
    assert {p.name: p.values["temperature"] for p in BUILT_IN}["Precise"] == 0
    assert len({tuple(preset.values.items()) for preset in offered(GEMMA_3)}) == len(BUILT_IN) + 1
    assert len({preset.name for preset in offered(GEMMA_3)}) == len(BUILT_IN) + 1


def usable(data: Any, name: str) -> bool:
    """Whether `data` has a number under this name."""
    value: Any = data.get(name) if isinstance(data, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


@given(ANYTHING)
def test_whatever_a_browser_hands_over_fits_or_is_refused_in_words(data: Any) -> None:
    if not any(usable(data, name) for name in NAMES):
        with pytest.raises(InvalidControlError) as caught:
            fit(data)
        assert caught.value.hint
        return
    fitted = fit(data)
    assert set(fitted.values) == {name for name in NAMES if usable(data, name)}
    for control in SAMPLING:
        if control.name in fitted.values:
            value = fitted.values[control.name]
            assert check(value, control) == value
            assert type(value) is control.kind
            assert value == data[control.name] or control.label in fitted.note


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("top_k", 5000, 1000), ("top_k", -1, 0), ("top_k", 12.4, 12), ("temperature", 9, 2.0),
     ("temperature", 10**400, 2.0), ("typical_p", 0, 0.01), ("repetition_penalty", 0, 0.5)],
)  # fmt: skip
def test_a_value_out_of_range_becomes_the_nearest_and_is_named(
    name: str, value: Any, kept: float
) -> None:
    fitted = fit({name: value})
    label = next(control.label for control in SAMPLING if control.name == name)
    assert fitted.values == {name: kept}
    assert fitted.note == f"Out of range, so set to the nearest value: {label}."


def test_what_is_no_number_stays_as_it_was_and_is_named() -> None:
    fitted = fit({"top_k": "64", "min_p": math.nan, "top_p": 0.5, "max_new_tokens": 9, "seed": 1})
    assert fitted.values == {"top_p": 0.5}
    assert fitted.note == "Not a number, so left as it was: Top-k, Min-p."


@pytest.mark.parametrize("data", [None, [], {}, "x", {"max_new_tokens": 5}, {"top_p": True}])
def test_nothing_usable_is_refused(data: object) -> None:
    with pytest.raises(InvalidControlError, match="no settings"):
        fit(data)


def built(defaults: SamplingParams) -> SamplingControls:
    with gr.Blocks():
        return SamplingControls.build(defaults, 1024)


def test_every_control_says_its_range_and_default() -> None:
    controls = built(GEMMA_3)
    info = {name: str(slider.info) for name, slider in controls.sliders.items()}
    assert info["temperature"].endswith("0 to 2, default 1.")
    assert info["top_p"].endswith("0 to 1, default 0.95.")
    assert info["max_new_tokens"].endswith("1 to 1,024, default 512.")
    assert "0 to 4,294,967,295" in str(controls.seed.info)
    other = controls.show(replace(GEMMA_3, temperature=0.3), 2048)
    assert other[controls.sliders["temperature"]]["info"].endswith("0 to 2, default 0.3.")
    assert other[controls.sliders["max_new_tokens"]]["info"].endswith("1 to 2,048, default 512.")


def test_a_slider_reaches_whatever_the_model_itself_asks_for() -> None:
    controls = built(replace(GEMMA_3, top_k=640))
    assert controls.sliders["top_k"].maximum == 640
    assert built(GEMMA_3).sliders["top_k"].maximum == 200
    for control in CONTROLS:
        assert control.minimum <= (control.usual_maximum or control.maximum) <= control.maximum


def test_given_controls_stand_and_the_defaults_stay_the_models() -> None:
    controls = built(GEMMA_3)
    given = Controls(top_k=500, max_new_tokens=4000, seed=3, stop=("a", "b"), ignore_eos=True)
    shown = controls.show(GEMMA_3, 1024, given)
    assert set(shown) == set(controls.outputs())
    top_k = shown[controls.sliders["top_k"]]
    assert (top_k["value"], top_k["maximum"]) == (500, 500)
    assert top_k["info"].endswith("0 to 500, default 64.")
    assert shown[controls.sliders["temperature"]]["value"] == 1.0
    assert shown[controls.sliders["max_new_tokens"]]["value"] == 1024
    assert (shown[controls.seed], shown[controls.stop]) == ("3", "a\nb")
    assert shown[controls.ignore_eos] is True
    assert controls.presets is not None
    assert json.loads(shown[controls.presets.facts])["defaults"]["top_k"] == 64


def test_a_used_seed_is_offered_for_pinning() -> None:
    controls = built(GEMMA_3)
    updates = controls.used_seed(1234567)
    assert set(updates) == set(controls.used_outputs())
    assert controls.pin is not None
    assert updates[controls.pin]["value"] == "Pin seed 1234567"
    assert updates[controls.pin]["interactive"]
