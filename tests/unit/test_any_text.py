"""Whatever a model writes, token by token: what stays true of the text on its way."""

import functools
import itertools
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from gemma_space.tokens import REPLACEMENT, ReplyText, TextStream
from tests import tiny_checkpoints as tiny

# "▁" is how the vocabulary writes a space.
LETTERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=12)
WORDS = st.sampled_from(["👩‍👩‍👧‍👦", "e\u0301", "  ", "\n\n", "<bos>", "the sea", "東京", "<0xE2>"])
# Each part of a text, and whether it comes in bytes or in the vocabulary's own tokens.
PARTS = st.lists(st.tuples(LETTERS | WORDS, st.booleans()), max_size=6)
# Few letters, so that stop strings overlap with the text and with each other.
AB = st.text("ab", max_size=8)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3).map(tuple)


@functools.cache
def tokenizer() -> Any:
    return tiny.build_tokenizer(tiny.GEMMA_3)


def ids_of(text: str, in_bytes: bool) -> list[int]:
    if in_bytes:
        return tokenizer().convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in text.encode()])
    return tokenizer().encode(text, add_special_tokens=False, split_special_tokens=True)


def written(stream: TextStream, ids: list[int]) -> list[str]:
    """What was shown after each token, and in the end."""
    shown = [""]
    for token in ids:
        over = stream.push(token)
        shown.append(stream.text)
        if over:
            break
    return only_growing([*shown, stream.finish()])


def only_growing(shown: list[str]) -> list[str]:
    for earlier, later in itertools.pairwise(shown):
        assert later.startswith(earlier), "what was shown has changed"
    return shown


def cut(text: str, stop: tuple[str, ...]) -> str:
    """What is to be shown: all before the stop string that was complete first."""
    for end in range(len(text) + 1):
        complete = [s for s in stop if text[:end].endswith(s)]
        if complete:
            return text[: end - max(map(len, complete))]
    return text


@given(PARTS)
@example([("\ufffd", True), ("a", False)])
def test_any_text_comes_whole_however_it_is_spelled(parts: list[tuple[str, bool]]) -> None:
    ids = [token for text, in_bytes in parts for token in ids_of(text, in_bytes)]
    text = "".join(part for part, _ in parts)
    assert tokenizer().decode(ids) == text
    shown = written(TextStream(tokenizer()), ids)
    # A model that writes the replacement character itself: its last ones look like half a one.
    assert shown[-1] == text.rstrip(REPLACEMENT)


@given(st.lists(st.integers(0, 515), max_size=24), st.booleans())
def test_any_ids_can_be_shown(ids: list[int], special: bool) -> None:
    """Bytes that are no character, control tokens, and ids of no token at all."""
    shown = written(TextStream(tokenizer(), show_special=special), ids)[-1]
    whole = tokenizer().decode(ids, skip_special_tokens=not special)
    if REPLACEMENT not in whole:
        assert shown == whole


@given(PARTS, STOPS.map(lambda stop: (*stop, "the", "京", "\n")))
def test_a_stop_string_may_be_spelled_in_any_way(
    parts: list[tuple[str, bool]], stop: tuple[str, ...]
) -> None:
    ids = [token for text, in_bytes in parts for token in ids_of(text, in_bytes)]
    text = "".join(part for part, _ in parts)
    shown = written(TextStream(tokenizer(), stop=stop), ids)
    wanted = cut(text, stop)
    assert shown[-1] == (wanted.rstrip(REPLACEMENT) if wanted == text else wanted)


@given(st.lists(AB, max_size=6), STOPS)
@example(["ab", "cd"], ("abcd", "b"))
def test_no_part_of_a_stop_string_shows_wherever_the_text_is_divided(
    pieces: list[str], stop: tuple[str, ...]
) -> None:
    reply, shown = ReplyText(stop), [""]
    for piece in pieces:
        over = reply.add(piece)
        shown.append(reply.text)
        if over:
            break
    whole = "".join(pieces)
    assert only_growing([*shown, reply.finish()])[-1] == cut(whole, stop)
    assert reply.stopped == any(s in whole for s in stop)
