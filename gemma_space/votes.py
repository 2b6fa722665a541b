"""Votes about replies that stood side by side: which was better, and what that adds up to.

Pure functions of votes. Knows models and precisions by name only; keeps nothing itself.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from gemma_space import spreadsheet

MAX_VOTES = 1000
MAX_NAME = 300


class Contender(BaseModel):
    """What gave a reply."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    model: str = Field(max_length=MAX_NAME)
    precision: str = Field(max_length=20)


class Vote(BaseModel):
    """What a visitor thought of one comparison.

    Attributes:
        contenders: those that gave a reply, in the order they were shown.
        verdict: `better` is about one of them, the others are about all.
        better: index of the better one; None with another verdict.
        blind: it was not shown which was which.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    contenders: tuple[Contender, ...] = Field(min_length=2, max_length=4)
    verdict: Literal["better", "tie", "all_bad"]
    better: int | None = None
    blind: bool

    @model_validator(mode="after")
    def _names_one(self) -> "Vote":
        named = self.better is not None and 0 <= self.better < len(self.contenders)
        if named != (self.verdict == "better") or (self.better is not None and not named):
            raise ValueError("`better` names one contender, and only that verdict has it")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the votes say of one contender.

    Attributes:
        comparisons: votes it took part in; `blind` of them were blind.
        better, worse, ties, all_bad: how these went; they add up to `comparisons`.
    """

    model: str
    precision: str
    comparisons: int = 0
    better: int = 0
    worse: int = 0
    ties: int = 0
    all_bad: int = 0
    blind: int = 0

    @property
    def share(self) -> float | None:
        """Won, ties counted half, of what was decided; None where nothing was."""
        decided = self.better + self.worse + self.ties
        return (self.better + self.ties / 2) / decided if decided else None


_VOTES = TypeAdapter(tuple[Vote, ...])


def read(text: str | None) -> tuple[Vote, ...]:
    """Votes as `write` wrote them; none where the text is anything else."""
    try:
        return _VOTES.validate_json(text or "[]")[-MAX_VOTES:]
    except ValidationError:
        return ()


def write(votes: Sequence[Vote]) -> str:
    """Votes as JSON, the newest `MAX_VOTES`."""
    return _VOTES.dump_json(tuple(votes)[-MAX_VOTES:]).decode()


def tally(votes: Sequence[Vote]) -> tuple[Tally, ...]:
    """One row for each model and precision, the one with the largest share first.

    A contender that stood beside itself counts once for each place it had.
    """
    found: dict[Contender, dict[str, int]] = {}
    for vote in votes:
        for at, contender in enumerate(vote.contenders):
            row = found.setdefault(contender, {})
            outcome = {"tie": "ties", "all_bad": "all_bad"}.get(vote.verdict)
            outcome = outcome or ("better" if at == vote.better else "worse")
            for name in ("comparisons", outcome, *(("blind",) if vote.blind else ())):
                row[name] = row.get(name, 0) + 1
    rows = [Tally(model=c.model, precision=c.precision, **row) for c, row in found.items()]
    return tuple(sorted(rows, key=lambda r: -1.0 if r.share is None else r.share, reverse=True))


def as_json(votes: Sequence[Vote]) -> str:
    """The tally and every vote, as a document."""
    rows = [{**asdict(row), "share": row.share} for row in tally(votes)]
    kept = _VOTES.dump_python(tuple(votes), mode="json")
    return json.dumps({"tally": rows, "votes": kept}, indent=2, ensure_ascii=False) + "\n"


def as_csv(votes: Sequence[Vote]) -> str:
    """The tally as a table."""
    file = io.StringIO()
    names = ["model", "precision", "comparisons", "better", "worse", "ties", "all_bad", "blind"]
    table = csv.writer(file, lineterminator="\n")
    table.writerow([*names, "share"])
    for row in tally(votes):
        share = "" if row.share is None else f"{row.share:.4f}"
        table.writerow(
            [
                spreadsheet.cell(row.model),
                spreadsheet.cell(row.precision),
                *(getattr(row, name) for name in names[2:]),
                share,
            ]
        )
    return file.getvalue()
