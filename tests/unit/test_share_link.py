"""A prompt and its settings in the fragment of an address, and what a stranger's link may hold."""

import base64
import json
import re
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gemma_space import controls
from gemma_space.errors import InvalidControlError, InvalidRequestError
from gemma_space.share_link import MAX_CHARACTERS, SharedPrompt, differing, encode, read
from gemma_space.types import Controls, Precision

PLAIN = SharedPrompt(prompt="Once upon a time", model="google/gemma-3-1b-it")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def numeric(control: controls.Control) -> st.SearchStrategy[Any]:
    if control.kind is int:
        return st.none() | st.integers(int(control.minimum), int(control.maximum))
    return st.none() | st.floats(control.minimum, control.maximum)


CONTROLS = st.builds(
    Controls,
    **{control.name: numeric(control) for control in (*controls.CONTROLS, controls.SEED)},
    stop=st.lists(TEXTS.filter(bool), max_size=8).map(tuple),
    ignore_eos=st.booleans(),
)
PROMPTS = st.builds(
    SharedPrompt,
    prompt=TEXTS,
    model=TEXTS.filter(bool),
    precision=st.sampled_from(Precision),
    add_bos=st.booleans(),
    parse_special=st.booleans(),
    controls=CONTROLS,
)


def link(value: object) -> str:
    """A fragment as somebody else might write it."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return "#run=" + base64.urlsafe_b64encode(raw).decode()


def sound(**changes: object) -> dict[str, object]:
    return {"v": 1, "prompt": "Hi", "model": "google/gemma-3-1b-it", **changes}


@given(PROMPTS)
def test_what_is_written_is_read_back(state: SharedPrompt) -> None:
    try:
        fragment = encode(state)
    except InvalidRequestError as error:
        assume("too long for a link" not in error.message)
        raise
    assert re.fullmatch(r"#run=[A-Za-z0-9_-]+", fragment)
    assert read(fragment) == state
    assert read(fragment.removeprefix("#")) == read(fragment.removeprefix("#run=")) == state


def test_defaults_are_not_spelled_out() -> None:
    packed = encode(PLAIN).removeprefix("#run=")
    given = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    assert given == {"v": 1, "prompt": PLAIN.prompt, "model": PLAIN.model}


def test_only_what_differs_from_the_defaults_travels() -> None:
    defaults = controls.default_params({"temperature": 1.0, "top_k": 64, "top_p": 0.95}, 512)
    shown = Controls(
        max_new_tokens=512, temperature=0.5, top_p=0.95, top_k=64, min_p=0.0, typical_p=1.0,
        repetition_penalty=1.0, no_repeat_ngram_size=0, seed=0, stop=("END",), ignore_eos=True,
    )  # fmt: skip
    assert differing(shown, defaults) == Controls(
        temperature=0.5, seed=0, stop=("END",), ignore_eos=True
    )
    same = replace(shown, temperature=1.0, seed=None, stop=(), ignore_eos=False)
    assert differing(same, defaults) == Controls()


def test_every_control_travels() -> None:
    odd: dict[str, Any] = {c.name: c.minimum for c in (*controls.CONTROLS, controls.SEED)}
    chosen = Controls(**odd, stop=("a",), ignore_eos=True)
    default = Controls()
    assert all(getattr(chosen, f.name) != getattr(default, f.name) for f in fields(Controls))
    assert read(encode(replace(PLAIN, controls=chosen))).controls == chosen


# --- what is not written


def test_a_long_prompt_is_refused_and_the_longest_is_not() -> None:
    room = (MAX_CHARACTERS - len(encode(replace(PLAIN, prompt="")))) * 3 // 4
    assert len(encode(replace(PLAIN, prompt="a" * (room - 2)))) <= MAX_CHARACTERS
    with pytest.raises(InvalidRequestError, match="too long for a link") as refused:
        encode(replace(PLAIN, prompt="a" * (room + 2)))
    assert "capsule file" in refused.value.hint


@pytest.mark.parametrize("token", ["hf_" + "a1B2" * 9, "hf_oauth_a.b-c", "Bearer hf_" + "x" * 34])
@pytest.mark.parametrize("before", ["", "curl\n", "use "])
def test_a_token_is_not_written(token: str, before: str) -> None:
    for state in (
        replace(PLAIN, prompt=before + token),
        replace(PLAIN, controls=Controls(stop=(before + token,))),
    ):
        with pytest.raises(InvalidRequestError, match="a token of the Hub"):
            encode(state)


def test_prose_is_not_taken_for_a_token() -> None:
    state = replace(PLAIN, prompt="The bearer of bad news set hf_hub_url and sig=abc.")
    assert read(encode(state)) == state


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="half a character"):
        encode(replace(PLAIN, prompt="a\ud83d"))


def test_what_could_not_be_read_is_not_written() -> None:
    with pytest.raises(InvalidControlError, match="temperature is 9"):
        encode(replace(PLAIN, controls=Controls(temperature=9.0)))
    with pytest.raises(InvalidRequestError, match="model"):
        encode(replace(PLAIN, model=""))


# --- what a stranger's link may hold


@pytest.mark.parametrize(
    "text",
    [None, 7, "", "#", "#run=", "run=!!", "#foo", "a", "é", "#run=eyJ2", "#run=a b", link(b""),
     link(b"["), link(b"[" * 5000), link(b"\xff\xfe"), link(3), link([1]), link({}), link("v"),
     link({"v": "1"}), link({"v": True}), link({"v": 1.0}), link({"v": None}),
     link(b'{"v":1,"prompt":"\\ud800","model":"m"}'),
     link(b'{"v":1,"prompt":"a","model":"m","controls":{"top_p":NaN}}')],
)  # fmt: skip
def test_a_damaged_link(text: object) -> None:
    with pytest.raises(InvalidRequestError, match="damaged"):
        read(text)


@pytest.mark.parametrize("version", [0, 2, -1, 10**40])
def test_another_version(version: int) -> None:
    with pytest.raises(InvalidRequestError, match="another version"):
        read(link({**sound(v=version), "anything": []}))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"token": "hf_x"}, "token"),
        ({"oauth_token": None}, "oauth_token"),
        ({"controls": {"token": "x"}}, "token"),
        ({"x" * 500: 1}, "x" * 40),
    ],
)
def test_unknown_fields(changes: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"“{name}” in this link is unknown here"):
        read(link(sound(**changes)))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"model": ""}, "model"),
        ({"model": "m" * 301}, "model"),
        ({"precision": "fp8"}, "precision"),
        ({"add_bos": 1}, "add_bos"),
        ({"parse_special": "true"}, "parse_special"),
        ({"controls": None}, "controls"),
        ({"controls": []}, "controls"),
        ({"controls": {"temperature": "0.5"}}, "temperature"),
        ({"controls": {"temperature": True}}, "temperature"),
        ({"controls": {"seed": 1.5}}, "seed"),
        ({"controls": {"stop": "x"}}, "stop"),
        ({"controls": {"ignore_eos": 1}}, "ignore_eos"),
    ],
)
def test_values_of_the_wrong_kind(changes: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"“{name}” in this link cannot be used"):
        read(link(sound(**changes)))


def test_a_missing_field() -> None:
    with pytest.raises(InvalidRequestError, match="“prompt” in this link cannot be used"):
        read(link({"v": 1, "model": "m"}))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"temperature": 2.5}, "temperature is 2.5"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 10**30}, "far too large"),
        ({"seed": -1}, "seed is -1"),
        ({"stop": ["x"] * 9}, "stop takes at most 8"),
        ({"stop": ["x" * 201]}, "stop takes at most 8"),
    ],
)
def test_controls_out_of_their_range(chosen: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidControlError, match=words):
        read(link(sound(controls=chosen)))


def test_an_endless_link_is_not_even_unpacked() -> None:
    with pytest.raises(InvalidRequestError, match="too long: at most 8,000"):
        read("#run=" + "A" * MAX_CHARACTERS)


@given(st.text(max_size=80) | st.binary(max_size=80).map(link))
def test_no_link_raises_anything_else(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = (*(f.name for f in fields(SharedPrompt)), "token")


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_any_json_is_read_or_refused(changes: dict[str, object]) -> None:
    try:
        state = read(link(sound(**changes)))
    except InvalidRequestError:
        return
    assert read(encode(state)) == state
