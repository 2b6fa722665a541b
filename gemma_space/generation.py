"""Chunks of ids become the reply so far: text, counts, times and why it ended.

Sits between an engine and whoever shows the reply. Knows no model and no page.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from gemma_space.lease import ModelKey
from gemma_space.tokens import TextStream, pieces
from gemma_space.types import (
    FinishReason,
    Generation,
    GenerationChunk,
    SamplingParams,
    ScoredPiece,
    TokenScore,
)


class Recorder:
    """Follows one generation.

    Args:
        key: what generates; named in every update.
        params: the resolved controls; the seed is reported.
        stream: turns ids into text and finds stop strings.
        prompt_tokens, dropped_messages, notes: what is known before the first token.
        before: text the reply already had; every update begins with it.
        tokenizer: names tokens when scores are recorded.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        key: ModelKey,
        params: SamplingParams,
        stream: TextStream,
        *,
        prompt_tokens: int,
        dropped_messages: int = 0,
        notes: tuple[str, ...] = (),
        before: str = "",
        tokenizer: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._params = params
        self._stream = stream
        self._prompt_tokens = prompt_tokens
        self._dropped_messages = dropped_messages
        self._notes = notes
        self._before = before
        self._tokenizer = tokenizer
        self._clock = clock
        self._started = clock()
        self._first: float | None = None
        self._last = self._started
        self._count = 0
        self._cached = 0
        self._scored: list[ScoredPiece] = []

    def record(self, chunks: Iterator[GenerationChunk]) -> Iterator[Generation]:
        """Yield the reply after each chunk; the last update has a `finish_reason`.

        Closing this closes the engine's iterator; so does a stop string.
        """
        try:
            for chunk in chunks:
                self._cached = chunk.cached_tokens
                if chunk.token_id is None:
                    yield self._update(None)
                    continue
                reason = self._take(chunk)
                yield self._update(reason)
                if reason:
                    return
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _take(self, chunk: GenerationChunk) -> FinishReason | None:
        self._last = self._clock()
        if self._first is None:
            self._first = self._last
        reason: FinishReason | None = chunk.finish_reason
        if reason != "stop" and chunk.token_id is not None:
            self._count += 1
            if chunk.score is not None:
                self._scored.append(self._named(chunk.score, chunk.top))
            if self._stream.push(chunk.token_id):
                reason = "stop_string"
        if reason:
            self._stream.finish()
        return reason

    def _named(self, score: TokenScore, top: tuple[TokenScore, ...]) -> ScoredPiece:
        ids = (score.token_id, *(t.token_id for t in top))
        names = [piece.text for piece in pieces(self._tokenizer, ids)]
        rows = tuple(
            ScoredPiece(id=t.token_id, text=name, logprob=t.logprob)
            for t, name in zip(top, names[1:], strict=True)
        )
        return ScoredPiece(id=score.token_id, text=names[0], logprob=score.logprob, top=rows)

    def _update(self, reason: FinishReason | None) -> Generation:
        elapsed = self._last - self._first if self._first is not None else 0.0
        return Generation(
            text=self._before + self._stream.text,
            thinking=self._stream.thinking,
            finish_reason=reason,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._count,
            cached_tokens=self._cached,
            dropped_messages=self._dropped_messages,
            seed=self._params.seed,
            ttft_seconds=None if self._first is None else self._first - self._started,
            tokens_per_second=(self._count - 1) / elapsed if self._count > 1 and elapsed else None,
            model=self._key.checkpoint.repo_id,
            revision=self._key.revision,
            precision=str(self._key.precision),
            tokens=tuple(self._scored),
            notes=self._notes,
        )
