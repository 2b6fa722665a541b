"""Models on a GPU that is there for one request: what happens in the process that has it.

A process borrows the GPU, may be kept for later requests and may be gone at any time, and shares
nothing with whoever asks but what is pickled: a `Job` in, chunks out. So it loads what a job names
from its files and keeps that, in a table of its own, for the next job. Knows nothing of where the
GPU comes from; `zero_gpu` does.
"""

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch

from gemma_space import adapters, loading, memory
from gemma_space.catalog import Checkpoint
from gemma_space.chunks import GenerationChunk
from gemma_space.engine.batch import BatchEngine
from gemma_space.errors import GemmaSpaceError
from gemma_space.types import Attention, Precision, SamplingParams

TICK_SECONDS = 0.1
MARGIN_SECONDS = 2.0  # between the end of a reply and the end of the loan


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Which weights, where their files are, and how many bytes they and a conversation take."""

    checkpoint: Checkpoint
    revision: str
    precision: Precision
    attention: Attention
    folder: Path
    weights_bytes: int
    kv_bytes: int

    @property
    def nbytes(self) -> int:
        return self.weights_bytes + self.kv_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFiles:
    """An adapter by its folder, and what to call it in an error."""

    folder: Path
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request, whole.

    Attributes:
        params: None to score `ids` instead of continuing them.
        max_time: seconds the deployer allows; None for no limit.
        seconds: of GPU time asked for; the reply ends before they are over.
        room_bytes: what models may take on the GPU together.
    """

    weights: Weights
    adapter: AdapterFiles | None = None
    ids: tuple[int, ...]
    params: SamplingParams | None
    top: int = 0
    max_time: float | None = None
    seconds: float
    room_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The model is on the GPU, after so many seconds; 0 where it was there before."""

    seconds: float


Item = GenerationChunk | Ready | GemmaSpaceError  # an error travels as a value: raised, only its
# class's name would reach whoever asked


@dataclass(eq=False)
class _Resident:
    engine: BatchEngine
    attached: dict[Path, str]


_residents: dict[Weights, _Resident] = {}  # of this process; the most recently used is the last


def run(job: Job) -> Generator[Item, None, None]:
    """Do a job with the GPU at hand.

    Yields:
        an empty chunk before anything slow, so that whoever went away meanwhile is noticed; then
        empty ones while the model comes, a `Ready`, and what `BatchEngine` yields. A
        `GemmaSpaceError` is the last item where one ended it. Closing it stops a load too.
    """
    began = time.monotonic()
    yield GenerationChunk()
    try:
        resident = yield from _resident(job)
        yield Ready(seconds=time.monotonic() - began)
        left = max(0.0, began + job.seconds - MARGIN_SECONDS - time.monotonic())
        max_time = left if job.max_time is None else min(left, job.max_time)
        adapter = _attached(resident, job.adapter)
        if job.params is None:
            yield from resident.engine.score(
                job.ids, top=job.top, max_time=max_time, adapter=adapter
            )
        else:
            yield from resident.engine.stream(
                job.ids, job.params, top=job.top, max_time=max_time, adapter=adapter
            )
    except GemmaSpaceError as error:
        yield error.with_traceback(None)


def _resident(job: Job) -> Generator[GenerationChunk, None, _Resident]:
    """The job's model, loaded here unless it is there from an earlier job."""
    resident = _residents.pop(job.weights, None)
    if resident is None:
        _make_room(job.room_bytes - job.weights.nbytes)
        resident = yield from _loaded(job.weights)
    _residents[job.weights] = resident
    return resident


def _make_room(room_bytes: int) -> None:
    """Let the models go that were not used for longest, until the others fit."""
    gone = False
    while _residents and sum(weights.nbytes for weights in _residents) > room_bytes:
        del _residents[next(iter(_residents))]
        gone = True
    if gone:
        memory.give_back()


def _loaded(weights: Weights) -> Generator[GenerationChunk, None, _Resident]:
    """Load in a thread, so that a Stop meanwhile is heard.

    Raises:
        Exception: what the load ended with.
    """
    found: list[loading.LoadedModel] = []
    failed: list[Exception] = []
    gone = threading.Event()
    thread = threading.Thread(target=_load, args=(weights, found, failed, gone.is_set), daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(TICK_SECONDS)
            yield GenerationChunk()
    finally:
        gone.set()
        thread.join()
    if failed:
        raise failed[0]
    loaded = found.pop()
    engine = BatchEngine(loaded.model, loaded.stop_ids, weights.kv_bytes, inline=True)
    return _Resident(engine, {})


def _load(
    weights: Weights,
    found: list[loading.LoadedModel],
    failed: list[Exception],
    gone: Callable[[], bool],
) -> None:
    try:
        found.append(
            loading.load(
                weights.checkpoint, weights.folder, weights.precision, _untold, gone,
                attention=weights.attention,
                # Not `memory.probe_device`: a forked process has its parent's answer.
                place={"device_map": {"": "cuda" if torch.cuda.is_available() else "cpu"}},
            )
        )  # fmt: skip
    except Exception as error:
        failed.append(error)


def _untold(done_bytes: int, total_bytes: int) -> None:
    """Progress of a load from the page cache is not worth a message to another process."""


def _attached(resident: _Resident, wanted: AdapterFiles | None) -> str | None:
    """The name of the wanted adapter on this model."""
    if wanted is None:
        return None
    name = resident.attached.get(wanted.folder)
    if name is None:
        name, _ = resident.engine.between_requests(
            lambda model: adapters.attach(model, wanted.folder, wanted.title)
        )
        resident.attached[wanted.folder] = name
    return name
