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
from gemma_space.engine.kv import RowsCache
from gemma_space.engine.prefix_cache import PrefixCache
from gemma_space.engine.request import Request
from gemma_space.engine.sampling import Sampler
from gemma_space.errors import GemmaSpaceError, GenerationError

log = logging.getLogger(__name__)
PREFILL_TOKENS = {"cpu": 128, "cuda": 1024}  # of one chunk; a step must stay well under a second
MAX_ROWS = {"cpu": 8, "cuda": 32}
OVERFLOWED = (  # words: each request gets an error of its own
    "The model's numbers overflowed and it cannot continue.",
    "Choose another precision, bf16 or fp32, for this model.",
)


class Batch:
    """Replies that are written together, with one adapter or none."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.rows: list[Request] = []
        self._cache = RowsCache(model.config)

    def join(self, request: Request) -> None:
        """Take a request in; its cache becomes a row."""
        assert request.cache is not None
        if not self.rows:
            self._cache, request.cache = request.cache, None
        else:
            self._cache.add(request.cache)
            request.cache = None
        self.rows.append(request)

    def leave(self, request: Request) -> None:
        """Give a request its own cache back; it is gone even where there is no memory for that."""
        index = self.rows.index(request)
        if len(self.rows) == 1 and not self._cache.spare_rows:
            request.cache, self._cache = self._cache, RowsCache(self._model.config)
            self.rows.clear()
            return
        alone = RowsCache(self._model.config)
        try:
            request.cache = self._cache.copy(index, alone, request.done, request.written)
        finally:
            self._cache.drop(index)
            self.rows[index] = self.rows[-1]
            self.rows.pop()
            self._trim()

    def _trim(self) -> None:
        if not self.rows:
            self._cache = RowsCache(self._model.config)
            return
        longest = max(row.done for row in self.rows)
        self._cache.trim(longest, max(row.written for row in self.rows))

    def forward(self) -> torch.Tensor:
        """The logits after the last token of each row, fp32, shape (rows, vocabulary).

        A failure leaves the cache as it was.
        """
        device, before = self._model.device, self._cache.length
        last = torch.tensor([[row.ids[-1]] for row in self.rows], device=device)
        more: dict[str, Any] = {}
        if len(self.rows) > 1:
            more["position_ids"] = torch.tensor([[row.done] for row in self.rows], device=device)
            if any(row.done < before for row in self.rows):
                columns = torch.arange(before + 1, device=device)
                gaps = torch.tensor([[before - row.done] for row in self.rows], device=device)
                more["attention_mask"] = (columns >= gaps).long()
        try:
            out = self._model(
                input_ids=last,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
                **more,
            )
        except BaseException:
            self._cache.back_to(before)
            raise
        for layer in self._cache.own:
            layer.since += 1
        for row in self.rows:
            row.done += 1
        return out.logits[:, -1].float().to(device)  # the last layers may be elsewhere


class Steps:
    """The requests of one model.

    Args:
        model: a causal language model in evaluation mode.
        stop_ids: ids that end a reply.
        kept: caches of conversations between their turns.
    """

    def __init__(self, model: Any, stop_ids: frozenset[int], kept: PrefixCache[RowsCache]) -> None:
        self._model = model
        self._stop_ids = stop_ids
        self._kept = kept
        self.waiting: deque[Request] = deque()
        self._prefilling: deque[Request] = deque()
        self._batches: dict[str | None, Batch] = {}
        kind = model.device.type
        self._chunk = PREFILL_TOKENS.get(kind, PREFILL_TOKENS["cpu"])
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
        found = self._kept.take(request.ids, request.adapter)
        request.cache, request.cached = found or (RowsCache(self._model.config), 0)
        request.cache.mark()
        request.done = request.cached
        request.cache.expect(len(request.ids) + min(request.params.max_new_tokens, 256))
        request.sampler = Sampler(self._model, request.ids, request.params)

    def _leave(self, batch: Batch, request: Request) -> None:
        try:
            batch.leave(request)
        except RuntimeError as error:  # no memory for a copy: it goes without
            log.warning("a finished reply's cache was dropped (%s)", type(error).__name__)
            return
        self._keep(request)

    def _keep(self, request: Request) -> None:
        if request.cache is not None and request.done and not request.failed:
            self._kept.put(request.ids[: request.done], request.cache, request.adapter)
        request.cache = None

    # --- computing ------------------------------------------------------------------------------

    def _prefill(self, request: Request) -> None:
        assert request.cache is not None
        chunk = request.ids[request.done : request.done + self._chunk]
        try:
            adapters.activate(self._model, request.adapter)
            out = self._model(
                input_ids=torch.tensor([chunk], device=self._model.device),
                past_key_values=request.cache, use_cache=True, logits_to_keep=1,
            )  # fmt: skip
            request.done += len(chunk)
            if request.done < len(request.ids):
                request.report()
                return
            request.cache.mark(since=1)  # its last id is computed again for the same prompt
            self._write([request], out.logits[:, -1].float().to(self._model.device))
        except Exception as error:
            request.fail(_in_words(error))
        if request.ended:
            self._prefilling.remove(request)
            self._keep(request)
        else:
            self._join(request)

    def _join(self, request: Request) -> None:
        try:
            self._batches.setdefault(request.adapter, Batch(self._model)).join(request)
        except Exception as error:
            request.fail(_in_words(error))
        self._prefilling.remove(request)

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
