"""What is served here, what is in memory, and what would fit: the use cases about models.

Knows the order in which a name becomes a leased model: the row, the visitor's access, the
precision, room in memory. Does not know what a model is used for; `playground` does.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gemma_space import attention, memory, precision
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.doctor import Doctor
from gemma_space.lease import Lease, ModelKey
from gemma_space.model_keys import ModelKeys
from gemma_space.model_source import ModelSource
from gemma_space.registry import ModelRegistry
from gemma_space.reports import Fit, LoadProgress, ModelRow, PrecisionFit, Status, Turnover
from gemma_space.settings import Settings
from gemma_space.shelf import Shelf
from gemma_space.types import Attention, Precision

SOMEBODYS = "another visitor's model"


class Library:
    """The models.

    Args:
        shelf: what can be asked for.
        access: decides who may use what.
        settings: the deployer's choices.
    """

    def __init__(self, shelf: Shelf, access: Access, settings: Settings) -> None:
        self._shelf = shelf
        self._access = access
        self.doctor = Doctor(shelf, access)
        self._keys = ModelKeys(access)
        self._source = ModelSource(access, settings)
        self._registry = ModelRegistry(
            self._source.load, self._source.budget, self._source.free, settings.idle_seconds
        )

    @property
    def takes_any(self) -> bool:
        """Whether visitors may type names that are not in the list."""
        return self._shelf.takes_any

    @property
    def takes_folders(self) -> bool:
        """Whether these may be folders on this machine."""
        return self._shelf.takes_folders

    def choices(self) -> tuple[Checkpoint, ...]:
        """The checkpoints listed, in display order. Instant; needs no torch."""
        return self._shelf.rows()

    def find(self, model: object, token: str | None = None) -> Checkpoint:
        """The row for a name, listed or typed.

        Raises:
            ModelNotFoundError, AccessDeniedError, DownloadError: see `Shelf.find`.
        """
        return self._shelf.find(model, token)

    def rows(self) -> tuple[ModelRow, ...]:
        """Every checkpoint listed, with what each precision needs on this device."""
        loaded = self._registry.rows()
        return tuple(
            ModelRow(
                repo_id=row.repo_id,
                title=row.title,
                family=row.family,
                parameters=row.parameters,
                variant=row.variant,
                license=row.license,
                gated=row.gated,
                context_length=row.context_length,
                revision=row.revision,
                precisions=self.fits(row),
                loaded=tuple(r.precision for r in loaded if r.repo_id == row.repo_id),
            )
            for row in self._shelf.rows()
        )

    def _title(self, key: ModelKey, token: str | None) -> str:
        return SOMEBODYS if self.doctor.hides(key.checkpoint, token) else key.title

    def status(self, token: str | None = None) -> Status:
        """The machine and what is in its memory; what a visitor may not know of has no name."""
        device = memory.probe_device()
        return Status(
            device=device.name,
            memory_total_bytes=device.total_bytes,
            memory_free_bytes=device.free_bytes(),
            budget_bytes=self._source.budget(),
            loaded=tuple(
                replace(row, repo_id=SOMEBODYS, revision="")
                if self.doctor.hides(part, token)
                else row
                for part, row in self._registry.rows_by_checkpoint()
            ),
            queue=self._registry.requests(),
            cache_bytes=self._registry.cache_bytes(),
        )

    def turnover(self) -> Turnover:
        """How many models came into memory and were evicted so far."""
        return self._registry.turnover()

    def holds(self, repo_id: str) -> bool:
        """Whether a model is in memory, in any precision. Instant; needs no torch."""
        return any(row.repo_id == repo_id for row in self._registry.rows())

    def fits(
        self, row: Checkpoint, tokens: int = memory.CONVERSATION_TOKENS
    ) -> dict[str, PrecisionFit]:
        """For every precision: what it needs with a conversation of `tokens`, and whether the
        budget has that much, were nothing else loaded."""
        return memory.fits(row, self._source.budget(), tokens)

    @property
    def is_remote(self) -> bool:
        """Whether the models are on other servers."""
        return False

    def unfollowed(self, row: Checkpoint) -> tuple[str, ...]:
        """The controls that cannot be used with this checkpoint; here every one can."""
        return ()

    def attentions(self, row: Checkpoint) -> tuple[Attention, ...]:
        """What attention may be chosen for this checkpoint here, `auto` first."""
        return attention.offered(row, memory.probe_device().kind)

    def fit(
        self,
        row: Checkpoint,
        wanted: Precision,
        how: Attention = Attention.AUTO,
        token: str | None = None,
    ) -> Fit:
        """What loading a checkpoint would mean right now; nothing is loaded or evicted."""
        refused = "" if wanted is Precision.AUTO else precision.refusal(row, wanted)
        chosen, note = wanted, ""
        if not refused:
            chosen, note = self._choose(row, wanted)
        key = self._keys.key(row, chosen, how)
        room, loaded = self._registry.room(key), self._registry.holds(key)
        needed = memory.needs(row, chosen)
        weights = needed.weights_bytes
        fits = not refused and (not room.needed_bytes or room.fits)
        kv_bytes = needed.kv_bytes
        if key.base is not None and self._registry.holds(key.base):
            weights, kv_bytes = memory.adapter_bytes(row, chosen), 0  # the base has all the rest
        return Fit(
            precision=chosen,
            note=note,
            weights_bytes=weights,
            kv_bytes=kv_bytes,
            tokens=needed.tokens,
            budget_bytes=room.limit_bytes,
            taken_bytes=room.kept_bytes,
            loaded=loaded,
            fits=fits,
            evicts=tuple(self._title(k, token) for k in room.evict) if fits and not loaded else (),
            instead=() if fits else self._instead(row, chosen),
            reason=refused or ("" if fits else self._obstacle(row, chosen)),
        )

    def fit_together(self, wanted: Sequence[tuple[Checkpoint, Precision]]) -> bool:
        """Whether these can be in memory at the same time, once what is idle there has left.

        Args:
            wanted: no precision is `auto`.
        """
        room = self._registry.room(*(self._keys.key(row, chosen) for row, chosen in wanted))
        return not room.needed_bytes or room.fits

    def held_bytes(self, row: Checkpoint, chosen: Precision) -> int:
        """What the weights of a model in memory take there, those of an adapter's base with it."""
        parts = {part.repo_id for part in (row, row.base) if part is not None}
        held = {r.repo_id: r.nbytes for r in self._registry.rows() if r.precision == chosen}
        return sum(nbytes for repo_id, nbytes in held.items() if repo_id in parts)

    def load(
        self,
        model: str,
        precision_name: str = "auto",
        token: str | None = None,
        attention_name: str = "auto",
    ) -> Generator[LoadProgress]:
        """Bring a model into memory; the last item's phase is `ready`.

        Raises:
            GemmaSpaceError: unknown name, no access, too large, or the files are no good.
        """
        started = time.monotonic()
        wanted, how = precision.parse(precision_name), attention.parse(attention_name)
        yield LoadProgress(phase="access")
        row = self.find(model, token)
        with self.lease(row, wanted, token, how) as (lease, _):
            yield from lease.wait()
            nbytes = lease.model.nbytes
        seconds = time.monotonic() - started
        yield LoadProgress(phase="ready", done_bytes=nbytes, total_bytes=nbytes, seconds=seconds)

    def unload(self, model: str, precision_name: str = "auto", token: str | None = None) -> Status:
        """Give a model's memory back; `auto` means in every precision it is loaded in.

        Raises:
            InvalidRequestError: it is not loaded, or somebody is using it.
        """
        wanted = precision.parse(precision_name)
        repo_id = self.find(model, token).repo_id
        self._registry.unload(repo_id, None if wanted is Precision.AUTO else wanted)
        return self.status(token)

    @contextmanager
    def lease(
        self,
        row: Checkpoint,
        wanted: Precision,
        token: str | None,
        how: Attention = Attention.AUTO,
    ) -> Iterator[tuple[Lease, tuple[str, ...]]]:
        """Hold a model for one use, with notes about how it was chosen.

        Access comes first: what a visitor may not have is not even sized.

        Raises:
            AccessDeniedError: the Hub says no, or cannot be asked.
            PrecisionUnsupportedError: not offered in this precision or with this attention.
            ModelTooLargeError: it cannot fit.
        """
        self.require(row, token)
        chosen, note = self._choose(row, wanted)
        attention.require(row, how, chosen, memory.probe_device().kind)
        self._keys.require_branch(row.base or row, chosen, token)
        key = self._keys.key(row, chosen, how)
        with self._registry.lease(key, token) as lease:
            yield lease, (note,) if note else ()

    def tokenizer(self, row: Checkpoint, token: str | None) -> Any:
        """The tokenizer alone, once the visitor may have it."""
        self.require(row, token)
        base = row.base or row
        return self._source.tokenizer(base, self._access.require(base, token), token)

    def require(self, row: Checkpoint, token: str | None) -> None:
        """Refuse whoever may not use this model now; an adapter needs its base's access too.

        Raises:
            AccessDeniedError: the Hub says no, or cannot be asked.
        """
        for part in (row.base, row):
            if part is not None:
                self._access.require(part, token)

    def _choose(self, row: Checkpoint, wanted: Precision) -> tuple[Precision, str]:
        return precision.choose(row, wanted, lambda p: self._obstacle(row, p))

    def _obstacle(self, row: Checkpoint, chosen: Precision) -> str:
        """Why a precision cannot be loaded right now, one sentence; empty when it can."""
        room = self._registry.room(self._keys.key(row, chosen))
        if not room.needed_bytes or room.fits:
            return ""
        needed = memory.show_needs(memory.needs(row, chosen))
        return f"It needs {needed}; {self._registry.show_limit(room)}."

    def _instead(self, row: Checkpoint, refused: Precision) -> tuple[Precision, ...]:
        others = [p for p in precision.auto_order(row) if p is not refused]
        return tuple(p for p in others if not self._obstacle(row, p))
