"""The engine: one worker per loaded model, all its replies written together.

Prompt ids in, `GenerationChunk`s out; it knows no text and no template. The worker is there only
while there is work. What happens in a step is in `steps`.
"""

import atexit
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from gemma_space.chunks import GenerationChunk
from gemma_space.engine.kv import RowsCache
from gemma_space.engine.prefix_cache import PrefixCache
from gemma_space.engine.request import Look, Request
from gemma_space.engine.steps import Steps
from gemma_space.errors import GemmaSpaceError
from gemma_space.types import SamplingParams

log = logging.getLogger(__name__)
T = TypeVar("T")
WAIT_SECONDS = 0.05
_NOTHING = SamplingParams(
    max_new_tokens=0, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, typical_p=1.0,
    repetition_penalty=1.0, no_repeat_ngram_size=0, seed=0,
)  # fmt: skip
END_SECONDS = 2.0
DIED = (
    "The worker of this model stopped unexpectedly.",
    "Send it again; the worker starts anew.",
)


class BatchEngine:
    """Generates with one model, for all callers at once.

    Args:
        model: a causal language model in evaluation mode.
        stop_ids: ids that end a reply.
        cache_bytes: for conversations between their turns.
        inline: have those who wait take the steps, in their own threads: where a worker must not
            outlive a request, as in a process that forks.
    """

    def __init__(
        self,
        model: Any,
        stop_ids: frozenset[int],
        cache_bytes: int = 0,
        *,
        inline: bool = False,
    ) -> None:
        self._model = model
        self.kept: PrefixCache[RowsCache] = PrefixCache(cache_bytes)
        self._steps = Steps(model, stop_ids, self.kept)
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # held by whoever uses the model
        self._worker: threading.Thread | None = None
        self._callers = 0
        self._inline = inline
        self._ending = False
        _ENGINES.add(self)

    @property
    def requests(self) -> int:
        """Requests running or waiting right now."""
        return self._callers

    @property
    def cache_bytes(self) -> int:
        """What conversations keep between their turns."""
        return self.kept.nbytes

    def between_requests(self, change: Callable[[Any], T]) -> T:
        """Let `change` do something to the model between two steps."""
        with self._turn:
            return change(self._model)

    def stream(
        self,
        prompt_ids: tuple[int, ...],
        params: SamplingParams,
        *,
        top: int = 0,
        max_time: float | None = None,
        adapter: str | None = None,
    ) -> Generator[GenerationChunk]:
        """Continue `prompt_ids`.

        Args:
            prompt_ids: at least one id; with `max_new_tokens` no longer than the context.
            top: how many alternatives to report per token; 0 reports no scores.
            max_time: seconds it may take once it has a place among those running; None: any.
            adapter: the attached adapter to compute with; None for the model alone.

        Yields:
            chunks without a token while waiting and prefilling, then one per token; the last
            has a `finish_reason`. Closing it frees its place within one step.

        Raises:
            GenerationError: the model failed or gave logits that are no numbers.
        """
        return self._follow(Request(list(prompt_ids), params, top, adapter, max_time=max_time))

    def score(
        self,
        token_ids: tuple[int, ...],
        *,
        top: int = 0,
        max_time: float | None = None,
        adapter: str | None = None,
    ) -> Generator[GenerationChunk]:
        """How likely each of `token_ids` but the first is, after those before it.

        Yields:
            chunks with `prompt_scores`, in order; the last has `finish_reason` "stop", or
            "time_limit" where that came first.

        Raises:
            GenerationError: as `stream`, or there are fewer than two ids.
        """
        return self._follow(
            Request(list(token_ids), _NOTHING, top, adapter, scores_prompt=True, max_time=max_time)
        )

    def examine(
        self,
        token_ids: tuple[int, ...],
        look: Look,
        *,
        max_time: float | None = None,
        adapter: str | None = None,
    ) -> Generator[GenerationChunk]:
        """Have the logits after each of `token_ids` but the last looked at, chunk by chunk.

        Args:
            look: called between two steps, in whichever thread takes them, with how many ids
                come before the first row, and the rows as the model gave them, shape (tokens,
                vocabulary). What it raises ends this; it must not keep the rows.

        Yields:
            chunks that tell how far it is; the last as that of `score`.

        Raises:
            GenerationError: as `score`.
        """
        return self._follow(
            Request(list(token_ids), _NOTHING, 0, adapter, scores_prompt=True, look=look,
                    max_time=max_time)
        )  # fmt: skip

    def _follow(self, request: Request) -> Generator[GenerationChunk]:
        """Submit a request and yield what it is told; closing this frees its place."""
        self._count(1)
        try:
            self._submit(request)
            yield GenerationChunk()
            while True:
                if self._inline and request.told.empty():
                    self._step()
                try:
                    told = request.told.get(timeout=0.001 if self._inline else WAIT_SECONDS)
                except queue.Empty:
                    yield GenerationChunk(
                        prompt_done_tokens=request.done,
                        cached_tokens=request.cached,
                        place=self._steps.place_of(request),
                    )
                    continue
                if isinstance(told, GemmaSpaceError):
                    raise told
                yield told
                if told.finish_reason:
                    return
        finally:
            self._count(-1)
            request.cancelled = True
            if self._inline:  # nobody else takes the step that would free its place
                with self._turn:
                    self._steps.drop_cancelled()

    def _count(self, change: int) -> None:
        with self._lock:
            self._callers += change

    def _submit(self, request: Request) -> None:
        with self._lock:
            self._steps.waiting.append(request)
            if self._worker is None and not self._inline:
                self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
                _WORKERS.add(self._worker)
                self._worker.start()

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    if self._ending or not self._steps.has_work:
                        self._worker = None
                        return
                self._step()
        except BaseException:
            log.exception("an engine's worker died")
            with self._lock:
                self._worker = None
                self._steps.abandon(DIED)

    def _step(self) -> None:
        with self._turn:
            self._steps.step()

    def end(self) -> None:
        """Have the worker stop after the step at hand, whoever waits."""
        self._ending, worker = True, self._worker
        if worker is not None:
            worker.join(END_SECONDS)


_ENGINES: "weakref.WeakSet[BatchEngine]" = weakref.WeakSet()
_WORKERS: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()  # some outlive their engine


@atexit.register
def _end_all() -> None:
    """An interpreter that goes away under a thread in the middle of torch would abort.

    A worker that is through with its engine's work may still be the one to free its tensors.
    """
    for engine in list(_ENGINES):
        engine.end()
    for worker in list(_WORKERS):
        worker.join(END_SECONDS)
