"""What one request may ask for."""

import pytest

from gemma_space import limits
from gemma_space.errors import InvalidRequestError
from gemma_space.types import Message

HELLO = Message(role="user", content="Hello")


def test_texts_count_together() -> None:
    half = "x" * (limits.MAX_CHARACTERS // 2)
    limits.check_size(half, half)
    with pytest.raises(InvalidRequestError, match=r"2,000,001 characters; at most 2,000,000"):
        limits.check_size(half, half, "x")


def test_half_a_character_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="half a character"):
        limits.check_size("hi \ud800")
    limits.check_size("hi \U0001f98a")


def test_messages_are_counted_and_measured() -> None:
    limits.check_messages([HELLO] * limits.MAX_MESSAGES)
    with pytest.raises(InvalidRequestError, match="2,001 messages"):
        limits.check_messages([HELLO] * (limits.MAX_MESSAGES + 1))
    with pytest.raises(InvalidRequestError, match="half a character"):
        limits.check_messages([HELLO], "\udfff")


@pytest.mark.parametrize("value", [0, 1, limits.MAX_LOGPROBS])
def test_alternatives_within_bounds(value: int) -> None:
    assert limits.check_logprobs(value) == value


@pytest.mark.parametrize("value", [-1, limits.MAX_LOGPROBS + 1, 1.0, True, None, "3"])
def test_alternatives_out_of_bounds(value: object) -> None:
    with pytest.raises(InvalidRequestError, match="logprobs"):
        limits.check_logprobs(value)
