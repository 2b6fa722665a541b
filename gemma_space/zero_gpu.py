"""An engine for Spaces on ZeroGPU, where a GPU comes with each request and goes with it.

Knows the `spaces` package: how a GPU is asked for, for how long, and what its refusals mean. The
process that serves the page holds no weights and never touches CUDA; it keeps the files in the
page cache, from which the process with the GPU loads them (`engine.borrowed`). Importing this
imports `spaces`, which must come before anything else starts CUDA and before the page is served.
"""

import math
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import spaces

from gemma_space import loading, memory
from gemma_space.engine import borrowed
from gemma_space.engine.borrowed import AdapterFiles, Item, Job, Ready, Weights
from gemma_space.errors import GemmaSpaceError, GpuUnavailableError
from gemma_space.following import LoadCancelledError
from gemma_space.lease import ModelKey, Report, ServedModel
from gemma_space.reading import ReadAhead
from gemma_space.types import GenerationChunk, SamplingParams

LEAST_SECONDS = 10
SAFETY = 1.3  # how much longer than expected a request may take before the GPU is taken back
SHARE = 0.3  # of the newest measurement in what is expected next
TICK_SECONDS = 0.1


class Pace:
    """How fast earlier requests of one model went; before the first, a cautious guess.

    Attributes:
        load: bytes per second from the files to the GPU.
        read: prompt tokens per second.
        write: new tokens per second.
    """

    def __init__(self) -> None:
        self.load = 1.0 * 2**30
        self.read = 1000.0
        self.write = 15.0
        self._seen: set[str] = set()

    def expected(self, nbytes: int, prompt_tokens: int, new_tokens: int) -> float:
        """Seconds, with a load: whether a process has the model already is not known before."""
        return nbytes / self.load + prompt_tokens / self.read + new_tokens / self.write

    def note(self, what: str, count: int, seconds: float) -> None:
        """Learn from `count` bytes or tokens that took `seconds`."""
        if count <= 0 or seconds <= 0:
            return
        share = SHARE if what in self._seen else 1.0
        self._seen.add(what)
        setattr(self, what, (1 - share) * getattr(self, what) + share * count / seconds)


class Stopwatch:
    """Follows one request's chunks and tells its pace."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._clock = clock
        self._began = clock()
        self._first: float | None = None
        self._last = self._began
        self._read = 0
        self._written = 0

    def ready(self, nbytes: int, seconds: float) -> None:
        """The model is there."""
        if seconds > TICK_SECONDS:  # else it was there before, which says nothing of a load
            self._pace.note("load", nbytes, seconds)
        self._began = self._clock()

    def look(self, chunk: GenerationChunk) -> None:
        """Take a chunk."""
        now = self._clock()
        self._read = chunk.prompt_done_tokens - chunk.cached_tokens
        if chunk.token_id is not None:
            self._written += 1
            self._first = self._first or now
        self._last = now

    def end(self) -> None:
        """Tell how fast it went; one that was stopped counts as far as it came."""
        read_until = self._first or self._last
        self._pace.note("read", self._read, read_until - self._began)
        if self._first is not None:
            self._pace.note("write", self._written - 1, self._last - self._first)


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
    ) -> Iterator[GenerationChunk]:
        """As `BatchEngine.stream`; a reply that needs more time than it may have ends early.

        Raises:
            GpuUnavailableError: no GPU was given, or it was taken back.
            GemmaSpaceError: what loading or generating ended with.
        """
        return self._follow(prompt_ids, params, params.max_new_tokens, top, max_time)

    def score(
        self, token_ids: tuple[int, ...], *, top: int = 0, max_time: float | None = None
    ) -> Iterator[GenerationChunk]:
        """As `BatchEngine.score`."""
        return self._follow(token_ids, None, 0, top, max_time)

    def _follow(
        self,
        ids: tuple[int, ...],
        params: SamplingParams | None,
        new_tokens: int,
        top: int,
        max_time: float | None,
    ) -> Iterator[GenerationChunk]:
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

    def _told(self, items: Iterator[Item]) -> Iterator[GenerationChunk]:
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


# --- refusals -----------------------------------------------------------------------------------

TRY_AGAIN = "Try again in a moment."
_WAIT = re.compile(r"Try again in ((?:\d+ days?, )?[\d:]+)")


@contextmanager
def refusals_in_words(seconds: float) -> Iterator[None]:
    """Turn what `spaces` raises into sentences with a next step.

    It raises `gr.Error`s, which are told apart by their titles.

    Args:
        seconds: of GPU time that were asked for.
    """
    try:
        yield
    except GemmaSpaceError:
        raise
    except Exception as error:
        title = str(getattr(error, "title", ""))
        if not title.startswith("ZeroGPU"):
            raise
        message, hint = _words(title.removeprefix("ZeroGPU "), str(error), round(seconds))
        raise GpuUnavailableError(message, hint) from None


def _words(refusal: str, text: str, seconds: int) -> tuple[str, str]:
    """Message and hint for one of the package's refusals; `text` is its own sentence."""
    match refusal:
        case "quota exceeded" if (wait := _WAIT.search(text)) is not None:
            return (
                f"This reply asks for up to {seconds} s of GPU time, more than is left for you.",
                f"Lower max new tokens, sign in for more time, or try again in {wait[1]}.",
            )
        case "quota exceeded":
            return (
                "The GPU time that this Space has for you is used up.",
                "Sign in with Hugging Face, or try again later.",
            )
        case "illegal duration":
            return (
                f"This reply asks for up to {seconds} s of GPU time, more than is given at once.",
                "Lower max new tokens or shorten the conversation.",
            )
        case "queue timeout":
            return (
                "No GPU became free within a minute.",
                "Try again; who is signed in waits less.",
            )
        case "pending credits exceeded":
            return (
                "Your other requests hold all the GPU time you have.",
                "Wait for one of them to end, or stop it.",
            )
        case "worker error" if "aborted" in text:
            return (
                "The GPU was taken back before the reply was done.",
                "Continue the reply, or lower max new tokens.",
            )
        case "worker error":
            return (
                f"The process with the GPU failed ({text}).",
                "Try again; the server's log has the details.",
            )
        case _:
            return "No GPU could be had.", TRY_AGAIN
