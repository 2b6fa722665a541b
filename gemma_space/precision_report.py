"""What a checkpoint loses in lower precisions: one after another reads the same texts.

Knows the order of things: check the request, lease the reference and keep what it predicts, then
lease each candidate and compare. One precision is in use at a time, so that a report never needs
more memory than a reply in its largest precision does, and turns no other visitor's model out for
the sake of a statistic. What the reference predicts waits on the disk: half a megabyte for each
token of Gemma's vocabulary, written far faster than any model here reads. Knows no page.
"""

import shutil
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from gemma_space import memory, precision, prompt_set, surroundings, tokens
from gemma_space.catalog import Checkpoint
from gemma_space.errors import (
    ContextLengthError,
    GenerationError,
    InvalidRequestError,
    LoadError,
    ModelTooLargeError,
)
from gemma_space.lease import ServedModel
from gemma_space.library import Library
from gemma_space.precision_figures import Figures, PrecisionReport
from gemma_space.reports import LoadProgress
from gemma_space.types import Attention, Precision

if TYPE_CHECKING:
    from gemma_space.kl_divergence import KeptLogits
    from gemma_space.precision_reader import Reader

T = TypeVar("T")
MAX_TOKENS = 4096
WAIT_SECONDS = 0.2
DISK_SHARE = 0.8  # of what is free: others need the disk too
WAITING = "Another report is being measured; yours comes after it"
# What may befall one precision and leave the others to be measured.
_ITS_OWN = (ModelTooLargeError, LoadError, GenerationError)
Step = LoadProgress | PrecisionReport


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What is to be compared with what, on which texts."""

    model: str
    texts: tuple[str, ...]
    reference: Precision = Precision.BF16
    candidates: tuple[Precision, ...] = (Precision.INT8, Precision.INT4)
    attention: Attention = Attention.AUTO


class PrecisionReports:
    """The use case. One report is measured at a time; others wait.

    Args:
        library: leases the models.
        max_time: seconds that reading one text may take; None: any.
    """

    def __init__(self, library: Library, max_time: float | None = None) -> None:
        self._library = library
        self._max_time = max_time
        self._turn = threading.Lock()

    def measure(self, request: ReportRequest, token: str | None = None) -> Iterator[Step]:
        """Measure: load progress while a model comes, else the report as far as it is.

        A candidate that cannot be loaded or run has its reason in place of figures. Closing this
        stops within one step and leaves nothing behind.

        Raises:
            InvalidRequestError: no texts, too many tokens, or nothing to compare.
            GemmaSpaceError: no access, or the reference cannot be measured.
        """
        row = self._library.find(request.model, token)
        self._library.require(row, token)
        _check(row, request)
        waiting = PrecisionReport(
            model=row.repo_id, title=row.title, texts=len(request.texts), doing=WAITING
        )
        while not self._turn.acquire(timeout=WAIT_SECONDS):
            yield waiting
        try:
            from gemma_space.kl_divergence import KeptLogits  # imports torch, which takes seconds

            with closing(KeptLogits()) as kept:
                yield from _Run(self._library, row, request, token, self._max_time, kept).steps()
        finally:
            self._turn.release()


class _Run:
    """One report while it is measured."""

    def __init__(
        self, library: Library, row: Checkpoint, request: ReportRequest, token: str | None,
        max_time: float | None, kept: "KeptLogits",
    ) -> None:  # fmt: skip
        self._library, self._row, self._request, self._token = library, row, request, token
        self._max_time, self._kept = max_time, kept
        self._reader: Reader | None = None
        self._report = PrecisionReport(
            model=row.repo_id, title=row.title, texts=len(request.texts),
            device=memory.probe_device().name,
        )  # fmt: skip

    def steps(self) -> Iterator[Step]:
        """The reference, then each candidate."""
        reference = yield from self._measure(self._request.reference)
        self._report = replace(self._report, reference=reference)
        for candidate in self._request.candidates:
            try:
                figures = yield from self._measure(candidate)
            except _ITS_OWN as error:
                figures = Figures(precision=candidate, problem=str(error))
            candidates = (*self._report.candidates, figures)
            self._report = replace(self._report, candidates=candidates)
        yield replace(self._report, share=1.0)

    def _measure(self, wanted: Precision) -> Generator[Step, None, Figures]:
        yield self._state(f"{wanted}: getting it ready", 0)
        with self._library.lease(self._row, wanted, self._token, self._request.attention) as (
            lease,
            notes,
        ):
            yield from lease.wait()
            self._library.require(self._row, self._token)  # a load can outlast a yes
            served = lease.model
            reader = self._reader = self._reader or self._begin(served)
            reader.done = 0
            reads = reader.candidate if self._report.reference else reader.reference
            figures = yield from self._told(reads(served), reader)
            speed, shared = yield from self._told(reader.speed(served, self._requests), reader)
            return replace(
                figures, tokens_per_second=speed, beside_others=shared,
                nbytes=_nbytes(self._row, served), notes=(*notes, *served.notes),
            )  # fmt: skip

    def _begin(self, served: ServedModel) -> "Reader":
        """The texts as ids, once there is a tokenizer.

        Raises:
            InvalidRequestError: they are too much for the report, the model or the disk.
        """
        from gemma_space.precision_reader import Reader

        texts = [
            tokens.encode_prompt(served.tokenizer, text, parse_special=False)
            for text in self._request.texts
        ]
        reader = Reader(texts, self._kept, self._max_time)
        _check_length(max(map(len, texts)), self._row.context_length, reader.tokens)
        number_bytes = 4 if served.key.precision is Precision.FP32 else 2
        _check_disk(reader.tokens * len(served.tokenizer) * number_bytes)
        present = surroundings.present(self._report.device, served.tokenizer, Precision.INT4)
        self._report = replace(
            self._report, tokens=reader.tokens, revision=served.key.revision,
            versions=tuple(present.versions.items()),
        )  # fmt: skip
        return reader

    def _told(
        self, steps: Generator[str, None, T], reader: "Reader"
    ) -> Generator[Step, None, T]:  # fmt: skip
        """The same steps as states of the report."""
        with closing(steps):
            while True:
                try:
                    doing = next(steps)
                except StopIteration as end:
                    return end.value
                yield self._state(doing, reader.done / reader.work)

    def _requests(self) -> int:
        return self._library.status(self._token).queue

    def _state(self, doing: str, share: float) -> PrecisionReport:
        """The report as far as it is; `share` is of the precision at hand."""
        before = (self._report.reference is not None) + len(self._report.candidates)
        share = (before + share) / (1 + len(self._request.candidates))
        return replace(self._report, doing=doing, share=share)


def _nbytes(row: Checkpoint, served: ServedModel) -> int:
    """Bytes of the weights; an adapter's together with its base's, as computed."""
    if row.base is None:
        return served.nbytes
    return memory.weights_bytes(row, served.key.precision)


def _check(row: Checkpoint, request: ReportRequest) -> None:
    """Refuse what cannot be compared, before anything is loaded."""
    if not request.candidates:
        raise InvalidRequestError(
            "There is nothing to compare with the reference.", "Choose another precision as well."
        )
    for wanted in (request.reference, *request.candidates):
        precision.require(row, wanted)
        if wanted is Precision.AUTO:
            raise InvalidRequestError("auto is no precision to measure.", "Name one.")
    if request.reference in request.candidates:
        raise InvalidRequestError(
            f"{request.reference} cannot be compared with itself.", "Choose other precisions."
        )
    prompt_set.split("\n\n".join(request.texts))


def _check_length(longest: int, context_length: int, count: int) -> None:
    if longest > context_length:
        raise ContextLengthError(
            f"One of the texts has {longest:,} tokens, but only {context_length:,} fit.",
            "Divide it by blank lines.",
        )
    if count > MAX_TOKENS:
        raise InvalidRequestError(
            f"The texts have {count:,} tokens; at most {MAX_TOKENS:,} are measured.",
            "Keep a part of them: a thousand tokens say nearly as much.",
        )


def _check_disk(needed: int) -> None:
    free = int(shutil.disk_usage(tempfile.gettempdir()).free * DISK_SHARE)
    if needed > free:
        raise InvalidRequestError(
            f"What the reference predicts takes {memory.show_bytes(needed)} on the disk for these "
            f"texts; {memory.show_bytes(free)} may be used.",
            "Measure fewer or shorter texts.",
        )
