"""Checkpoints whose files say anything: refused in words, and the next visitor is served.

Each is typed by a visitor, so that all that reads files is on the way: the row, the tokenizer,
the load, the reply.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_space.access import Access
from gemma_space.errors import GemmaSpaceError
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.types import ChatRequest, Controls, Generation, Message, Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub

WORDS = st.sampled_from(["", "gelu", "sliding_attention", "float16", "auto", "x" * 50, "-1"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, -1, 1, 2, 3, 7, 2**31, 2**70, 10**400])
    | st.sampled_from([0.0, -1.5, 0.1, float("nan"), float("inf")]) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=5,
)  # fmt: skip
KEPT = {"architectures", "model_type"}  # else it is refused before anything is read
FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")


@pytest.fixture(scope="module")
def here(checkpoints: Checkpoints) -> Iterator[Playground]:
    """The demo, and whatever folder somebody types."""
    rows = served_checkpoints([str(checkpoints.demo())])
    playground = Playground(rows, Access(probe=no_hub), Settings())
    yield playground
    assert playground.library.status().queue == 0
    assert all(row.leases == 0 for row in playground.library.status().loaded)


@pytest.fixture(scope="module")
def sound(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(tiny.GEMMA_3)


def chat(here: Playground, model: str, precision: Precision = Precision.FP32) -> Generation:
    request = ChatRequest(
        messages=(Message(role="user", content="Hello"),), model=model, precision=precision,
        controls=Controls(max_new_tokens=2, temperature=0.0),
    )  # fmt: skip
    *_, last = here.chat(request)
    assert isinstance(last, Generation)
    return last


def told(here: Playground, folder: Path) -> list[GemmaSpaceError]:
    """What visitors are told who look at its tokens and who chat with it."""
    errors = []
    for ask in (lambda: here.tokenize("Hello", str(folder)), lambda: chat(here, str(folder))):
        try:
            ask()
        except GemmaSpaceError as error:
            errors.append(error)
    for error in errors:
        assert error.message.endswith(".")
        assert error.hint.endswith(".")
    return errors


@pytest.fixture
def number() -> Iterator[Any]:
    return iter(range(10**6))


def changed(sound: Path, to: Path, name: str, body: str | bytes | None) -> Path:
    """A copy with another file in it, or without it."""
    to.mkdir()
    for file in sound.iterdir():
        if file.name != name:
            (to / file.name).symlink_to(file)
    if body is not None:
        (to / name).write_bytes(body.encode() if isinstance(body, str) else body)
    return to


def still_serves(here: Playground) -> bool:
    return chat(here, here.default_model).completion_tokens > 0


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_a_checkpoints_own_files(
    here: Playground, sound: Path, tmp_path: Path, number: Iterator[int], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(FILES))
    document = json.loads((sound / name).read_text())
    key = data.draw(st.sampled_from(sorted(set(document) - KEPT)))
    document[key] = data.draw(VALUES)
    folder = changed(sound, tmp_path / str(next(number)), name, json.dumps(document))
    told(here, folder)
    here.library.unload(str(folder)) if here.library.holds(str(folder)) else None


LOOP = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"
DEEP = (65_535).to_bytes(8, "little") + b"[" * 65_535
WRECKS: dict[str, tuple[str, str | bytes | None]] = {
    "no tokenizer": ("tokenizer.json", None),
    "an empty tokenizer": ("tokenizer.json", ""),
    "a tokenizer that is none": ("tokenizer.json", '{"a": 1}'),
    "a tokenizer that is a list": ("tokenizer.json", "[]"),
    "a template that is none": ("chat_template.jinja", "{% for %}"),
    "a template that fails": ("chat_template.jinja", "{{ messages[9].content.nothing.at.all }}"),
    "a template that divides by zero": ("chat_template.jinja", "{{ 1 // 0 }}"),
    "a template without end": ("chat_template.jinja", LOOP),
    "a template that writes nothing": ("chat_template.jinja", ""),
    "a configuration without an end": ("config.json", "[" * 100_000),
    "weights of noise": ("model.safetensors", b"\x00" * 4096),
    "a header without an end": ("model.safetensors", DEEP),
    "no weights": ("model.safetensors", None),
}  # fmt: skip


@pytest.mark.parametrize("what", WRECKS)
def test_a_wreck_is_refused_in_words_and_the_app_goes_on(
    here: Playground, sound: Path, tmp_path: Path, what: str
) -> None:
    name, body = WRECKS[what]
    assert told(here, changed(sound, tmp_path / "odd", name, body))
    assert still_serves(here)


def test_after_all_that_the_demo_still_answers(here: Playground) -> None:
    assert still_serves(here)
