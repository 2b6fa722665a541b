"""From a row and a visitor to a model: which files, which precision, how it gets into memory.

Knows the order (access, precision, files, loader). Does not know what is in memory already; the
registry calls `load` when something is missing there.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gemma_space import catalog, hub, local_checkpoint, memory, precision
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.registry import ModelKey, Report, ServedModel
from gemma_space.settings import Settings
from gemma_space.types import Precision


class ModelSource:
    """Brings models here.

    Args:
        access: decides who may use what.
        settings: the deployer's choices; only the memory budget is used.
    """

    def __init__(self, access: Access, settings: Settings) -> None:
        self._access = access
        self._settings = settings
        self._tokenizers: dict[tuple[str, str], Any] = {}

    def budget(self) -> int:
        """Bytes that loaded weights may take together."""
        if self._settings.memory_budget is not None:
            return int(self._settings.memory_budget)
        return int(memory.probe_device().total_bytes * memory.BUDGET_SHARE)

    def key(
        self, row: Checkpoint, wanted: Precision, token: str | None
    ) -> tuple[ModelKey, tuple[str, ...]]:
        """What to lease for this visitor, and notes about a choice they would not expect.

        Access comes first: what a visitor may not have is not even sized.

        Raises:
            AccessDeniedError: the Hub says no, or cannot be asked.
            PrecisionUnsupportedError: this checkpoint is not offered in this precision.
        """
        revision = self._require(row, token)
        chosen, note = precision.choose(row, wanted, memory.fits(row, self.budget()))
        key = ModelKey(checkpoint=row, revision=revision, precision=chosen)
        return key, (note,) if note else ()

    def _require(self, row: Checkpoint, token: str | None) -> str:
        """The revision to use, once the visitor may; an adapter is as open as its base."""
        return self._access.require(row.base or row, token)

    def token_for(self, token: str | None) -> str | None:
        """The token that downloads for this visitor."""
        return self._access.token_for(token)

    def load(
        self, key: ModelKey, token: str | None, report: Report, cancelled: Callable[[], bool]
    ) -> ServedModel:
        """Download what is missing and load it; the registry's `Loader`."""
        # Seconds of imports, so not before the page is served.
        from gemma_space import loading
        from gemma_space.engine.serial import SerialEngine

        row = key.checkpoint.base or key.checkpoint  # an adapter's weights are mostly its base's
        folder = row.path or hub.download(
            row.repo_id, key.revision, token, lambda d, t: report("download", d, t), cancelled
        )
        loaded = loading.load(
            row,
            folder,
            key.precision,
            memory.probe_device().kind,
            lambda d, t: report("load", d, t),
            cancelled,
        )
        if key.checkpoint.base is not None and key.checkpoint.path is not None:
            loaded = loading.with_adapter(loaded, key.checkpoint.path)
        return ServedModel(
            key=key,
            engine=SerialEngine(loaded.model, loaded.stop_ids),
            tokenizer=loaded.tokenizer,
            nbytes=loaded.nbytes,
        )

    def tokenizer(self, row: Checkpoint, token: str | None) -> Any:
        """The tokenizer alone: looking at tokens needs no weights in memory."""
        revision = self._require(row, token)
        row = row.base or row
        kept = self._tokenizers.get((row.repo_id, revision))
        if kept is None:
            from gemma_space import loading  # imports transformers

            folder = row.path or hub.download_tokenizer(
                row.repo_id, revision, self.token_for(token)
            )
            kept = self._tokenizers[(row.repo_id, revision)] = loading.load_tokenizer(folder)
        return kept


def served_checkpoints(names: Sequence[str]) -> tuple[Checkpoint, ...]:
    """The rows for an allow-list of repo ids and folders; the whole catalogue for none.

    Raises:
        ModelNotFoundError: a name is neither in the catalogue nor a folder with a Gemma.
    """
    known = {row.repo_id: row for row in (local_checkpoint.demo(), *catalog.hub_catalog())}
    if not names:
        return tuple(known.values())
    return tuple(known.get(name) or _folder_row(name, known) for name in names)


def _folder_row(name: str, known: Mapping[str, Checkpoint]) -> Checkpoint:
    base_name = local_checkpoint.base_of_adapter(Path(name))
    if not base_name:
        return local_checkpoint.local_checkpoint(Path(name), repo_id=name)
    base = known.get(base_name) or local_checkpoint.local_checkpoint(Path(base_name))
    return local_checkpoint.adapter_checkpoint(Path(name), base, repo_id=name)
