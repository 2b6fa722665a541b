"""Requests as servers read them: controls, messages and prompts as the fields of a body.

Knows the ways servers take what OpenAI's API has no field for. Does not know whether they follow
it; that is in their `Ability`.
"""

import json
from collections.abc import Sequence
from typing import Any

from gemma_space import chat
from gemma_space.remote.ability import Ability
from gemma_space.types import ChatRequest, SamplingParams

MAX_STOP = 4  # of OpenAI's API; the others are found here
LEAST_TOP_P = 1e-4  # OpenAI's API has no 0; the likeliest token alone is left at either
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}


def sampling(params: SamplingParams, ability: Ability) -> dict[str, Any]:
    """All controls, those at rest too: a server has defaults of its own."""
    body: dict[str, Any] = {
        "max_tokens": params.max_new_tokens,
        "seed": params.seed,
        "stream_options": {"include_usage": True},
    }
    if params.stop:
        body["stop"] = list(params.stop[:MAX_STOP])
    usual = {"temperature": params.temperature, "top_p": max(params.top_p, LEAST_TOP_P)}
    more = {
        "top_k": params.top_k or ability.top_k_off,
        "min_p": params.min_p,
        "typical_p": params.typical_p,
        "repetition_penalty": params.repetition_penalty,
        "no_repeat_ngram_size": params.no_repeat_ngram_size,
    }
    if ability.dialect == "generation_config":
        return body | {"generation_config": _configuration(usual | more, params)}
    if params.ignore_eos:
        body["ignore_eos"] = True
    return body | usual | (more if ability.dialect == "fields" else {})


def _configuration(values: dict[str, Any], params: SamplingParams) -> str:
    """transformers' `GenerationConfig`, whose fields the names are taken from."""
    if params.temperature == 0:
        greedy = ("repetition_penalty", "no_repeat_ngram_size")
        return json.dumps({"do_sample": False, **{name: values[name] for name in greedy}})
    return json.dumps({"do_sample": True, **values, "min_p": params.min_p or None})


def conversation(request: ChatRequest) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Messages for a server that applies its own template, and what was changed in them.

    Raises:
        InvalidRequestError: nothing to answer.
    """
    turns, system, mended = chat.mend(request.messages, request.system_prompt)
    said = [{"role": turn.role, "content": turn.content} for turn in turns]
    if system:
        said.insert(0, {"role": "system", "content": system})
    if request.reply_prefix:
        said.append({"role": "assistant", "content": request.reply_prefix})
    return said, (chat.MENDED,) if mended else ()


def chat_body(request: ChatRequest, params: SamplingParams, ability: Ability) -> dict[str, Any]:
    """The fields of a chat beside its messages."""
    body = sampling(params, ability)
    if request.reply_prefix:
        body |= CONTINUE
    if request.thinking is not None and ability.thinks:
        body["chat_template_kwargs"] = {chat.THINKING: request.thinking}
    return body


def completion_body(
    prompt: str | Sequence[int], params: SamplingParams, ability: Ability, *,
    model: str, add_bos: bool = True, logprobs: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """A raw completion, model and prompt included."""
    body = sampling(params, ability) | {"model": model, "prompt": prompt}
    if logprobs and ability.scores:
        body["logprobs"] = logprobs
    if ability.takes_bos and isinstance(prompt, str):
        body["add_special_tokens"] = add_bos
    return body
