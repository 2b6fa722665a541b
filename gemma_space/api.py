"""The public API: the use cases as named Gradio endpoints.

Knows the shapes that clients rely on and nothing else; a docstring here is the public
documentation of its endpoint. A caller's Hugging Face token travels by Gradio's own convention
(`Client(url, oauth_token="hf_...")`) and is never an ordinary parameter.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import gradio as gr
from gradio.events import api as add_endpoint

from gemma_space import attention, chat, precision
from gemma_space.alerts import errors_shown
from gemma_space.errors import InvalidRequestError
from gemma_space.limits import MAX_GENERATIONS
from gemma_space.pacing import paced
from gemma_space.playground import Playground
from gemma_space.public_json import as_json, generation_json
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Controls,
    Generation,
    Message,
)

UPDATE_SECONDS = 0.05
SCORED_UPDATE_SECONDS = 0.5  # an update with scores carries all of them again
GENERATION: dict[str, Any] = {
    "concurrency_id": "generation",
    "concurrency_limit": MAX_GENERATIONS,
}
T = TypeVar("T")


def register(playground: Playground) -> None:
    """Add the endpoints to the `gr.Blocks` being built."""
    _register_models(playground)
    _register_generation(playground)
    _register_tokens(playground)


def _register_models(playground: Playground) -> None:
    def models() -> list[dict[str, Any]]:
        """Every checkpoint served here, with what each precision needs on this machine."""
        with errors_shown():
            return [as_json(row) for row in playground.library.rows()]

    def status() -> dict[str, Any]:
        """The device, its memory, the models loaded and the requests running or waiting."""
        with errors_shown():
            return as_json(playground.library.status())

    async def load(
        model: str = playground.default_model,
        precision: str = "auto",
        attention: str = "auto",
        oauth_token: gr.OAuthToken | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Bring a model into memory, reporting phase, bytes and seconds; ends with phase "ready".

        Args:
            model: repo id from /models.
            precision: auto, fp32, bf16, fp16, int8 or int4.
            attention: auto, eager, sdpa or flash_attention_2, where the checkpoint has it.
        """
        async for progress in _stream(
            lambda: playground.library.load(model, precision, _token(oauth_token), attention)
        ):
            yield as_json(progress)

    def unload(model: str = playground.default_model, precision: str = "auto") -> dict[str, Any]:
        """Give a model's memory back and return the status.

        Args:
            model: repo id from /models.
            precision: the one to unload; auto means all.
        """
        with errors_shown():
            return as_json(playground.library.unload(model, precision))

    add_endpoint(models, api_name="models", concurrency_limit=None)
    add_endpoint(status, api_name="status", concurrency_limit=None)
    add_endpoint(load, api_name="load", concurrency_limit=None)
    add_endpoint(unload, api_name="unload", concurrency_limit=None)


def _register_generation(playground: Playground) -> None:
    async def chat_endpoint(
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
        """
        with errors_shown():
            request = ChatRequest(
                messages=(
                    *chat.read_messages(history),
                    Message(role="user", content=_text("message", message)),
                ),
                system_prompt=_text("system_prompt", system_prompt),
                model=model,
                precision=_precision(precision),
                attention=_attention(attention),
                controls=Controls(
                    max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p,
                    top_k=top_k, min_p=min_p, typical_p=typical_p,
                    repetition_penalty=repetition_penalty,
                    no_repeat_ngram_size=no_repeat_ngram_size, seed=seed,
                    stop=_stop(stop), ignore_eos=ignore_eos,
                ),
            )  # fmt: skip
        async for update in _stream(lambda: playground.chat(request, _token(oauth_token))):
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
                prompt=_text("prompt", prompt),
                model=model,
                precision=_precision(precision),
                attention=_attention(attention),
                add_bos=_flag("add_bos", add_bos),
                parse_special=_flag("parse_special", parse_special),
                logprobs=logprobs,
                controls=Controls(
                    max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p,
                    top_k=top_k, min_p=min_p, typical_p=typical_p,
                    repetition_penalty=repetition_penalty,
                    no_repeat_ngram_size=no_repeat_ngram_size, seed=seed,
                    stop=_stop(stop), ignore_eos=ignore_eos,
                ),
            )  # fmt: skip
        seconds = SCORED_UPDATE_SECONDS if logprobs else UPDATE_SECONDS
        updates = _stream(lambda: playground.complete(request, _token(oauth_token)), seconds)
        async for update in updates:
            if isinstance(update, Generation):
                yield generation_json(update, with_tokens=logprobs > 0)

    add_endpoint(chat_endpoint, api_name="chat", **GENERATION)
    add_endpoint(generate, api_name="generate", **GENERATION)


def _register_tokens(playground: Playground) -> None:
    def tokenize(
        text: str,
        model: str = playground.default_model,
        parse_special: bool = True,
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
                _text("text", text), model, _flag("parse_special", parse_special),
                _token(oauth_token),
            )  # fmt: skip
            return {"count": len(found.tokens), "tokens": [as_json(t) for t in found.tokens]}

    def render_chat(
        messages: list[dict[str, Any]],
        model: str = playground.default_model,
        system_prompt: str = "",
        oauth_token: gr.OAuthToken | None = None,
    ) -> dict[str, Any]:
        """Exactly what a conversation becomes before the model sees it.

        Args:
            messages: [{"role": "user" or "assistant", "content": text}], ending with a user's.
            model: repo id from /models.
            system_prompt: blank for none.
        """
        with errors_shown():
            return as_json(
                playground.render_chat(
                    chat.read_messages(messages), model, _text("system_prompt", system_prompt),
                    _token(oauth_token),
                )
            )  # fmt: skip

    add_endpoint(tokenize, api_name="tokenize", concurrency_limit=None)
    add_endpoint(render_chat, api_name="render_chat", concurrency_limit=None)


async def _stream(
    source: Callable[[], Iterator[T]], seconds: float = UPDATE_SECONDS
) -> AsyncIterator[T]:
    with errors_shown():
        async for item in paced(source, seconds):
            yield item


def _token(oauth_token: gr.OAuthToken | None) -> str | None:
    return oauth_token.token if oauth_token else None


def _precision(name: object) -> precision.Precision:
    return precision.parse(name)


def _attention(name: object) -> attention.Attention:
    return attention.parse(name)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} must be a text.", "Send it as a JSON string.")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{name} must be true or false.", "Send a JSON boolean.")
    return value


def _stop(value: object) -> tuple[str, ...]:
    """Lists become tuples; anything odd is passed on for `controls` to refuse in words."""
    return tuple(value) if isinstance(value, list) else value  # type: ignore[return-value]
