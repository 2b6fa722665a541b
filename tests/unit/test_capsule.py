"""Capsules: written and read back, refused when odd, replayed, and compared in words."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_space import capsule as capsules
from gemma_space import surroundings
from gemma_space.capsule import Capsule, read, to_json
from gemma_space.errors import InvalidControlError, InvalidRequestError
from gemma_space.replay import compare
from gemma_space.runs import Run
from gemma_space.surroundings import Surroundings
from gemma_space.types import (
    Attention,
    CompletionRequest,
    Generation,
    SamplingParams,
)

HERE = Surroundings(
    device="cpu",
    template_sha256="ab" * 32,
    versions={"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0", "tokenizers": "1"},
)
PARAMS = SamplingParams(
    max_new_tokens=8, temperature=0.8, top_p=0.9, top_k=40, min_p=0.0, typical_p=1.0,
    repetition_penalty=1.0, no_repeat_ngram_size=0, seed=7, stop=("\n\n",),
)  # fmt: skip


def a_run(precision: str = "fp32", **changed: Any) -> Run:
    """A run of four tokens; what is changed is its generation's."""
    request = CompletionRequest(prompt="The “answer”\n", model="google/gemma-3-270m-it")
    values: dict[str, Any] = {
        "text": "abcd", "finish_reason": "stop", "prompt_tokens": 2, "completion_tokens": 4,
        "cached_tokens": 0, "dropped_messages": 0, "seed": 7, "ttft_seconds": None,
        "tokens_per_second": None, "model": request.model, "revision": "1" * 40,
        "precision": precision, "prompt_ids": (2, 10), "token_ids": (20, 21, 22, 23),
        "params": PARAMS,
    }  # fmt: skip
    return Run(request=request, generation=Generation(**(values | changed)))


# --- the document ----------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
IDS = st.lists(st.integers(0, 262_143), max_size=40).map(tuple)
RUNS = st.builds(
    lambda request, generation: Run(request=request, generation=generation),
    st.builds(
        CompletionRequest,
        prompt=TEXTS, model=TEXTS, add_bos=st.booleans(), parse_special=st.booleans(),
        attention=st.sampled_from(Attention), begins_with=IDS,
    ),
    st.builds(
        lambda params, **values: Generation(params=params, seed=params.seed, **values),
        st.builds(
            SamplingParams,
            max_new_tokens=st.integers(1, 262_144), temperature=st.floats(0, 2),
            top_p=st.floats(0, 1), top_k=st.integers(0, 1000), min_p=st.floats(0, 1),
            typical_p=st.floats(0.01, 1), repetition_penalty=st.floats(0.5, 2),
            no_repeat_ngram_size=st.integers(0, 32), seed=st.integers(0, 2**32 - 1),
            stop=st.lists(TEXTS.filter(bool), max_size=8).map(tuple), ignore_eos=st.booleans(),
        ),
        text=TEXTS, precision=st.sampled_from(["fp32", "bf16", "fp16", "int8", "int4"]),
        finish_reason=st.sampled_from(["stop", "length", "stop_string", "time_limit", "cancelled"]),
        prompt_tokens=st.just(1), completion_tokens=st.just(1), cached_tokens=st.just(0),
        dropped_messages=st.just(0), ttft_seconds=st.none(), tokens_per_second=st.none(),
        model=TEXTS, revision=TEXTS, prompt_ids=IDS.filter(bool), token_ids=IDS,
    ),
)  # fmt: skip
SURROUNDINGS = st.builds(
    Surroundings, device=TEXTS, template_sha256=TEXTS, base_revision=TEXTS,
    versions=st.dictionaries(TEXTS, TEXTS, max_size=4),
)  # fmt: skip


@given(RUNS, SURROUNDINGS)
def test_what_is_written_is_read_back(run: Run, here: Surroundings) -> None:
    found = read(to_json(run, here))
    again, generation = found.request(), run.generation
    assert asdict(again.controls) == asdict(generation.params)  # type: ignore[arg-type]
    assert (again.token_ids, again.begins_with) == (generation.prompt_ids, run.request.begins_with)
    assert (again.model, again.precision) == (generation.model, generation.precision)
    for name in ("prompt", "add_bos", "parse_special", "attention"):
        assert getattr(again, name) == getattr(run.request, name)
    assert found.surroundings() == here
    assert found.output.ids == generation.token_ids
    assert (found.output.text, found.output.finish_reason) == (
        generation.text, generation.finish_reason,
    )  # fmt: skip
    assert compare(found, replace(run, request=again), here, str).identical


def test_a_capsule_says_when_it_was_made_and_keeps_ids_on_one_line() -> None:
    made = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    text = to_json(a_run(), HERE, made)
    assert json.loads(text)["created"] == "2026-05-01T12:30:00+00:00"
    assert '"ids": [20, 21, 22, 23]' in text
    assert read(text).created == made
    assert read(text.encode()) == read(text)


