"""A reply as OpenAI's clients read it, whole or in pieces.

Knows four shapes: both endpoints, whole and streamed. What has no place in them (the seed that
was used, what was changed on the way) stands under `gemma_space`.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gemma_space.errors import ServerClosingError
from gemma_space.observed import CUT_OFF
from gemma_space.types import Generation, ScoredPiece, Scoring

FINISH_REASONS = {"stop": "stop", "stop_string": "stop", "length": "length", "time_limit": "length"}
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
Json = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """How one answer is written.

    Attributes:
        id: of the answer.
        chat: whether it answers a conversation; else it continues a prompt.
        model: as the caller named it.
        top: alternatives per token that were asked for; None for no probabilities at all.
        echo: the prompt, where the completion is to begin with it.
        created: seconds since the epoch.
    """

    id: str
    chat: bool
    model: str
    top: int | None = None
    echo: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, reply: Generation, prompt_scores: Sequence[ScoredPiece] = ()) -> Json:
        """The answer to a request that does not stream.

        Raises:
            ServerClosingError: it was cut off.
        """
        choice: Json = {"index": 0, "finish_reason": finish_reason(reply)}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": reply.text, "refusal": None}
            if reply.thinking:
                choice["message"]["reasoning_content"] = reply.thinking
        else:
            choice["text"] = self.echo + reply.text
        choice["logprobs"] = self._logprobs((*prompt_scores, *reply.tokens), 0)
        kind = "chat.completion" if self.chat else "text_completion"
        return self._frame(kind, [choice], reply) | {"usage": usage(reply), **_more(reply)}

    def scored(self, scoring: Scoring) -> Json:
        """The answer where only the prompt was to be scored."""
        choice = {
            "index": 0, "text": self.echo, "finish_reason": "length",
            "logprobs": self._logprobs(scoring.tokens, 0),
        }  # fmt: skip
        count = len(scoring.tokens)
        told = {"prompt_tokens": count, "completion_tokens": 0, "total_tokens": count}
        return self._frame("text_completion", [choice], scoring) | {"usage": told}

    def piece(self, reply: Generation, before: Generation | None) -> Json | None:
        """What came since `before`; None where nothing did.

        Raises:
            ServerClosingError: it was cut off.
        """
        text = reply.text[len(before.text) if before else 0 :]
        thought = reply.thinking[len(before.thinking) if before else 0 :]
        told = len(before.tokens) if before else 0
        reason = finish_reason(reply) if reply.finish_reason else None
        if before is None:
            text = self.echo + text
        scores = self._logprobs(reply.tokens[told:], len(before.text) if before else 0)
        fresh = self.top is not None and len(reply.tokens) > told
        if not (text or thought or reason or fresh or (before is None and self.chat)):
            return None
        choice: Json = {"index": 0, "finish_reason": reason, "logprobs": scores if fresh else None}
        if self.chat:
            delta = {"role": "assistant"} if before is None else {}
            delta |= {"content": text} if text or before is None else {}
            choice["delta"] = delta | ({"reasoning_content": thought} if thought else {})
        else:
            choice["text"] = text
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return self._frame(kind, [choice], reply) | (_more(reply) if reason else {})

    def last(self, reply: Generation) -> Json:
        """The event about tokens, which ends a stream for those who ask for it."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return self._frame(kind, [], reply) | {"usage": usage(reply)}

    def _frame(self, kind: str, choices: list[Json], of: Generation | Scoring) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"{of.revision[:12]}-{of.precision}",
            "choices": choices,
        }

    def _logprobs(self, tokens: Sequence[ScoredPiece], offset: int) -> Json | None:
        if self.top is None:
            return None
        if self.chat:
            return {"content": [self._content(token) for token in tokens], "refusal": None}
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                {other.text: other.logprob for other in token.top[: self.top]} for token in tokens
            ],
            "text_offset": offsets,
        }

    def _content(self, token: ScoredPiece) -> Json:
        top = [_likely(other.text, other.logprob) for other in token.top[: self.top]]
        return _likely(token.text, token.logprob) | {"top_logprobs": top}


def finish_reason(reply: Generation) -> str:
    """Why a reply ended, in OpenAI's words.

    Raises:
        ServerClosingError: it was cut off, which these words cannot say.
    """
    reason = FINISH_REASONS.get(str(reply.finish_reason))
    if reason is None:
        raise ServerClosingError(CUT_OFF, "Send it again in a minute.")
    return reason


def usage(reply: Generation) -> Json:
    """The tokens of a reply."""
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }


def _more(reply: Generation) -> Json:
    return {
        "gemma_space": {
            "seed": reply.seed,
            "finish_reason": reply.finish_reason,
            "dropped_messages": reply.dropped_messages,
            "notes": list(reply.notes),
        }
    }


def _likely(text: str, logprob: float) -> Json:
    found = BYTE.fullmatch(text)
    raw = bytes.fromhex(found[1]) if found else text.encode()
    return {"token": text, "logprob": logprob, "bytes": list(raw)}
