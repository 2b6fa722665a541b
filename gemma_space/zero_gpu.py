"""An engine for Spaces on ZeroGPU, where a GPU comes with each request and goes with it.

Knows the `spaces` package: how a GPU is asked for, for how long, and what its refusals mean. The
process that serves the page holds no weights and never touches CUDA; it keeps the files in the
page cache, from which the process with the GPU loads them (`engine.borrowed`). Importing this
imports `spaces`, which must come before anything else starts CUDA and before the page is served.
"""

import math
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import spaces

from gemma_space import loading, memory
from gemma_space.chunks import GenerationChunk
from gemma_space.engine import borrowed
from gemma_space.engine.borrowed import AdapterFiles, Item, Job, Ready, Weights
from gemma_space.engine.pace import Pace, Stopwatch
from gemma_space.engine.request import Look
from gemma_space.errors import GemmaSpaceError, GenerationError
from gemma_space.following import LoadCancelledError
from gemma_space.gpu_refusals import refusals_in_words
from gemma_space.lease import ModelKey, Report, ServedModel
from gemma_space.reading import ReadAhead
from gemma_space.types import SamplingParams

LEAST_SECONDS = 20  # a cold start takes some, whatever is asked
SAFETY = 1.3  # how much longer than expected a request may take before the GPU is taken back
TICK_SECONDS = 0.1


def _seconds(job: Job) -> int:
    return math.ceil(job.seconds)


@spaces.GPU(duration=_seconds)
def on_gpu(job: Job) -> Generator[Item, None, None]:
    """Run a job where the GPU is; here, where there is no ZeroGPU."""
    yield from borrowed.run(job)


class ZeroGpuEngine:
    """Runs one model, a loan at a time; requests at once get a GPU each.

    Args:
        weights: which model.
        room_bytes: what models may take on a GPU together.
        limit_seconds: the most GPU time one request may ask for.
        adapter: computed with; None for the model alone.
    """

    def __init__(
        self,
        weights: Weights,
        room_bytes: int,
        limit_seconds: int,
        adapter: AdapterFiles | None = None,
    ) -> None:
        self.weights = weights
        self.pace = Pace()
        self._room_bytes = room_bytes
        self._limit_seconds = limit_seconds
        self._adapter = adapter
        self._lock = threading.Lock()
        self._callers = 0

    def with_adapter(self, adapter: AdapterFiles) -> "ZeroGpuEngine":
        """The same model, computed with an adapter."""
        return ZeroGpuEngine(self.weights, self._room_bytes, self._limit_seconds, adapter)

    @property
    def requests(self) -> int:
        """Requests running or waiting for a GPU right now."""
        return self._callers

    @property
    def cache_bytes(self) -> int:
        """Nothing is kept here; what a process with a GPU keeps, nobody else knows."""
        return 0

    def stream(
        self,
        prompt_ids: tuple[int, ...],
        params: SamplingParams,
        *,
        top: int = 0,
        max_time: float | None = None,
    ) -> Generator[GenerationChunk]:
        """As `BatchEngine.stream`; a reply that needs more time than it may have ends early.

        Raises:
            GpuUnavailableError: no GPU was given, or it was taken back.
            GemmaSpaceError: what loading or generating ended with.
        """
        return self._follow(prompt_ids, params, params.max_new_tokens, top, max_time)

    def score(
        self, token_ids: tuple[int, ...], *, top: int = 0, max_time: float | None = None
    ) -> Generator[GenerationChunk]:
        """As `BatchEngine.score`."""
        return self._follow(token_ids, None, 0, top, max_time)

    def examine(
        self, token_ids: tuple[int, ...], look: Look, *, max_time: float | None = None
    ) -> Generator[GenerationChunk]:
        """Not here: whole rows of logits do not leave the process that has the GPU.

        Raises:
            GenerationError: always.
        """
        raise GenerationError(
            "Precisions cannot be compared where the GPU comes and goes with each request.",
            "Run the app on your own machine, or on a Space with a GPU of its own.",
        )

    def _follow(
        self,
        ids: tuple[int, ...],
        params: SamplingParams | None,
        new_tokens: int,
        top: int,
        max_time: float | None,
    ) -> Generator[GenerationChunk]:
        job = Job(
            weights=self.weights, adapter=self._adapter, ids=ids, params=params, top=top,
            max_time=max_time, seconds=self.seconds(len(ids), new_tokens),
            room_bytes=self._room_bytes,
        )  # fmt: skip
        self._count(1)
        try:
            yield GenerationChunk()  # asking for a GPU can take a minute
            with refusals_in_words(job.seconds), closing(on_gpu(job)) as items:
                yield from self._told(items)
        finally:
            self._count(-1)

    def _told(self, items: Iterator[Item]) -> Generator[GenerationChunk]:
        watch = Stopwatch(self.pace)
        try:
            for item in items:
                if isinstance(item, GemmaSpaceError):
                    raise item
                if isinstance(item, Ready):
                    watch.ready(self.weights.weights_bytes, item.seconds)
                    continue
                watch.look(item)
                yield item
        finally:
            watch.end()

    def seconds(self, prompt_tokens: int, new_tokens: int) -> float:
        """GPU time to ask for: what earlier requests lead to expect, and some more."""
        expected = self.pace.expected(self.weights.weights_bytes, prompt_tokens, new_tokens)
        wanted = SAFETY * expected + borrowed.MARGIN_SECONDS
        return float(min(self._limit_seconds, max(LEAST_SECONDS, math.ceil(wanted))))

    def _count(self, change: int) -> None:
        with self._lock:
            self._callers += change


def serve(
    key: ModelKey,
    folder: Path,
    report: Report,
    cancelled: Callable[[], bool],
    *,
    room_bytes: int,
    limit_seconds: int,
) -> ServedModel:
    """What a lease of this model gets: its files at hand, its tokenizer, and no weights.

    Raises:
        LoadError: there is no tokenizer, or it cannot be read.
        LoadCancelledError: `cancelled` said so.
    """
    with loading.failures_in_words(key.title, "Its files may be damaged or incomplete."):
        tokenizer = loading.load_tokenizer(folder)
    ahead = ReadAhead(sorted(folder.glob("*.safetensors")))
    ahead.start()
    try:
        while not ahead.wait(TICK_SECONDS):
            report("load", ahead.done_bytes, ahead.total_bytes)
            if cancelled():
                raise LoadCancelledError
    finally:
        ahead.stop()
    needed = memory.needs(key.checkpoint, key.precision)
    weights = Weights(
        checkpoint=key.checkpoint, revision=key.revision, precision=key.precision,
        attention=key.attention, folder=folder, weights_bytes=needed.weights_bytes,
        kv_bytes=needed.kv_bytes,
    )  # fmt: skip
    engine = ZeroGpuEngine(weights, room_bytes, limit_seconds)
    return ServedModel(key=key, engine=engine, tokenizer=tokenizer, nbytes=needed.weights_bytes)


def serve_adapter(key: ModelKey, folder: Path, base: ServedModel) -> ServedModel:
    """What a lease of an adapter gets; it is attached where the GPU is."""
    assert isinstance(base.engine, ZeroGpuEngine)
    files = AdapterFiles(folder=folder, title=f"The adapter {key.checkpoint.title}")
    nbytes = memory.adapter_bytes(key.checkpoint, key.precision)
    return replace(base, key=key, engine=base.engine.with_adapter(files), nbytes=nbytes)
