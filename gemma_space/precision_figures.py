"""What a precision report says: its figures, the verdict that follows from them, and as files.

Knows arithmetic and words. Does not know how anything was measured, nor how it is shown.
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gemma_space import spreadsheet
from gemma_space.types import Precision

FORMAT, VERSION = "gemma-space-precision-report", 1
# Up to which divergence, in nats, and from which share of equal choices a loss has which name.
LOSSES = ((0.005, 0.98, "next to nothing"), (0.05, 0.94, "little"), (0.2, 0.85, "noticeably"))
LARGE_LOSS = "much"
COLUMNS = (
    "precision", "role", "mean_kl_nats", "kl_standard_error", "top1_agreement", "perplexity",
    "decode_tokens_per_second", "memory_bytes", "not_measured",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstToken:
    """A token of which two models expected most unlike things.

    Attributes:
        text: which text it stands in, counted from 1.
        before: the end of what both had read.
        token: what came.
        divergence: in nats.
        expected, expected_share: what the reference held likeliest, and how likely, 0 to 1.
        instead, instead_share: the same of the candidate.
    """

    text: int
    before: str
    token: str
    divergence: float
    expected: str
    expected_share: float
    instead: str
    instead_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one precision came to.

    Attributes:
        perplexity: of all tokens of all texts; None where it could not be measured.
        tokens_per_second: of a short reply, decoded; None where it ended at once.
        nbytes: of the weights in memory.
        divergence: mean D(reference || this) per token, in nats; None for the reference.
        error: standard error of that mean, the texts taken as independent of each other and
            their tokens not; None for fewer than two texts.
        agreement: share of tokens for which both hold the same one likeliest, 0 to 1.
        worst: the tokens with the largest divergence, that first.
        beside_others: the model wrote for somebody else meanwhile, so its speed is not all.
        notes: sentences about where it runs.
        problem: why it could not be measured; all else is empty then.
    """

    precision: Precision
    perplexity: float | None = None
    tokens_per_second: float | None = None
    nbytes: int = 0
    divergence: float | None = None
    error: float | None = None
    agreement: float | None = None
    worst: tuple[WorstToken, ...] = ()
    beside_others: bool = False
    notes: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionReport:
    """How precisions of one checkpoint compare; while it is measured, as far as it is.

    Attributes:
        texts, tokens: how many were read; of the tokens, those that were predicted.
        reference: None until it was measured.
        candidates: in the order they were asked for.
        doing: what is under way, a few words; empty once all is done.
        share: how much is done, 0 to 1.
        versions: of the libraries that computed.
    """

    model: str
    title: str
    revision: str = ""
    device: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    texts: int
    tokens: int = 0
    reference: Figures | None = None
    candidates: tuple[Figures, ...] = ()
    doing: str = ""
    share: float = 0.0

    @property
    def measured(self) -> tuple[Figures, ...]:
        """All that have figures, the reference first."""
        first = (self.reference,) if self.reference is not None else ()
        return (*first, *(one for one in self.candidates if not one.problem))


# --- arithmetic ---------------------------------------------------------------------------------


def perplexity(logprobs: Sequence[float]) -> float:
    """exp of the mean negative log-probability of at least one token."""
    return perplexity_of(-math.fsum(logprobs) / len(logprobs))


def perplexity_of(surprise: float) -> float:
    """exp of it; infinite where it is too large for that, or no number."""
    return math.exp(surprise) if surprise < 700 else math.inf


def mean_and_error(texts: Sequence[Sequence[float]]) -> tuple[float, float | None]:
    """The mean of all values, and its standard error with each text as one cluster.

    Tokens of a text depend on each other: counted as if they did not, they would promise more
    than they know. None for the error of fewer than two texts.
    """
    count = sum(map(len, texts))
    mean = math.fsum(value for text in texts for value in text) / count
    if len(texts) < 2:
        return mean, None
    squares = math.fsum((math.fsum(text) - len(text) * mean) ** 2 for text in texts)
    return mean, math.sqrt(squares * len(texts) / (len(texts) - 1)) / count


# --- words --------------------------------------------------------------------------------------


def loss(figures: Figures) -> str:
    """What a candidate loses, as an adverb: its divergence and its choices, the worse of both."""
    assert figures.divergence is not None
    assert figures.agreement is not None
    return next(
        (name for most, least, name in LOSSES
         if figures.divergence <= most and figures.agreement >= least),
        LARGE_LOSS,
    )  # fmt: skip


def verdict(report: PrecisionReport) -> str:
    """One sentence that follows from the figures; empty until there is something to compare."""
    reference = report.reference
    there = [one for one in report.candidates if not one.problem]
    if reference is None or not there:
        return ""
    told = [
        f"{one.precision} loses {loss(one)} ("
        + ("the same first choice " if at == 0 else "")
        + f"{one.agreement or 0:.1%}"
        + (" of the time" if at == 0 else "")
        + f") at {one.nbytes / reference.nbytes:.0%} of the memory"
        for at, one in enumerate(there)
    ]
    listed = ", ".join(told[:-1])
    return f"Against {reference.precision}, {listed + ', and ' * bool(listed)}{told[-1]}."


# --- files --------------------------------------------------------------------------------------


def as_csv(report: PrecisionReport) -> str:
    """One line for each precision; what was not measured is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    reference = [("reference", report.reference)] if report.reference else []
    for role, one in [*reference, *(("candidate", one) for one in report.candidates)]:
        values = (one.divergence, one.error, one.agreement, one.perplexity, one.tokens_per_second)
        writer.writerow(
            [one.precision, role, *("" if v is None else repr(v) for v in values),
             one.nbytes or "", spreadsheet.cell(one.problem)]
        )  # fmt: skip
    return text.getvalue()


def as_json(report: PrecisionReport) -> str:
    """All of it; probabilities and shares are 0 to 1, divergences in nats."""
    facts = asdict(report)
    del facts["doing"], facts["share"]
    told = {
        "format": FORMAT, "version": VERSION, **facts,
        "versions": dict(report.versions), "verdict": verdict(report),
    }  # fmt: skip
    return json.dumps(_finite(told), ensure_ascii=False, indent=2)


def _finite(value: object) -> object:
    """Infinity has no place in JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
