"""From a key to a model in memory: which files, onto which device, with which adapter.

Knows the order (files, place, loader, engine). Does not know what is in memory already; the
registry calls `load` when something is missing there.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cachetools import LRUCache

from gemma_space import memory, placement
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.downloads import DownloadCancelledError, Downloads
from gemma_space.errors import DownloadError, LoadError, SettingsError
from gemma_space.lease import ModelKey, Report, ServedModel
from gemma_space.settings import Settings

TOKENIZER_SECONDS = 120.0
KEPT_TOKENIZERS = 16  # of models looked at without their weights; no memory budget counts them


class ModelSource:
    """Brings models here.

    Args:
        access: decides who may use what.
        settings: the deployer's choices about memory.
    """

    def __init__(self, access: Access, settings: Settings) -> None:
        self._access = access
        self._settings = settings
        self._downloads = Downloads()
        self._zero_gpu = _zero_gpu() if settings.zero_gpu else None
        self._tokenizers: LRUCache[tuple[str, str], Any] = LRUCache(KEPT_TOKENIZERS)
        self._lock = threading.Lock()

    def budget(self) -> int:
        """Bytes that models may take together."""
        if self._settings.memory_budget is not None:
            return int(self._settings.memory_budget)
        return self._device_room() + self._cpu_room()

    def _device_room(self) -> int:
        """What may go to the GPUs, or to the machine's memory where there are none."""
        if self._settings.memory_budget is not None:
            return int(self._settings.memory_budget)
        return int(memory.probe_device().total_bytes * memory.BUDGET_SHARE)

    def free(self) -> int:
        """Bytes that are not in use right now where models go."""
        free = memory.probe_device().free_bytes()
        return free + memory.machine_free_bytes() if self._cpu_room() else free

    def _cpu_room(self) -> int:
        """What may go to the machine's memory beside GPUs, where the deployer allows it."""
        if not self._settings.cpu_offload or memory.probe_device().kind != "cuda":
            return 0
        return int(memory.machine_total_bytes() * memory.BUDGET_SHARE)

    def load(
        self,
        key: ModelKey,
        token: str | None,
        report: Report,
        cancelled: Callable[[], bool],
        base: ServedModel | None,
    ) -> ServedModel:
        """Download what is missing and load it; the registry's `Loader`."""
        repo_id = key.checkpoint.repo_id
        folder = key.checkpoint.path or self._downloads.bring(
            repo_id,
            key.revision,
            self._access.token_for(repo_id, token),
            lambda done_bytes, total_bytes, note="": report(
                "download", done_bytes, total_bytes, note
            ),
            cancelled,
        )
        if self._zero_gpu is not None:
            if base is not None:
                return self._zero_gpu.serve_adapter(key, folder, base)
            return self._zero_gpu.serve(
                key, folder, report, cancelled,
                room_bytes=self.budget(), limit_seconds=self._settings.gpu_seconds,
            )  # fmt: skip
        if base is not None:
            return _attached(key, folder, base)
        # Seconds of imports, so not before the page is served.
        from gemma_space import loading
        from gemma_space.engine.batch import BatchEngine

        loaded = loading.load(
            key.checkpoint,
            folder,
            key.precision,
            lambda done, total: report("load", done, total),
            cancelled,
            attention=key.attention,
            place=self._place(key),
        )
        return ServedModel(
            key=key,
            engine=BatchEngine(
                loaded.model,
                loaded.stop_ids,
                memory.needs(key.checkpoint, key.precision).kv_bytes,
            ),
            tokenizer=loaded.tokenizer,
            nbytes=loaded.nbytes,
            notes=placement.notes(getattr(loaded.model, "hf_device_map", None), key.title),
        )

    def _place(self, key: ModelKey) -> dict[str, Any]:
        device, cpu_room = memory.probe_device(), self._cpu_room()
        return placement.arguments(
            device,
            self._device_room(),
            cpu_room,
            needed_bytes=memory.needs(key.checkpoint, key.precision).total_bytes,
            free_bytes=device.gpu_free_bytes(),
        )

    def tokenizer(self, row: Checkpoint, revision: str, token: str | None) -> Any:
        """The tokenizer alone: looking at tokens needs no weights in memory."""
        key = (row.repo_id, revision)
        with self._lock:
            kept = self._tokenizers.get(key)
        if kept is None:
            from gemma_space import loading  # imports transformers

            kept = loading.load_tokenizer(row.path or self._small_files(row, revision, token))
            with self._lock:
                self._tokenizers[key] = kept
        return kept

    def _small_files(self, row: Checkpoint, revision: str, token: str | None) -> Path:
        try:
            return self._downloads.bring(
                row.repo_id,
                revision,
                self._access.token_for(row.repo_id, token),
                cancelled=_deadline(TOKENIZER_SECONDS),
                weights=False,
            )
        except DownloadCancelledError:
            raise DownloadError(
                f"The tokenizer of {row.title} did not come in time.",
                "Load the model first, which shows how far its files are.",
            ) from None


def _zero_gpu() -> Any:
    """Where a GPU comes with each request. Imported before the page is served, and before CUDA.

    Raises:
        SettingsError: the package that lends it is not there.
    """
    try:
        from gemma_space import zero_gpu
    except ModuleNotFoundError as error:
        if error.name != "spaces":
            raise
        raise SettingsError(
            "SPACES_ZERO_GPU is set, but the package spaces is not installed.",
            "Hugging Face installs it on a ZeroGPU Space; elsewhere, leave the variable out.",
        ) from None
    return zero_gpu


def _deadline(seconds: float) -> Callable[[], bool]:
    """Gives up for somebody who waits in a thread that others need too."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _attached(key: ModelKey, folder: Path, base: ServedModel) -> ServedModel:
    """An adapter on a base that others may be using: attached and taken off between requests."""
    from gemma_space import adapters
    from gemma_space.engine.adapted import AdaptedEngine
    from gemma_space.engine.batch import BatchEngine

    engine = base.engine
    if not isinstance(engine, BatchEngine):
        raise LoadError(
            f"{key.checkpoint.title} is an adapter, which this engine does not take.",
            "Choose the model that it was made for.",
        )
    title = f"The adapter {key.checkpoint.title}"
    name, nbytes = engine.between_requests(lambda model: adapters.attach(model, folder, title))

    adapted = AdaptedEngine(engine, name)

    def close() -> None:
        adapted.forget()
        # Whoever closes it must not wait for replies that the base is writing.
        threading.Thread(
            target=engine.between_requests,
            args=(lambda model: adapters.detach(model, name),),
            name="detach",
            daemon=True,
        ).start()

    return ServedModel(
        key=key,
        engine=adapted,
        tokenizer=base.tokenizer,
        nbytes=nbytes,
        notes=base.notes,
        close=close,
    )