def test_surroundings_name_bitsandbytes_only_where_it_computes() -> None:
    class Tokenizer:
        chat_template: Any = "{{ bos_token }}"

    found = surroundings.present("cpu", Tokenizer(), "bf16")
    assert set(found.versions) == {"python", "torch", "transformers", "tokenizers"}
    assert all(found.versions.values())
    assert len(found.template_sha256) == 64
    assert surroundings.present("cpu", Tokenizer(), "int4").versions["bitsandbytes"]
    Tokenizer.chat_template = None
    assert surroundings.present("cpu", Tokenizer(), "bf16").template_sha256 == ""


# --- what is refused -------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
GOOD: dict[str, Any] = json.loads(to_json(a_run(), HERE))
PLACES = [
    (*where, name)
    for where, part in [((), GOOD), *(((k,), v) for k, v in GOOD.items() if isinstance(v, dict))]
    for name in part
]


def changed(place: tuple[str, ...], value: Any) -> dict[str, Any]:
    document = json.loads(json.dumps(GOOD))
    part = document
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    return document


def refused_or_read(body: str | bytes) -> Capsule | None:
    """A capsule whose request can be asked for, or an error in words."""
    try:
        found = read(body)
    except InvalidRequestError as error:
        told = error
    else:
        assert found.request().token_ids
        return found
    assert told.hint
    assert str(told).isprintable()
    assert len(str(told)) < 700
    return None


@given(JSON)
def test_any_other_json_is_refused(value: Any) -> None:
    assert refused_or_read(json.dumps(value)) is None


@given(st.sampled_from(PLACES), JSON)
def test_any_part_may_be_anything(place: tuple[str, ...], value: Any) -> None:
    refused_or_read(json.dumps(changed(place, value)))


@given(st.binary(max_size=200) | st.text(max_size=100))
def test_any_bytes_are_refused(body: bytes | str) -> None:
    assert refused_or_read(body) is None


@given(st.integers(0, 10_000), st.sampled_from(["", "[", "{", '"', "\\", "NaN", "1e999", "\x00"]))
def test_a_damaged_capsule_is_refused_or_reads(at: int, instead: str) -> None:
    text = to_json(a_run(), HERE)
    at %= len(text)
    refused_or_read(text[:at] + instead + text[at + 1 :])


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_nothing_may_be_missing(place: tuple[str, ...]) -> None:
    document = changed(place, None)
    assert refused_or_read(json.dumps(document)) is None
    part = document
    for name in place[:-1]:
        part = part[name]
    del part[place[-1]]
    optional = place[0] == "versions" and len(place) == 2  # any set of them
    assert (refused_or_read(json.dumps(document)) is not None) == optional


ODD: list[tuple[str | bytes, str]] = [
    ("", "no JSON"),
    ("[" * 100_000, "no JSON"),
    ('{"a":' * 100_000, "no JSON"),
    ('{"format": "' + "x" * 100, "no JSON"),
    (b"\xff\xfe\x00", "no JSON"),
    ("\ud800", "no JSON"),
    ("null", "no replay capsule"),
    ("NaN", "no replay capsule"),
    ("[]", "no replay capsule"),
    ('{"format": 5}', "no replay capsule"),
    ('{"messages": []}', "no replay capsule"),
    (json.dumps(changed(("version",), 2)), "version 2"),
    (json.dumps(changed(("version",), 0)), "nobody knows of"),
    (json.dumps(GOOD).replace('"version": 1', '"version": 1' + "0" * 5000), "no"),
    (json.dumps(changed(("version",), True)), "no replay capsule"),
    (b" " * (capsules.MAX_BYTES + 1), "at most"),
    (json.dumps(changed(("controls", "temperature"), float("nan"))), "controls.temperature"),
    (json.dumps(changed(("controls", "temperature"), 3)), "temperature is 3"),
    (json.dumps(changed(("controls", "seed"), 2**32)), "seed"),
    (json.dumps(changed(("controls", "top_k"), 1.5)), "controls.top_k"),
    (json.dumps(changed(("controls", "stop"), ["a"] * 9)), "stop takes at most"),
    (json.dumps(changed(("controls", "more"), 1)), "controls.more"),
    (json.dumps(changed(("model", "precision"), "auto")), "model.precision"),
    (json.dumps(changed(("model", "attention"), "none")), "model.attention"),
    (json.dumps(changed(("input", "ids"), [])), "input.ids"),
    (json.dumps(changed(("input", "ids"), [-1])), r"input.ids.0"),
    (json.dumps(changed(("input", "ids"), [True])), r"input.ids.0"),
    (json.dumps(changed(("output", "ids"), [1 << 80])), "output.ids.0"),
    (json.dumps(changed(("output", "finish_reason"), "bored")), "output.finish_reason"),
    (json.dumps(changed(("created",), "2026-05-01T12:30:00")), "created"),
]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_what_is_odd_is_named(number: int) -> None:
    body, named = ODD[number]
    with pytest.raises(InvalidRequestError, match=named):
        read(body)
    assert refused_or_read(body) is None


def test_a_control_out_of_its_range_is_refused_as_everywhere() -> None:
    with pytest.raises(InvalidControlError, match="out of its range"):
        read(json.dumps(changed(("controls", "top_k"), 1001)))
