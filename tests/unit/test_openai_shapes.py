"""Replies in OpenAI's shapes, piece by piece; thoughts apart, bytes as they are."""

from dataclasses import replace
from typing import Any

import pytest

from gemma_space.api.openai.bodies import ChatBody, named
from gemma_space.api.openai.shapes import Shape
from gemma_space.errors import ServerClosingError
from gemma_space.observed import CUT_OFF
from gemma_space.types import Alternative, FinishReason, Precision, ScoredPiece
from tests.unit.test_present import generation

CHAT = Shape("chatcmpl-1", True, "a/b")
PLAIN = Shape("cmpl-1", False, "a/b", top=1)


def scored(text: str, *others: str) -> ScoredPiece:
    top = tuple(Alternative(id=5, text=other, logprob=-2.0) for other in others)
    return ScoredPiece(id=4, text=text, logprob=-1.0, entropy=0.5, top=top)


def test_thoughts_and_reply_come_in_fields_of_their_own() -> None:
    states = [
        replace(generation(), text="", thinking="", finish_reason=None),
        replace(generation(), text="", thinking="Let me", finish_reason=None),
        replace(generation(), text="", thinking="Let me see.", finish_reason=None),
        replace(generation(), text="Yes", thinking="Let me see.", finish_reason=None),
        replace(generation(), text="Yes!", thinking="Let me see.", finish_reason="stop"),
    ]
    before, deltas = None, []
    for state in states:
        piece = CHAT.piece(state, before)
        if piece:
            deltas.append(piece["choices"][0]["delta"])
            before = state
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Let me"}, {"reasoning_content": " see."},
        {"content": "Yes"}, {"content": "!"},
    ]  # fmt: skip
    message = CHAT.whole(states[-1])["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Yes!", "Let me see.")
    plain = replace(states[-1], thinking="")
    assert "reasoning_content" not in CHAT.whole(plain)["choices"][0]["message"]


def test_what_brings_nothing_new_is_no_piece() -> None:
    state = replace(generation(), text="Yes", finish_reason=None)
    for shape in (CHAT, PLAIN):
        assert shape.piece(state, state) is None
        assert shape.piece(replace(state, finish_reason="length"), state) is not None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("stop", "stop"), ("stop_string", "stop"), ("length", "length"), ("time_limit", "length")],
)
def test_finish_reasons(ours: FinishReason, theirs: str) -> None:
    reply = replace(generation(), finish_reason=ours)
    for shape in (CHAT, PLAIN):
        assert shape.whole(reply)["choices"][0]["finish_reason"] == theirs
        piece = shape.piece(reply, None)
        assert piece
        assert piece["choices"][0]["finish_reason"] == theirs
        assert piece["gemma_space"]["finish_reason"] == ours


def test_what_was_cut_off_is_an_error_and_no_finish() -> None:
    reply = replace(generation(), finish_reason="cancelled")
    for read in (lambda: CHAT.whole(reply), lambda: PLAIN.piece(reply, None)):
        with pytest.raises(ServerClosingError, match=CUT_OFF):
            read()


def test_a_token_of_one_byte_is_that_byte() -> None:
    shape = replace(CHAT, top=1)
    reply = generation(finish_reason="stop", tokens=(scored("<0x8A>", "ü"), scored("Fox")))
    first, second = shape.whole(reply)["choices"][0]["logprobs"]["content"]
    assert (first["bytes"], second["bytes"]) == ([0x8A], list(b"Fox"))
    assert first["top_logprobs"] == [{"token": "ü", "logprob": -2.0, "bytes": [0xC3, 0xBC]}]


def test_offsets_go_on_where_the_prompt_ends() -> None:
    shape = replace(PLAIN, echo="ab cd")
    reply = generation(finish_reason="stop", text="ef", tokens=(scored("e"), scored("f")))
    told = shape.whole(reply, (scored("ab"), scored(" cd")))["choices"][0]
    assert (told["text"], told["logprobs"]["text_offset"]) == ("ab cdef", [0, 2, 5, 6])
    piece = shape.piece(reply, None)
    assert piece
    assert piece["choices"][0]["text"] == "ab cdef"


@pytest.mark.parametrize(
    ("model", "found"),
    [("a/b", ("a/b", "auto")), ("a/b:int4", ("a/b", "int4")), ("a/b:auto", ("a/b", "auto")),
     ("a/b:latest", ("a/b:latest", "auto")), ("./c:d", ("./c:d", "auto"))],
)  # fmt: skip
def test_a_precision_stands_behind_the_models_name(model: str, found: tuple[str, str]) -> None:
    assert named(model) == (found[0], Precision(found[1]))


@pytest.mark.parametrize(
    ("extra", "thinks"),
    [({}, None), ({"thinking": True}, True), ({"reasoning_effort": "low"}, True),
     ({"reasoning_effort": "none"}, False),
     ({"thinking": False, "reasoning_effort": "low"}, False)],
)  # fmt: skip
def test_whether_to_think(extra: dict[str, Any], thinks: bool | None) -> None:
    body = ChatBody.model_validate(
        {"model": "a/b", "messages": [{"role": "user", "content": "Hi"}], **extra}
    )
    assert body.request().thinking is thinks
