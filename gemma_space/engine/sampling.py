"""From a row of logits to the next token, and to what was likely.

Knows the controls and transformers' order of them: penalties on the logits, then temperature,
top-k, top-p, min-p. Only the tokens that survive are ever sorted. Each request has a generator of
its own and draws one number per token, so that its text does not depend on its neighbours.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from gemma_space.chunks import ScoredToken, TokenScore
from gemma_space.types import SamplingParams

FIRST_LOOK = 256  # likeliest tokens to look at when only their sum decides how many there are


class Sampler:
    """Picks tokens for one request.

    Args:
        model: knows transformers' processors for it.
        prompt_ids: what the processors see as the prompt.
        params: the controls.
    """

    def __init__(self, model: Any, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        self._params = params
        self._generator = torch.Generator().manual_seed(params.seed)
        self._penalties, self._all = None, None
        penalized = params.repetition_penalty != 1.0 or params.no_repeat_ngram_size > 0
        typical = params.temperature > 0 and params.typical_p < 1.0
        if penalized or typical:
            found = _processors(model, prompt_ids, params, sampling=typical)
            self._penalties, self._all = (None, found) if typical else (found, None)

    @property
    def is_plain(self) -> bool:
        """Whether the likeliest token of the raw logits is the one."""
        return self._params.temperature == 0 and self._penalties is None

    def pick(self, logits: torch.Tensor, ids: Sequence[int]) -> int:
        """The next token.

        Args:
            logits: fp32, shape (vocabulary,).
            ids: prompt and reply so far.
        """
        if self._penalties is not None:
            logits = self._penalties(torch.tensor([ids], device=logits.device), logits[None])[0]
        if self._params.temperature == 0:
            return int(logits.argmax())
        if self._all is not None:
            scores = self._all(torch.tensor([ids], device=logits.device), logits[None])[0]
            tokens = scores.isfinite().nonzero()[:, 0]
            return self._draw(tokens, scores[tokens].softmax(-1))
        return self._draw(*_survivors(logits / self._params.temperature, self._params))

    def _draw(self, tokens: torch.Tensor, probabilities: torch.Tensor) -> int:
        """One number decides, whatever the count of candidates."""
        heights = probabilities.double().cumsum(-1).cpu()
        at = torch.rand(1, generator=self._generator, dtype=torch.float64) * heights[-1]
        index = min(int(torch.searchsorted(heights, at, right=True)), len(heights) - 1)
        return int(tokens[index])


def _survivors(logits: torch.Tensor, params: SamplingParams) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens that may come next, likeliest first where they are few, and their probabilities."""
    size = logits.shape[0]
    if params.top_k > 0:
        values, tokens = logits.topk(min(params.top_k, size))
        probabilities = values.softmax(-1)
    elif params.top_p < 1.0:
        values, tokens, probabilities = _nucleus(logits, params.top_p)
    elif params.min_p > 0:
        tokens = (logits >= logits.max() + _log(params.min_p)).nonzero()[:, 0]
        probabilities = logits[tokens].softmax(-1)
        return tokens, probabilities
    else:
        return torch.arange(size, device=logits.device), logits.softmax(-1)
    if params.top_p < 1.0:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities[: max(1, int((before < params.top_p).sum()))]
    if params.min_p > 0:
        count = int((probabilities >= params.min_p * probabilities[0]).sum())
        probabilities = probabilities[: max(1, count)]
    return tokens[: len(probabilities)], probabilities


def _nucleus(logits: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The likeliest tokens that have `top_p` together, with their share of all."""
    total, count = logits.logsumexp(-1), FIRST_LOOK
    while True:
        values, tokens = logits.topk(min(count, logits.shape[0]))
        probabilities = (values - total).exp()
        if len(tokens) == logits.shape[0] or float(probabilities.sum()) >= top_p:
            return values, tokens, probabilities
        count *= 8


def _log(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).log())


def scores(logits: torch.Tensor, token_ids: Sequence[int], top: int) -> tuple[ScoredToken, ...]:
    """What the raw logits say of tokens: log-probability, entropy and the `top` likeliest.

    Args:
        logits: fp32, shape (tokens, vocabulary), each row those the token was taken from.
    """
    logprobs = logits.log_softmax(-1)
    entropies = -(logprobs.exp() * logprobs).nan_to_num().sum(-1)
    chosen = logprobs.gather(-1, torch.tensor(token_ids, device=logits.device)[:, None])[:, 0]
    values, indices = logprobs.topk(min(top, logprobs.shape[-1]))
    rows = zip(token_ids, chosen.tolist(), entropies.tolist(), values.tolist(), indices.tolist(),
               strict=True)  # fmt: skip
    return tuple(
        ScoredToken(
            token_id=token_id,
            logprob=logprob,
            entropy=entropy,
            top=tuple(TokenScore(token_id=i, logprob=v) for v, i in zip(likely, ids, strict=True)),
        )
        for token_id, logprob, entropy, likely, ids in rows
    )


def _processors(
    model: Any, prompt_ids: Sequence[int], params: SamplingParams, sampling: bool
) -> Any:
    """transformers' logits processors for these controls, in its own order."""
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
    return model.generate(
        torch.tensor([prompt_ids], device=model.device),
        generation_config=GenerationConfig(**settings),
        custom_generate=_take_processors,
    )


def _take_processors(model: Any, input_ids: Any, *, logits_processor: Any, **_: Any) -> Any:
    """A decoding method for `generate` that decodes nothing and hands back the processors."""
    return logits_processor
