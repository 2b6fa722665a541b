"""Chunks of ids or text become the reply so far, its counts and its end; or a text's scores.

Sits between an engine and whoever shows the reply. Knows no model and no page.
"""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from gemma_space.chunks import GenerationChunk, ScoredToken, Usage
from gemma_space.errors import GenerationError
from gemma_space.lease import ModelKey, ServedModel
from gemma_space.precision_figures import perplexity_of
from gemma_space.tokens import ReplyText, TextStream, pieces
from gemma_space.types import (
    Alternative,
    FinishReason,
    Generation,
    SamplingParams,
    ScoredPiece,
    Scoring,
)


class Recorder:
    """Follows one generation.

    Args:
        key: what generates; named in every update.
        params: the resolved controls; the seed is reported.
        stream: grows the text and finds stop strings; a `TextStream` where the chunks are ids.
        prompt_ids, dropped_messages, notes: what is known before the first token.
        begins_with: ids that the reply already has, which follow those of the prompt.
        before: text the reply already had, whose ids are the prompt's; every update begins with it.
        tokenizer: names tokens when scores are recorded.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        key: ModelKey,
        params: SamplingParams,
        stream: ReplyText,
        *,
        prompt_ids: tuple[int, ...],
        begins_with: tuple[int, ...] = (),
        dropped_messages: int = 0,
        notes: tuple[str, ...] = (),
        before: str = "",
        tokenizer: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._params = params
        self._stream = stream
        self._prompt_ids = prompt_ids
        self._given = len(begins_with)
        self._ids: list[int] = []
        self._dropped_messages = dropped_messages
        self._notes = notes
        self._before = before
        self._tokenizer = tokenizer
        self._clock = clock
        self._started = clock()
        self._first: float | None = None
        self._last = self._started
        self._cached = 0
        self._written = 0
        self._usage: Usage | None = None
        self._scored: list[ScoredPiece] = []
        for token_id in begins_with:
            self._push(token_id)

    def record(self, chunks: Generator[GenerationChunk]) -> Generator[Generation]:
        """Yield the reply after each chunk; the last update has a `finish_reason`.

        Closing this closes the engine's iterator; so does a stop string.
        """
        with closing(chunks):
            if self._stream.stopped:  # what it begins with has met a stop string
                yield self._update("stop_string")
                return
            for chunk in chunks:
                self._cached = chunk.cached_tokens
                if not chunk.writes and chunk.finish_reason is None:
                    yield self._update(None, chunk.place)
                    continue
                reason = self._take(chunk)
                yield self._update(reason)
                if reason:
                    return

    def _take(self, chunk: GenerationChunk) -> FinishReason | None:
        reason: FinishReason | None = chunk.finish_reason
        if chunk.writes:
            self._last = self._clock()
            if self._first is None:
                self._first = self._last
        if chunk.token_id is None:
            reason = "stop_string" if self._take_text(chunk) else reason
        elif reason != "stop":
            self._written += 1
            if chunk.score is not None:
                self._scored.append(named(self._tokenizer, chunk.score))
            if self._push(chunk.token_id):
                reason = "stop_string"
        if reason:
            self._stream.finish()
        return reason

    def _push(self, token_id: int) -> bool:
        assert isinstance(self._stream, TextStream)
        self._ids.append(token_id)
        return self._stream.push(token_id)

    def _take_text(self, chunk: GenerationChunk) -> bool:
        """Take what came without ids; true when it met a stop string."""
        self._usage = chunk.usage or self._usage
        self._notes += chunk.notes
        self._scored += chunk.pieces
        if chunk.writes:  # until the server has counted, a piece counts as a token
            self._written += max(1, len(chunk.pieces))
        self._stream.think(chunk.thinking)
        return self._stream.add(chunk.text)

    def _update(self, reason: FinishReason | None, place: int = 0) -> Generation:
        used = self._usage or Usage(
            prompt_tokens=len(self._prompt_ids) + self._given,
            completion_tokens=self._written,
            cached_tokens=self._cached,
        )
        count = used.completion_tokens
        elapsed = self._last - self._first if self._first is not None else 0.0
        return Generation(
            text=self._before + self._stream.text,
            thinking=self._stream.thinking,
            finish_reason=reason,
            prompt_tokens=used.prompt_tokens,
            completion_tokens=count,
            cached_tokens=used.cached_tokens,
            dropped_messages=self._dropped_messages,
            seed=self._params.seed,
            ttft_seconds=None if self._first is None else self._first - self._started,
            tokens_per_second=(count - 1) / elapsed if count > 1 and elapsed else None,
            model=self._key.checkpoint.repo_id,
            revision=self._key.revision,
            precision=str(self._key.precision),
            tokens=tuple(self._scored),
            notes=self._notes,
            prompt_ids=self._prompt_ids,
            token_ids=tuple(self._ids),
            params=self._params,
            base_revision=self._key.base.revision if self._key.base else "",
            place=place,
        )


def named(tokenizer: Any, score: ScoredToken) -> ScoredPiece:
    """A scored token and its alternatives, with the text of each."""
    names = pieces(tokenizer, (score.token_id, *(t.token_id for t in score.top)))
    return ScoredPiece(
        id=score.token_id,
        text=names[0].text,
        logprob=score.logprob,
        entropy=score.entropy,
        top=tuple(
            Alternative(id=t.token_id, text=piece.text, logprob=t.logprob)
            for t, piece in zip(score.top, names[1:], strict=True)
        ),
    )


def scored(
    served: ServedModel,
    chunks: Generator[GenerationChunk],
    total_tokens: int,
    notes: tuple[str, ...],
) -> Generator[Scoring]:
    """The scores of a text after each chunk of it.

    Perplexity is that of the tokens so far.

    Raises:
        GenerationError: it was broken off by the time limit.
    """
    found: list[ScoredPiece] = []
    surprise = 0.0
    with closing(chunks):
        for chunk in chunks:
            if chunk.finish_reason == "time_limit":
                raise GenerationError(
                    f"The time limit of this server came after {len(found):,} of {total_tokens:,} "
                    "tokens.",
                    "Score a shorter text.",
                )
            found += [named(served.tokenizer, score) for score in chunk.prompt_scores]
            surprise -= sum(score.logprob for score in chunk.prompt_scores)
            yield Scoring(
                tokens=tuple(found),
                total_tokens=total_tokens,
                perplexity=perplexity_of(surprise / len(found)) if found else None,
                model=served.key.checkpoint.repo_id,
                revision=served.key.revision,
                precision=str(served.key.precision),
                notes=notes,
            )
