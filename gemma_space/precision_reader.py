"""The same texts, read by one precision after another; and a short reply, for the speed.

Knows the texts as ids, what waits in the file for comparison, and how far it is. Does not know
which models are leased, nor what follows from the figures.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

from gemma_space import tokens
from gemma_space.errors import GenerationError
from gemma_space.kl_divergence import Candidate, KeptLogits, Place, Reference
from gemma_space.lease import ServedModel
from gemma_space.precision_figures import Figures, WorstToken, mean_and_error, perplexity
from gemma_space.types import SamplingParams

WORST_TOKENS = 10
CONTEXT_CHARACTERS = 60
SPEED_TOKENS = 32  # written to learn the speed
SPEED_PROMPT_TOKENS = 64
SPEED_WEIGHT = 4  # writing a token takes that many times as long as reading one, roughly
_GREEDY = SamplingParams(
    max_new_tokens=SPEED_TOKENS, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, typical_p=1.0,
    repetition_penalty=1.0, no_repeat_ngram_size=0, seed=0, ignore_eos=True,
)  # fmt: skip
Told = Generator[str, None, Figures]  # what is under way, in words, and at the end the figures


class Reader:
    """Reads for one report.

    Args:
        texts: as ids, each with a BOS in front.
        kept: where the reference's logits wait.
        max_time: seconds that one text may take; None: any.
        clock: seconds, monotonic.

    Attributes:
        tokens: how many are predicted in each precision.
        work, done: how much there is to do for one precision, and how much of it is done, in
            tokens read.
    """

    def __init__(
        self,
        texts: list[tuple[int, ...]],
        kept: KeptLogits,
        max_time: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._texts, self._kept = texts, kept
        self._max_time, self._clock = max_time, clock
        self.tokens = sum(len(ids) - 1 for ids in texts)
        self.work = self.tokens + SPEED_TOKENS * SPEED_WEIGHT
        self.done = 0

    def reference(self, served: ServedModel) -> Told:
        """Read everything and keep what the model predicts.

        Raises:
            GenerationError: the model failed, the time or the disk was too short.
        """
        logprobs: list[float] = []
        for at, row, ids in self._rows():
            look = Reference(self._kept, row, ids)
            yield from self._read(served, at, row, ids, look)
            logprobs += look.logprobs
        return Figures(precision=served.key.precision, perplexity=perplexity(logprobs))

    def candidate(self, served: ServedModel) -> Told:
        """Read everything and compare with what was kept.

        Raises:
            GenerationError: as `reference`.
        """
        texts: list[list[Place]] = []
        for at, row, ids in self._rows():
            look = Candidate(self._kept, row, ids)
            yield from self._read(served, at, row, ids, look)
            texts.append(look.places)
        return self._figures(served, texts)

    def speed(
        self, served: ServedModel, requests: Callable[[], int]
    ) -> Generator[str, None, tuple[float | None, bool]]:
        """Tokens per second of a short reply, and whether anybody else was served meanwhile.

        Args:
            requests: how many run or wait, on any model.
        """
        prompt, times, shared = self._texts[0][:SPEED_PROMPT_TOKENS], list[float](), False
        stream = served.engine.stream(prompt, _GREEDY, max_time=self._max_time)
        with closing(stream):
            for chunk in stream:
                shared = shared or requests() > 1
                if chunk.token_id is not None:
                    times.append(self._clock())
                    self.done = self.tokens + len(times) * SPEED_WEIGHT
                yield f"{served.key.precision}: writing a few tokens"
        elapsed = times[-1] - times[0] if times else 0.0
        return ((len(times) - 1) / elapsed if elapsed > 0 else None), shared

    def _rows(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Each text: its number from 1, how many rows come before its own, its ids."""
        row = 0
        for at, ids in enumerate(self._texts, start=1):
            yield at, row, ids
            row += len(ids) - 1

    def _read(
        self, served: ServedModel, at: int, row: int, ids: tuple[int, ...],
        look: Callable[[int, Any], None],
    ) -> Iterator[str]:  # fmt: skip
        with closing(served.engine.examine(ids, look, max_time=self._max_time)) as chunks:
            for chunk in chunks:
                if chunk.finish_reason == "time_limit":
                    raise GenerationError(
                        f"The time limit of this server came before text {at:,} was read.",
                        "Measure shorter texts.",
                    )
                self.done = row + chunk.prompt_done_tokens
                yield f"{served.key.precision}: text {at:,} of {len(self._texts):,}"

    def _figures(self, served: ServedModel, texts: list[list[Place]]) -> Figures:
        places = [place for text in texts for place in text]
        mean, error = mean_and_error([[place.divergence for place in text] for text in texts])
        same = sum(place.expected == place.instead for place in places)
        found = [
            (place, at, token)
            for at, text in enumerate(texts)
            for token, place in enumerate(text, start=1)
        ]
        found.sort(key=lambda one: one[0].divergence, reverse=True)
        return Figures(
            precision=served.key.precision,
            perplexity=perplexity([place.logprob for place in places]),
            divergence=mean,
            error=error,
            agreement=same / len(places),
            worst=tuple(self._worst(served.tokenizer, *one) for one in found[:WORST_TOKENS]),
        )

    def _worst(self, tokenizer: Any, place: Place, at: int, token: int) -> WorstToken:
        ids = self._texts[at]
        names = tokens.pieces(tokenizer, (ids[token], place.expected, place.instead))
        before = tokenizer.decode(ids[max(1, token - CONTEXT_CHARACTERS) : token])
        return WorstToken(
            text=at + 1,
            before=before[-CONTEXT_CHARACTERS:],
            token=names[0].text,
            divergence=place.divergence,
            expected=names[1].text,
            expected_share=place.expected_share,
            instead=names[2].text,
            instead_share=place.instead_share,
        )
