"""What a server streams, read as the engine's own chunks: text, thoughts, scores, why it ended.

Knows the forms of OpenAI's two routes and where servers differ from them. Does not ask anybody.
"""

import zlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from gemma_space.chunks import GenerationChunk, Usage
from gemma_space.errors import ServerError
from gemma_space.remote.wire import Answer, in_words
from gemma_space.types import Alternative, ScoredPiece

FINISHED = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "tool_calls": "stop",
    "length": "length", "stop_sequence": "stop_string", "stop_string": "stop_string",
    "time_limit": "time_limit",
}  # fmt: skip
# vLLM and SGLang say here which string it was; a stop token leaves it empty or a number.
STOPPED_AT = ("stop_reason", "matched_stop")
BROKEN_OFF = ServerError(
    "The server broke the reply off.",
    "What it wrote is kept. Continue it or try again; the next request goes to another server "
    "where there is one.",
    elsewhere=True, down=True,
)  # fmt: skip
WITHHELD = ServerError(
    "The server's content filter ended the reply.", "Ask it differently, or ask another model."
)


def chunks(answers: Generator[Answer | None], *, chat: bool) -> Generator[GenerationChunk]:
    """A stream as chunks; the last one says why it ended and what the server counted.

    Raises:
        ServerError: it ended without saying why, or says what nobody can read.
    """
    reason, usage = "", None
    try:
        for answer in answers:
            if answer is None:
                yield GenerationChunk()
                continue
            try:
                usage = _usage(answer.get("usage")) or usage
                choice = next(iter(answer.get("choices") or ()), {})
                reason = _reason(choice) or reason
                chunk = _delta(choice) if chat else _text(choice)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise in_words(error) from None
            if chunk.writes:
                yield chunk
    finally:
        answers.close()  # which cancels
    if reason == "content_filter":
        raise WITHHELD
    if reason not in FINISHED:
        raise BROKEN_OFF
    finished: Any = FINISHED[reason]
    yield GenerationChunk(finish_reason=finished, usage=usage)


def _reason(choice: Mapping[str, Any]) -> str:
    reason = choice.get("finish_reason")
    if reason == "stop" and any(isinstance(choice.get(name), str) for name in STOPPED_AT):
        return "stop_string"
    return reason if isinstance(reason, str) else ""


def _usage(told: Any) -> Usage | None:
    if not isinstance(told, Mapping) or not isinstance(told.get("prompt_tokens"), int):
        return None
    details = told.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    return Usage(
        prompt_tokens=told["prompt_tokens"],
        completion_tokens=told.get("completion_tokens") or 0,
        cached_tokens=cached or 0,
    )


def _delta(choice: Mapping[str, Any]) -> GenerationChunk:
    delta = choice.get("delta") or choice.get("message") or {}
    thinking = delta.get("reasoning_content") or delta.get("reasoning") or ""
    return GenerationChunk(text=delta.get("content") or "", thinking=thinking)


def _text(choice: Mapping[str, Any]) -> GenerationChunk:
    return GenerationChunk(
        text=choice.get("text") or "", pieces=_pieces(choice.get("logprobs") or {})
    )


def _pieces(told: Mapping[str, Any]) -> tuple[ScoredPiece, ...]:
    """The scores of a completion: OpenAI's old form, or the chat route's, which llama.cpp uses."""
    if isinstance(told.get("content"), Sequence):
        return tuple(
            _piece(
                item.get("token"),
                item.get("logprob"),
                {o.get("token"): o.get("logprob") for o in item.get("top_logprobs", ())},
            )
            for item in told["content"]
        )
    texts, scores = told.get("tokens") or (), told.get("token_logprobs") or ()
    tops = told.get("top_logprobs") or [{}] * len(texts)
    if not len(texts) == len(scores) == len(tops):
        return ()
    return tuple(_piece(*each) for each in zip(texts, scores, tops, strict=True))


def _piece(text: Any, logprob: Any, top: Any) -> ScoredPiece:
    others = [
        Alternative(id=stand_in(name), text=name, logprob=float(score))
        for name, score in (top or {}).items()
        if isinstance(name, str) and isinstance(score, int | float)
    ]
    others.sort(key=lambda other: -other.logprob)
    return ScoredPiece(
        id=stand_in(str(text)), text=str(text), entropy=None, top=tuple(others),
        logprob=float(logprob) if isinstance(logprob, int | float) else 0.0,
    )  # fmt: skip


def stand_in(text: str) -> int:
    """In place of an id that the server does not tell: negative, the same for the same text."""
    return -1 - zlib.crc32(text.encode())
