"""A raw prompt before it is run, a finished run of it, and the branches that can grow from it.

Knows what was asked and what came of it, all values resolved. Knows no model and no page.
"""

from dataclasses import dataclass, replace

from gemma_space.types import (
    Alternative,
    CompletionRequest,
    Generation,
    ScoredPiece,
    TokenPiece,
)

MAX_RUNS = 30
PLAIN_IDS = 40  # take as much room as one token with its scores
MAX_TOKENS = 20_000  # of all runs of a visit, each with its scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a prompt would be before it is run.

    Attributes:
        tokens: all that the model would be given, a BOS in front included.
        warnings: what is probably a mistake, in sentences.
        exact: it was given as ids, so its text is not read at all.
        fills_gaps: the model knows fill-in-the-middle.
    """

    tokens: tuple[TokenPiece, ...]
    warnings: tuple[str, ...] = ()
    exact: bool = False
    fills_gaps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One completion.

    Attributes:
        request: as it was asked; a control left out is resolved in `generation.params`.
        generation: its last update.
        tokens: one for each of `generation.token_ids`, those it began with included; empty where
            no scores were asked for.
        failed: whether an error broke it off.
    """

    request: CompletionRequest
    generation: Generation
    tokens: tuple[ScoredPiece, ...] = ()
    failed: bool = False

    @property
    def came(self) -> bool:
        """Whether there is anything of it yet."""
        return bool(self.generation.text or self.generation.token_ids)

    def branch(self, at: int, instead: Alternative) -> "Branch":
        """The run that takes another token at `at` (from 0), with the same seed.

        Raises:
            IndexError: there is no such token.
        """
        taken = self.tokens[at]
        kept = (*self.tokens[:at], replace(taken, id=instead.id, text=instead.text,
                                           logprob=instead.logprob))  # fmt: skip
        # What a replayed branch began with came as ids alone.
        unscored = self.generation.token_ids[: len(self.generation.token_ids) - len(self.tokens)]
        request = replace(
            self.request,
            token_ids=self.generation.prompt_ids,
            begins_with=(*unscored, *(piece.id for piece in kept)),
            controls=replace(self.request.controls, seed=self.generation.seed),
        )
        return Branch(request=request, kept=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A run to be made that begins with tokens of another, whose scores are known already."""

    request: CompletionRequest
    kept: tuple[ScoredPiece, ...]

    def finished(self, generation: Generation) -> Run:
        """The run, once it was made."""
        return Run(
            request=self.request, generation=generation, tokens=(*self.kept, *generation.tokens)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The runs of one visit, oldest first, and which of them is shown."""

    kept: tuple[Run, ...] = ()
    at: int | None = None

    @property
    def shown(self) -> Run | None:
        """The run that is shown; None before the first."""
        return None if self.at is None else self.kept[self.at]

    @property
    def size(self) -> int:
        """Scored tokens of all of them, prompts counted as what takes as much room."""
        return sum(
            len(run.generation.token_ids) + len(run.generation.prompt_ids) // PLAIN_IDS
            for run in self.kept
        )

    def add(self, run: Run) -> "Runs":
        """With a run more, which is shown; the oldest go where there are too many."""
        kept = (*self.kept, run)[-MAX_RUNS:]
        while len(kept) > 1 and Runs(kept=kept).size > MAX_TOKENS:
            kept = kept[1:]
        return Runs(kept=kept, at=len(kept) - 1)

    def open(self, at: int) -> "Runs":
        """With another run shown; an index that is none changes nothing."""
        return replace(self, at=at) if 0 <= at < len(self.kept) else self

    def broken_off(self, failed: bool) -> "Runs":
        """With the run that is shown ended where it is; without it where nothing of it came.

        Args:
            failed: whether by an error; else by the visitor.
        """
        run = self.shown
        if run is None or run.generation.finish_reason is not None:
            return self
        if not run.came:
            return self.undo()
        ended = replace(run.generation, finish_reason="cancelled")
        return self.undo().add(replace(run, generation=ended, failed=failed))

    def undo(self) -> "Runs":
        """Without the run that is shown; the one before it is shown then."""
        if self.at is None:
            return self
        kept = (*self.kept[: self.at], *self.kept[self.at + 1 :])
        return Runs(kept=kept, at=max(self.at - 1, 0) if kept else None)
