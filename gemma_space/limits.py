"""How much one request may ask for, refused before it costs anything."""

from collections.abc import Sequence

from gemma_space.errors import ContextLengthError, InvalidRequestError
from gemma_space.types import Message

MAX_CHARACTERS = 2_000_000
MAX_LOGPROBS = 20
MAX_MESSAGES = 2000
GENERATION = "generation"  # what Gradio's queue calls the events that run a model


def check_messages(messages: Sequence[Message], *more: str) -> None:
    """Refuse too many messages, and what `check_size` refuses.

    Raises:
        InvalidRequestError: with both counts.
    """
    if len(messages) > MAX_MESSAGES:
        raise InvalidRequestError(
            f"The conversation has {len(messages):,} messages; at most {MAX_MESSAGES:,} are read.",
            "Start a new conversation.",
        )
    check_size(*more, *(message.content for message in messages))


def check_size(*texts: str) -> None:
    """Refuse texts of more than `MAX_CHARACTERS` together, and texts that are no Unicode.

    Raises:
        InvalidRequestError: saying which.
    """
    count = sum(len(text) for text in texts)
    if count > MAX_CHARACTERS:
        raise InvalidRequestError(
            f"The request has {count:,} characters; at most {MAX_CHARACTERS:,} are read.",
            "Send a shorter text.",
        )
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            "The text holds half a character (a lone surrogate).", "Remove it, or type it again."
        ) from None


def check_ids(*lists: Sequence[int]) -> None:
    """Refuse more token ids than any context window has; which ids there are, the engine knows.

    Raises:
        InvalidRequestError: with both counts.
    """
    count = sum(len(ids) for ids in lists)
    if count > MAX_CHARACTERS:
        raise InvalidRequestError(
            f"The request has {count:,} token ids; at most {MAX_CHARACTERS:,} are read.",
            "Send a shorter prompt.",
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


def check_room(count: int, context_length: int, max_new_tokens: int) -> None:
    """Refuse a prompt that leaves no room for what is to come.

    Raises:
        ContextLengthError: with the counts.
    """
    room = max(context_length - max_new_tokens, 0)
    if count > room:
        beside = f" beside the {max_new_tokens:,} kept for the completion" if max_new_tokens else ""
        raise ContextLengthError(
            f"The prompt has {count:,} tokens, but only {room:,} fit{beside}.",
            "Shorten the prompt or lower max_new_tokens."
            if max_new_tokens
            else "Shorten the text.",
        )
