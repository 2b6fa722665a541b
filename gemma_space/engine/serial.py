"""One request at a time per model: prefill in chunks, then decode token by token.

Prompt ids in, `GenerationChunk`s out; it knows no text and no template. A request that waits,
prefills or decodes yields at every step, so that closing the iterator stops it within one step.
Logits processing is transformers' own, taken ready-made from `generate`.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from transformers import DynamicCache, GenerationConfig

from gemma_space import adapters, memory
from gemma_space.errors import GenerationError
from gemma_space.types import GenerationChunk, SamplingParams, TokenScore

log = logging.getLogger(__name__)
T = TypeVar("T")
PREFILL_TOKENS = {"cpu": 128, "cuda": 1024}  # of one chunk; a step must stay well under a second
WAIT_SECONDS = 0.02


class SerialEngine:
    """Generates with one model, for one caller after another.

    Args:
        model: a causal language model in evaluation mode.
        stop_ids: ids that end a reply.
    """

    def __init__(self, model: Any, stop_ids: frozenset[int]) -> None:
        self._model = model
        self._stop_ids = stop_ids
        self._line: deque[object] = deque()  # first come, first served; the first one runs

    @property
    def requests(self) -> int:
        """Requests running or waiting right now."""
        return len(self._line)

    def between_requests(self, change: Callable[[Any], T]) -> T:
        """Wait for this caller's turn, then let `change` do something to the model."""
        ticket = object()
        self._line.append(ticket)
        try:
            while self._line[0] is not ticket:
                time.sleep(WAIT_SECONDS)
            return change(self._model)
        finally:
            self._line.remove(ticket)

    def stream(
        self,
        prompt_ids: tuple[int, ...],
        params: SamplingParams,
        *,
        top: int = 0,
        adapter: str | None = None,
    ) -> Iterator[GenerationChunk]:
        """Continue `prompt_ids`.

        Args:
            prompt_ids: at least one id; with `max_new_tokens` no longer than the context.
            top: how many alternatives to report per token; 0 reports no scores.
            adapter: the attached adapter to compute with; None for the model alone.

        Yields:
            chunks without a token while waiting and prefilling, then one per token; the last
            has a `finish_reason`.

        Raises:
            GenerationError: the model failed or gave logits that are no numbers.
        """
        ticket = object()
        self._line.append(ticket)
        try:
            while self._line[0] is not ticket:
                yield GenerationChunk()
                time.sleep(WAIT_SECONDS)
            with _failures_in_words():
                adapters.activate(self._model, adapter)
                yield from self._generate(prompt_ids, params, top)
        finally:
            self._line.remove(ticket)

    def _generate(
        self, prompt_ids: tuple[int, ...], params: SamplingParams, top: int
    ) -> Iterator[GenerationChunk]:
        ids = torch.tensor([prompt_ids], device=self._model.device)
        cache = DynamicCache(config=self._model.config.get_text_config(decoder=True))
        process = self._processors(ids, params)
        generator = torch.Generator(device=self._model.device).manual_seed(params.seed)
        logits = yield from self._prefill(ids, cache)
        for count in range(1, params.max_new_tokens + 1):
            token_id = _pick(logits, ids, process, params, generator)
            ended = token_id in self._stop_ids and not params.ignore_eos
            reason = "stop" if ended else "length" if count == params.max_new_tokens else None
            score, likeliest = _scores(logits, token_id, top)
            yield GenerationChunk(
                token_id=token_id,
                finish_reason=reason,
                prompt_done_tokens=len(prompt_ids),
                score=score,
                top=likeliest,
            )
            if reason:
                return
            ids = torch.cat([ids, ids.new_tensor([[token_id]])], dim=1)
            logits = self._forward(ids[:, -1:], cache)

    def _prefill(
        self, ids: torch.Tensor, cache: DynamicCache
    ) -> Generator[GenerationChunk, None, torch.Tensor]:
        """Process the prompt in chunks, yielding between them; returns the last row of logits."""
        size = PREFILL_TOKENS.get(ids.device.type, PREFILL_TOKENS["cpu"])
        logits = torch.empty(0)
        for start in range(0, ids.shape[1], size):
            yield GenerationChunk(prompt_done_tokens=start)
            logits = self._forward(ids[:, start : start + size], cache)
        return logits

    @torch.inference_mode()
    def _forward(self, ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """One step of the model: logits of the last position, fp32, shape (1, vocabulary)."""
        out = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = out.logits[:, -1].float().to(ids.device)  # the last layers may be elsewhere
        if not math.isfinite(logits.max().item()):
            raise GenerationError(
                "The model's numbers overflowed and it cannot continue.",
                "Choose another precision, bf16 or fp32, for this model.",
            )
        return logits

    def _processors(self, ids: torch.Tensor, params: SamplingParams) -> Any:
        """transformers' logits processors for these controls, in its own order."""
        sampling = params.temperature > 0
        settings: dict[str, Any] = {
            "do_sample": sampling,
            "max_new_tokens": params.max_new_tokens,
            "repetition_penalty": params.repetition_penalty,
            "no_repeat_ngram_size": params.no_repeat_ngram_size,
            "pad_token_id": 0,
        }
        if sampling:
            settings |= {
                "temperature": params.temperature,
                "top_k": params.top_k,
                "top_p": max(params.top_p, 1e-6),  # 0 keeps the likeliest token, as it should
                "min_p": params.min_p or None,
                "typical_p": params.typical_p,
            }
        return self._model.generate(
            ids, generation_config=GenerationConfig(**settings), custom_generate=_take_processors
        )


@contextmanager
def _failures_in_words() -> Iterator[None]:
    """Turn what torch raises while generating into a sentence; the cache goes with the frames."""
    try:
        yield
        return
    except (RuntimeError, ValueError, IndexError, AssertionError, MemoryError) as error:
        if not memory.ran_out(error):
            log.exception("the model failed while generating")
            raise GenerationError(
                f"The model failed while generating ({type(error).__name__}).",
                "Try again or load it in another precision; the server's log has the details.",
            ) from error
    # Only now are the error and the frames gone that held the cache.
    memory.give_back()
    raise GenerationError(
        "The device ran out of memory while generating.",
        "Shorten the conversation, lower max_new_tokens, or choose a smaller model.",
    )


def _take_processors(model: Any, input_ids: Any, *, logits_processor: Any, **_: Any) -> Any:
    """A decoding method for `generate` that decodes nothing and hands back the processors."""
    return logits_processor


def _pick(
    logits: torch.Tensor,
    ids: torch.Tensor,
    process: Any,
    params: SamplingParams,
    generator: torch.Generator,
) -> int:
    scores = process(ids, logits.clone())
    if params.temperature == 0:
        return int(scores.argmax(-1))
    return int(torch.multinomial(scores.softmax(-1), 1, generator=generator))


def _scores(
    logits: torch.Tensor, token_id: int, top: int
) -> tuple[TokenScore | None, tuple[TokenScore, ...]]:
    """Natural-log probabilities from the raw logits: of the token, and of the `top` likeliest."""
    if not top:
        return None, ()
    logprobs = logits[0].log_softmax(-1)
    values, indices = logprobs.topk(min(top, logprobs.shape[0]))
    likeliest = tuple(
        TokenScore(token_id=int(i), logprob=float(v)) for v, i in zip(values, indices, strict=True)
    )
    return TokenScore(token_id=token_id, logprob=float(logprobs[token_id])), likeliest
