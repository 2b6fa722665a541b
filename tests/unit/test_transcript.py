"""A conversation between the chat component, the browser's storage and the model."""

import contextlib
import json
from dataclasses import fields
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_space.errors import InvalidRequestError
from gemma_space.types import Message
from gemma_space.ui import transcript
from gemma_space.ui.provenance import Provenance
from gemma_space.ui.transcript import Footer, Turn

DONE = Footer(title="Ended its turn", log="5 + 7 tokens", detail="bf16 · seed 1")
PENDING = Footer(title="Writing…", log="5 + 2 tokens", pending=True)
QUESTION = Turn(role="user", text="Is 1 < 2?")
REPLY = Turn(role="assistant", text="Yes, `1 < 2`.", thinking="Compare.", footer=DONE)

TEXTS = st.text(st.sampled_from("ab <>`!\\[]\n"), min_size=1, max_size=40)
FOOTERS = st.builds(Footer, title=TEXTS, log=TEXTS, detail=TEXTS, pending=st.booleans())
REPLIES = st.builds(Turn, role=st.just("assistant"), text=TEXTS, footer=FOOTERS)


def as_gradio_hands_it_back(shown: list[transcript.Shown]) -> list[dict[str, Any]]:
    return [{"metadata": None, "options": None, **message} for message in shown]


def test_what_is_shown_is_read_back() -> None:
    turns = [QUESTION, REPLY, Turn(role="user", text="Sure?"), Turn(role="assistant", text="Qu")]
    assert transcript.read(as_gradio_hands_it_back(transcript.show(turns))) == turns


@given(st.lists(st.tuples(TEXTS, REPLIES), max_size=4))
def test_any_conversation_is_read_back(pairs: list[tuple[str, Turn]]) -> None:
    turns = [turn for text, reply in pairs for turn in (Turn(role="user", text=text), reply)]
    assert transcript.read(as_gradio_hands_it_back(transcript.show(turns))) == turns


def test_a_reply_that_has_not_begun_is_shown_by_its_footer_alone() -> None:
    waiting = Turn(role="assistant", text="", footer=PENDING)
    shown = transcript.show([QUESTION, waiting])
    assert [message.get("metadata", {}).get("title") for message in shown] == [None, "Writing…"]
    assert transcript.read(shown) == [QUESTION, waiting]


def test_parts_that_are_no_text_are_left_out() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "file", "file": {"path": "x"}}, "b", 7]
    assert transcript.read([{"role": "user", "content": parts}]) == [Turn(role="user", text="ab")]
    assert transcript.read(None) == []


def test_markup_is_disarmed_outside_code_only() -> None:
    text = "<b>x</b> ![a](b) `<i>` ok!\n```html\n<p>![c](d)</p>\n```\n<end_of_turn>"
    escaped = transcript.escape(text)
    assert "`<i>`" in escaped
    assert "<p>![c](d)</p>" in escaped
    outside = escaped.replace("`<i>`", "").replace("<p>![c](d)</p>", "")
    assert "<b" not in outside
    assert "![" not in outside
    assert "<end_of_turn>" not in outside
    assert transcript.unescape(escaped) == text


@pytest.mark.parametrize(
    "text",
    ["foo ```<img src=x>", "\\`<img src=x>\\`", "\\`![a](b)\\`", "`a\n<img>`", "~~ ~<img>",
     "text ~~~\n<img>", "````\ncode\n````\n<img>", "`` ` <img>"],
)  # fmt: skip
def test_what_markdown_does_not_read_as_code_is_disarmed(text: str) -> None:
    escaped = transcript.escape(text)
    assert "<img" not in escaped
    assert "![" not in escaped


@pytest.mark.parametrize(
    "code",
    ["```\n<p>\n```", "~~~html\n<p>\n~~~", "````\n```\n<p>\n````", "`` `<p>` ``", "a `<p>` b",
     "```python\n<p> still open"],
)  # fmt: skip
def test_code_is_left_as_it_is(code: str) -> None:
    assert transcript.escape(code) == code


@given(TEXTS)
def test_escaping_loses_nothing(text: str) -> None:
    assert transcript.unescape(transcript.escape(text)) == text


def test_the_turn_of_a_message() -> None:
    shown = transcript.show([QUESTION, REPLY, QUESTION])
    assert len(shown) == 5  # the reply is a thought, a text and a footer
    assert [transcript.turn_index(shown, at) for at in (0, 2, 3, 4)] == [0, 1, 1, 2]


def test_the_model_sees_neither_thoughts_nor_footers() -> None:
    assert transcript.messages([QUESTION, REPLY]) == (
        Message(role="user", content="Is 1 < 2?"),
        Message(role="assistant", content="Yes, `1 < 2`."),
    )


