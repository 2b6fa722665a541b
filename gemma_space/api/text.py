"""The endpoints about text: chat, completion, tokens.

A docstring here is the public documentation of its endpoint.
"""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from gradio.events import api as add_endpoint

from gemma_space import attention as attentions
from gemma_space import precision as precisions
from gemma_space.alerts import errors_shown
from gemma_space.api.callers import (
    UPDATE_SECONDS,
    Callers,
    flag_in,
    stop_in,
    text_in,
)
from gemma_space.chat import read_messages
from gemma_space.limits import GENERATION
from gemma_space.public_json import as_json, generation_json, scoring_json
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Controls,
    Generation,
    Message,
    ScoreRequest,
    Scoring,
)
from gemma_space.use_cases import UseCases
from gemma_space.visits import caller_of

SCORED_UPDATE_SECONDS = 0.5  # an update with scores carries all of them again
GENERATES: dict[str, Any] = {"concurrency_id": GENERATION, "concurrency_limit": "default"}


def register_generation(playground: UseCases, callers: Callers) -> None:
    """Add the endpoints that write text."""
    token_of = callers.token

    async def chat(
        message: str,
        history: list[dict[str, Any]] = [],  # noqa: B006 - never changed; a JSON default
        system_prompt: str = "",
        model: str = playground.default_model,
        precision: str = "auto",
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram_size: int | None = None,
        seed: int | None = None,
        stop: list[str] = [],  # noqa: B006
        ignore_eos: bool = False,
        attention: str = "auto",
        thinking: bool | None = None,
        caller: gr.Request | None = None,
        oauth_token: gr.OAuthToken | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Answer a message; each update carries the reply so far, the last one why it stopped.

        Args:
            message: what to answer.
            history: earlier messages, [{"role": "user" or "assistant", "content": text}].
            system_prompt: blank for none.
            model: repo id from /models.
            precision: auto, fp32, bf16, fp16, int8 or int4.
            max_new_tokens: controls left out take the checkpoint's own defaults.
            temperature: 0 is greedy.
            seed: left out: random; the one used is reported.
            stop: texts that end the reply and are not shown.
            ignore_eos: go on past the end of the turn.
            attention: auto, eager, sdpa or flash_attention_2, where the checkpoint has it.
            thinking: whether the model thinks first, where its template knows of that.
        """
        with errors_shown():
            request = ChatRequest(
                messages=(
                    *read_messages(history),
                    Message(role="user", content=text_in("message", message)),
                ),
                system_prompt=text_in("system_prompt", system_prompt),
                model=model,
                precision=precisions.parse(precision),
                attention=attentions.parse(attention),
                thinking=_thinking(thinking),
                controls=Controls(
                    max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p,
                    top_k=top_k, min_p=min_p, typical_p=typical_p,
                    repetition_penalty=repetition_penalty,
                    no_repeat_ngram_size=no_repeat_ngram_size, seed=seed,
                    stop=stop_in(stop), ignore_eos=ignore_eos,
                ),
            )  # fmt: skip
        updates = callers.stream(
            caller_of(caller, oauth_token),
            lambda: playground.chat(request, token_of(caller, oauth_token)),
        )
        async for update in updates:
            if isinstance(update, Generation):
                yield generation_json(update)

    async def generate(
        prompt: str,
        model: str = playground.default_model,
        precision: str = "auto",
        add_bos: bool = True,
        parse_special: bool = True,
        logprobs: int = 0,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram_size: int | None = None,
        seed: int | None = None,
        stop: list[str] = [],  # noqa: B006
        ignore_eos: bool = False,
        attention: str = "auto",
        caller: gr.Request | None = None,
        oauth_token: gr.OAuthToken | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Continue a raw prompt exactly as given; streams like /chat.

        Args:
            prompt: the text to continue.
            model: repo id from /models.
            precision: auto, fp32, bf16, fp16, int8 or int4.
            add_bos: open with one BOS unless the prompt already does.
            parse_special: read control tokens in the prompt as such.
            logprobs: report this many alternatives per token, 0 to 20; 0 reports none.
            max_new_tokens: controls left out take the checkpoint's own defaults.
            temperature: 0 is greedy.
            seed: left out: random; the one used is reported.
            stop: texts that end the completion and are not shown.
            ignore_eos: go on past the end of the turn.
            attention: auto, eager, sdpa or flash_attention_2, where the checkpoint has it.
        """
        with errors_shown():
            request = CompletionRequest(
                prompt=text_in("prompt", prompt),
                model=model,
                precision=precisions.parse(precision),
                attention=attentions.parse(attention),
                add_bos=flag_in("add_bos", add_bos),
                parse_special=flag_in("parse_special", parse_special),
                logprobs=logprobs,
                controls=Controls(
                    max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p,
                    top_k=top_k, min_p=min_p, typical_p=typical_p,
                    repetition_penalty=repetition_penalty,
                    no_repeat_ngram_size=no_repeat_ngram_size, seed=seed,
                    stop=stop_in(stop), ignore_eos=ignore_eos,
                ),
            )  # fmt: skip
        seconds = SCORED_UPDATE_SECONDS if logprobs else UPDATE_SECONDS
        updates = callers.stream(
            caller_of(caller, oauth_token),
            lambda: playground.complete(request, token_of(caller, oauth_token)), seconds,
        )  # fmt: skip
        async for update in updates:
            if isinstance(update, Generation):
                yield generation_json(update, with_tokens=logprobs > 0)

    add_endpoint(chat, api_name="chat", **GENERATES)
    add_endpoint(generate, api_name="generate", **GENERATES)


def _thinking(value: object) -> bool | None:
    return None if value is None else flag_in("thinking", value)


def register_tokens(playground: UseCases, callers: Callers) -> None:
    """Add the endpoints that look at text."""
    token_of = callers.token

    def tokenize(
        text: str,
        model: str = playground.default_model,
        parse_special: bool = True,
        caller: gr.Request | None = None,
        oauth_token: gr.OAuthToken | None = None,
    ) -> dict[str, Any]:
        """A text as tokens with their ids, nothing added.

        Args:
            text: any text.
            model: repo id from /models.
            parse_special: read control tokens in the text as such.
        """
        with errors_shown():
            found = playground.tokenize(
                text_in("text", text), model, flag_in("parse_special", parse_special),
                token_of(caller, oauth_token),
            )  # fmt: skip
            return {"count": len(found.tokens), "tokens": [as_json(t) for t in found.tokens]}

    def render_chat(
        messages: list[dict[str, Any]],
        model: str = playground.default_model,
        system_prompt: str = "",
        thinking: bool | None = None,
        caller: gr.Request | None = None,
        oauth_token: gr.OAuthToken | None = None,
    ) -> dict[str, Any]:
        """Exactly what a conversation becomes before the model sees it.

        Args:
            messages: [{"role": "user" or "assistant", "content": text}], ending with a user's.
            model: repo id from /models.
            system_prompt: blank for none.
            thinking: whether the model thinks first, where its template knows of that.
        """
        with errors_shown():
            return as_json(
                playground.render_chat(
                    read_messages(messages), model, text_in("system_prompt", system_prompt),
                    token_of(caller, oauth_token), _thinking(thinking),
                )
            )  # fmt: skip

    async def score(
        text: str,
        model: str = playground.default_model,
        precision: str = "auto",
        top: int = 0,
        parse_special: bool = True,
        attention: str = "auto",
        caller: gr.Request | None = None,
        oauth_token: gr.OAuthToken | None = None,
    ) -> dict[str, Any]:
        """How likely the model finds a text: each token's log-probability (nats), and perplexity.

        Args:
            text: scored after one BOS, which is not among the tokens.
            model: repo id from /models.
            precision: auto, fp32, bf16, fp16, int8 or int4.
            top: report this many likeliest tokens at each place, 0 to 20.
            parse_special: read control tokens in the text as such.
            attention: auto, eager, sdpa or flash_attention_2, where the checkpoint has it.
        """
        with errors_shown():
            request = ScoreRequest(
                text=text_in("text", text),
                model=model,
                precision=precisions.parse(precision),
                attention=attentions.parse(attention),
                parse_special=flag_in("parse_special", parse_special),
                top=top,
            )
        updates = callers.stream(
            caller_of(caller, oauth_token),
            lambda: playground.score(request, token_of(caller, oauth_token)),
            SCORED_UPDATE_SECONDS,
        )
        last: Scoring | None = None
        async for update in updates:
            last = update if isinstance(update, Scoring) else last
        assert last is not None  # the last update of a score is one
        return scoring_json(last)

    add_endpoint(score, api_name="score", **GENERATES)
    add_endpoint(tokenize, api_name="tokenize", concurrency_limit=None)
    add_endpoint(render_chat, api_name="render_chat", concurrency_limit=None)
