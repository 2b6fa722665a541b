"""What an engine does in one step: a chunk of one prompt, then one token for every reply.

Knows the model, its requests and the order of things. Has no thread: whoever calls `step` decides
where it runs. A failure ends the request it belongs to and nobody else's.
"""

import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from gemma_space import adapters, memory
from gemma_space.engine.joined import Batch, Recording
from gemma_space.engine.kv import RowsCache
from gemma_space.engine.prefix_cache import PrefixCache
from gemma_space.engine.request import Request
from gemma_space.engine.sampling import Sampler
from gemma_space.errors import GemmaSpaceError, GenerationError

log = logging.getLogger(__name__)
PREFILL_TOKENS = {"cpu": 128, "cuda": 1024}  # of one chunk; a step must stay well under a second
SCORE_TOKENS = {"cpu": 64, "cuda": 256}  # of one chunk whose logits are all wanted
MAX_ROWS = {"cpu": 8, "cuda": 32}
OVERFLOWED = (  # words: each request gets an error of its own
    "The model's numbers overflowed and it cannot continue.",
    "Choose another precision, bf16 or fp32, for this model.",
)


class Steps:
    """The requests of one model.

    Args:
        model: a causal language model in evaluation mode.
        stop_ids: ids that end a reply.
        kept: caches of conversations between their turns.
        recording: of the model's steps; None for what its device has.
    """

    def __init__(
        self,
        model: Any,
        stop_ids: frozenset[int],
        kept: PrefixCache[RowsCache],
        recording: Recording | None = None,
    ) -> None:
        self._model = model
        self._recording = recording or Recording(model)
        self._stop_ids = stop_ids
        self._kept = kept
        self.waiting: deque[Request] = deque()
        self._prefilling: deque[Request] = deque()
        self._batches: dict[str | None, Batch] = {}
        kind = model.device.type
        self._chunk = PREFILL_TOKENS.get(kind, PREFILL_TOKENS["cpu"])
        self._scored_chunk = SCORE_TOKENS.get(kind, SCORE_TOKENS["cpu"])
        self._most = MAX_ROWS.get(kind, MAX_ROWS["cpu"])

    def running(self) -> Iterator[Request]:
        """Requests that have a place."""
        yield from self._prefilling
        for batch in self._batches.values():
            yield from batch.rows

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.waiting) or any(True for _ in self.running())

    @torch.inference_mode()
    def step(self) -> None:
        """Drop who left, admit who waits, one chunk of a prompt, one token for every reply."""
        self.drop_cancelled()
        self._admit()
        if self._prefilling:
            self._prefill(self._prefilling[0])
            self._prefilling.rotate(-1)
        for adapter, batch in list(self._batches.items()):
            if batch.rows:
                self._decode(adapter, batch)
            else:
                del self._batches[adapter]

    def abandon(self, words: tuple[str, str]) -> None:
        """End everything with a reason, and let go of what it held."""
        for request in [*self.running(), *self.waiting]:
            request.fail(GenerationError(*words))
        self.waiting.clear()
        self._prefilling.clear()
        self._batches.clear()

    # --- coming and going -----------------------------------------------------------------------

    def drop_cancelled(self) -> None:
        """Free the places of those whom nobody listens to any more."""
        for request in [r for r in list(self.waiting) if r.cancelled]:  # it may grow
            self.waiting.remove(request)
        for request in [r for r in self._prefilling if r.cancelled]:
            self._prefilling.remove(request)
            self._keep(request)
        for batch in self._batches.values():
            for request in [r for r in batch.rows if r.cancelled]:
                self._leave(batch, request)

    def _admit(self) -> None:
        while self.waiting and sum(1 for _ in self.running()) < self._most:
            request = self.waiting.popleft()
            self._prefilling.append(request)  # at once: a request is always somewhere
            try:
                self._begin(request)
            except Exception as error:
                self._prefilling.pop()
                request.fail(_in_words(error))

    def _begin(self, request: Request) -> None:
        size = self._model.config.get_text_config().vocab_size
        if not request.ids or not all(0 <= token_id < size for token_id in request.ids):
            raise GenerationError(
                "The prompt has tokens that this model does not know.", "Send it as text."
            )
        # Of what was computed before, only the logits of the last token could be had again.
        found = None if request.scores_prompt else self._kept.take(request.ids, request.adapter)
        request.cache, request.cached = found or (RowsCache(self._model.config), 0)
        request.cache.mark()
        request.done = request.cached
        request.cache.expect(len(request.ids) + min(request.params.max_new_tokens, 256))
        if not request.scores_prompt:
            request.sampler = Sampler(self._model, request.ids, request.params)
        request.begin()

    def _leave(self, batch: Batch, request: Request) -> None:
        try:
            batch.leave(request)
        except RuntimeError as error:  # no memory for a copy: it goes without
            log.warning("a finished reply's cache was dropped (%s)", type(error).__name__)
            return
        self._keep(request)

    def _keep(self, request: Request) -> None:
        if request.cache is not None and request.done and not request.failed:
            self._kept.put(request.ids[: request.done], request.cache.fitted(), request.adapter)
        request.cache = None

    # --- computing ------------------------------------------------------------------------------

    def _prefill(self, request: Request) -> None:
        try:
            if request.is_late:
                request.stop_late()
            elif request.scores_prompt:
                self._score(request)
            else:
                self._read(request)
        except Exception as error:
            request.fail(_in_words(error))
        if request.ended:
            self._prefilling.remove(request)
            self._keep(request)
        elif request.written:
            self._join(request)

    def _read(self, request: Request) -> None:
        """The next chunk of a prompt, and after the last one the reply's first token."""
        chunk = request.ids[request.done : request.done + self._chunk]
        logits = self._forward(request, chunk, logits_to_keep=1)
        request.done += len(chunk)
        if request.done < len(request.ids):
            request.report()
            return
        assert request.cache is not None
        request.cache.mark(since=1)  # its last id is computed again for the same prompt
        self._write([request], logits[0, -1:])

    def _score(self, request: Request) -> None:
        """The next chunk of a prompt whose tokens are scored; nothing comes after its last one."""
        end = min(request.done + self._scored_chunk, len(request.ids) - 1)
        chunk = request.ids[request.done : end]
        if not chunk:
            raise GenerationError("The text has no token to score.", "Write a longer one.")
        logits = self._forward(request, chunk, logits_to_keep=len(chunk))[0]
        if not logits.isfinite().any(-1).all():
            raise GenerationError(*OVERFLOWED)
        request.score(logits)

    def _forward(self, request: Request, ids: list[int], logits_to_keep: int) -> torch.Tensor:
        adapters.activate(self._model, request.adapter)
        out = self._model(
            input_ids=torch.tensor([ids], device=self._model.device),
            past_key_values=request.cache, use_cache=True, logits_to_keep=logits_to_keep,
        )  # fmt: skip
        return out.logits.float().to(self._model.device)

    def _join(self, request: Request) -> None:
        try:
            self._batch_of(request.adapter).join(request)
        except Exception as error:
            request.fail(_in_words(error))
        self._prefilling.remove(request)

    def _batch_of(self, adapter: str | None) -> Batch:
        if adapter not in self._batches:
            self._batches[adapter] = Batch(self._model, self._recording)
        return self._batches[adapter]

    def _decode(self, adapter: str | None, batch: Batch) -> None:
        try:
            adapters.activate(self._model, adapter)
            self._write(list(batch.rows), batch.forward())
        except Exception as error:
            self._one_by_one(batch, error)
        for request in [row for row in batch.rows if row.ended]:
            self._leave(batch, request)

    def _one_by_one(self, batch: Batch, error: Exception) -> None:
        """Find out whose fault a failure was: everybody's step alone."""
        if len(batch.rows) == 1:
            (request,) = batch.rows
            batch.rows.clear()
            request.fail(_in_words(error))
            return
        log.warning("a step of %d replies failed (%s)", len(batch.rows), type(error).__name__)
        for request in list(batch.rows):
            alone = Batch(self._model)
            try:
                batch.leave(request)
                alone.join(request)
                self._write([request], alone.forward())
                alone.leave(request)
                batch.join(request)
            except BaseException as its_own:  # it is in no batch: nobody else would tell it
                request.fail(_in_words(its_own))
                if not isinstance(its_own, Exception):
                    raise

    def _write(self, rows: list[Request], logits: torch.Tensor) -> None:
        highest, likeliest = logits.max(-1)
        good, best = highest.isfinite().tolist(), likeliest.tolist()
        for index, request in enumerate(rows):
            if not good[index]:
                request.fail(GenerationError(*OVERFLOWED))
                continue
            try:
                request.write(logits[index], best[index], self._stop_ids)
            except Exception as error:
                request.fail(_in_words(error))


def _in_words(error: BaseException) -> GemmaSpaceError:
    """What torch raises while generating, as a sentence."""
    if isinstance(error, GemmaSpaceError):
        return error
    if memory.ran_out(error):
        error.__traceback__ = None  # its frames hold what must go
        memory.give_back()
        return GenerationError(
            "The device ran out of memory while generating.",
            "Shorten the conversation, lower max_new_tokens, or choose a smaller model.",
        )
    log.error("the model failed while generating", exc_info=error)
    words = GenerationError(
        f"The model failed while generating ({type(error).__name__}).",
        "Try again or load it in another precision; the server's log has the details.",
    )
    words.__cause__ = error.with_traceback(None)
    return words
