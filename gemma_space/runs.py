"""A finished run of the raw prompt, and the branches that can grow from it.

Knows what was asked and what came of it, all values resolved. Knows no model and no page.
"""

from dataclasses import dataclass, replace

from gemma_space.types import Alternative, CompletionRequest, Generation, ScoredPiece


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One completion.

    Attributes:
        request: as it was asked; a control left out is resolved in `generation.params`.
        generation: its last update.
        tokens: one for each of `generation.token_ids`, those it began with included; empty where
            no scores were asked for.
    """

    request: CompletionRequest
    generation: Generation
    tokens: tuple[ScoredPiece, ...] = ()

    def branch(self, at: int, instead: Alternative) -> "Branch":
        """The run that takes another token at `at` (from 0), with the same seed.

        Raises:
            IndexError: there is no such token.
        """
        taken = self.tokens[at]
        kept = (*self.tokens[:at], replace(taken, id=instead.id, text=instead.text,
                                           logprob=instead.logprob))  # fmt: skip
        request = replace(
            self.request,
            token_ids=self.generation.prompt_ids,
            begins_with=tuple(piece.id for piece in kept),
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