@pytest.mark.parametrize(
    ("turns", "pending", "before"),
    [
        ([], False, ""),
        ([QUESTION], False, ""),
        ([QUESTION, REPLY], False, ""),
        ([QUESTION, Turn(role="assistant", text="Ye")], False, ""),
        ([QUESTION, Turn(role="assistant", text="Ye", footer=PENDING)], True, "Ye"),
    ],
)
def test_what_is_still_to_be_said(turns: list[Turn], pending: bool, before: str) -> None:
    assert transcript.is_pending(turns) is pending
    assert transcript.split_pending(turns) == (turns[:-1] if pending else turns, before)


@pytest.mark.parametrize(
    ("last", "settled"),
    [
        (REPLY, REPLY),
        (Turn(role="assistant", text="", footer=PENDING), None),
        (Turn(role="assistant", text="Ye"), Turn(role="assistant", text="Ye")),
        (Turn(role="assistant", text="Ye", footer=PENDING),
         Turn(role="assistant", text="Ye", footer=Footer(title="Stopped", log="5 + 2 tokens"))),
    ],
)  # fmt: skip
def test_what_is_left_when_no_more_comes(last: Turn, settled: Turn | None) -> None:
    expected = [QUESTION] if settled is None else [QUESTION, settled]
    assert transcript.settle([QUESTION, last], "Stopped") == expected


def test_what_the_browser_keeps_comes_back() -> None:
    kept = json.loads(json.dumps(transcript.to_stored([QUESTION, REPLY])))
    assert transcript.from_stored(kept) == [QUESTION, REPLY]
    assert (
        "footer" not in transcript.to_stored([Turn(role="assistant", text="a", footer=PENDING)])[0]
    )


@pytest.mark.parametrize(
    "value",
    [None, 7, "text", {}, [1], [None], [{"role": "wizard", "content": ""}], [{"content": "a"}],
     [{"role": "user", "content": 7}],
     [{"role": "assistant", "content": "a", "footer": {"log": 1}}]],
)  # fmt: skip
def test_anything_else_is_refused_in_words(value: object) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        transcript.from_stored(value)


@pytest.mark.parametrize("fence", ["```mermaid", "~~~~ Mermaid", "- ```mermaid", "> ~~~mermaid x"])
def test_a_diagram_stays_code(fence: str) -> None:
    """Drawn, its labels would be HTML."""
    text = f"See:\n\n{fence}\ngraph TD\nA[<img src=/logout>]\n"
    shown = transcript.escape(text)
    assert f"mermaid{transcript.WORD_JOINER}" in shown.lower()
    assert transcript.unescape(shown) == text
    assert transcript.unescape(transcript.escape(shown)) == shown
    assert transcript.escape("a mermaid") == "a mermaid"


# --- what somebody else may have written ---------------------------------------------------------

# As browsers hand it over: a title cut in the middle of a character has half of one.
ODD_TEXTS = st.text(st.characters(exclude_categories=[]), max_size=8) | st.sampled_from(
    ["user", "assistant", "system", "Thinking", "\ud83e", "<b>", "![", "`", "#given-0"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = {"role", "content", "thinking", "footer"}
RECORDS = st.dictionaries(st.sampled_from([f.name for f in fields(Provenance)]), JSON)
STORED = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": ODD_TEXTS},
    optional={
        "thinking": ODD_TEXTS,
        "footer": JSON | st.fixed_dictionaries(
            {"title": ODD_TEXTS},
            optional={"log": ODD_TEXTS, "detail": ODD_TEXTS, "record": JSON | RECORDS},
        ),
    },
)  # fmt: skip


def shown_and_kept(value: object) -> list[Turn]:
    """The turns of a stored conversation, after a round through the component and the storage."""
    turns = transcript.from_stored(value)
    shown = transcript.show(turns)
    orjson.dumps(shown)  # as Gradio does
    again = transcript.read(as_gradio_hands_it_back(shown))
    orjson.dumps(transcript.to_stored(again))
    assert "".join(turn.text for turn in again) == "".join(turn.text for turn in turns)
    return turns


@given(st.lists(STORED, max_size=4))
def test_a_conversation_of_any_texts_is_shown(value: list[dict[str, Any]]) -> None:
    turns = shown_and_kept(value)
    assert [turn.role for turn in turns] == [item["role"] for item in value]


@given(JSON | st.lists(JSON | STORED | st.dictionaries(st.sampled_from(sorted(KEYS)), JSON)))
def test_any_json_is_a_conversation_or_refused_in_words(value: object) -> None:
    with contextlib.suppress(InvalidRequestError):
        shown_and_kept(value)
