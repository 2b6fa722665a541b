"""How much one request may ask for, refused before it costs anything."""

from collections.abc import Sequence

from gemma_space.errors import InvalidRequestError
from gemma_space.types import Message

MAX_CHARACTERS = 2_000_000
MAX_LOGPROBS = 20


def contents(messages: Sequence[Message]) -> list[str]:
    """The texts of these messages."""
    return [message.content for message in messages]


def check_size(*texts: str) -> None:
    """Refuse texts of more than `MAX_CHARACTERS` together.

    Raises:
        InvalidRequestError: with both counts.
    """
    count = sum(len(text) for text in texts)
    if count > MAX_CHARACTERS:
        raise InvalidRequestError(
            f"The request has {count:,} characters; at most {MAX_CHARACTERS:,} are read.",
            "Send a shorter text.",
        )


def check_logprobs(value: object) -> int:
    """How many alternatives per token to report, 0 to `MAX_LOGPROBS`.

    Raises:
        InvalidRequestError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_LOGPROBS:
        raise InvalidRequestError(
            f"logprobs must be a whole number from 0 to {MAX_LOGPROBS}, not {str(value)[:20]}.",
            f"Choose a whole number from 0 to {MAX_LOGPROBS}.",
        )
    return value
