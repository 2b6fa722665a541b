"""What the routes are sent, as OpenAI's clients send it, and the requests it becomes.

A field that would change the answer and is not served is refused by its name, unless it asks for
what happens anyway; fields about accounts and bookkeeping are left aside. Ranges are not checked
here: the use cases do that for everybody.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gemma_space import chat
from gemma_space import precision as precisions
from gemma_space.api.openai.errors import RefusedBody
from gemma_space.errors import InvalidRequestError
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Controls,
    Precision,
    ScoreRequest,
)

# About whose request it is, what is kept of it and where it runs: nothing that is written changes.
LEFT_ASIDE = {
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "verbosity", "parallel_tool_calls",
}  # fmt: skip
# What is not served, and the value that asks for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "frequency_penalty": (0,), "presence_penalty": (0,),
    "logit_bias": ({},), "tools": ([],), "functions": ([],), "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"), "response_format": ({"type": "text"},),
    "modalities": (["text"],), "suffix": ("",),
}  # fmt: skip


class StreamOptions(BaseModel):
    """What else a stream is to carry."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool = False


class _Body(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool = False

    @model_validator(mode="before")
    @classmethod
    def _leave_out(cls, given: Any) -> Any:
        """Drop what is not given, asks for nothing, or is not ours to act upon."""
        if not isinstance(given, dict):
            return given
        return {
            name: value
            for name, value in given.items()
            if not (value is None or name in LEFT_ASIDE or value in NEUTRAL.get(name, ()))
        }

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with an event about tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def _controls(self, most: int | None) -> Controls:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Controls(
            max_new_tokens=most, temperature=self.temperature, top_p=self.top_p, top_k=self.top_k,
            min_p=self.min_p, typical_p=self.typical_p,
            repetition_penalty=self.repetition_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram_size, seed=self.seed, stop=stop,
            ignore_eos=self.ignore_eos,
        )  # fmt: skip


class ChatBody(_Body):
    """`POST /v1/chat/completions`."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    reasoning_effort: str | None = None
    thinking: bool | None = None

    def request(self) -> ChatRequest:
        """The same as the use case knows it.

        Raises:
            InvalidRequestError: the messages cannot be read, or nobody asks.
        """
        if self.top_logprobs and not self.logprobs:
            raise RefusedBody(
                "top_logprobs needs logprobs.", "Send logprobs: true.", "top_logprobs"
            )
        try:
            messages = chat.read_messages([_as_ours(message) for message in self.messages])
        except InvalidRequestError as error:
            raise RefusedBody(error.message, error.hint, "messages") from None
        if not messages or messages[-1].role != "user":
            raise RefusedBody(
                "The last message is not the user's.", "End with a message to answer.", "messages"
            )
        model, precision = named(self.model)
        thinking = self.thinking
        if thinking is None and self.reasoning_effort is not None:
            thinking = self.reasoning_effort != "none"
        return ChatRequest(
            messages=messages,
            model=model,
            precision=precision,
            controls=self._controls(self.max_completion_tokens or self.max_tokens),
            thinking=thinking,
            logprobs=_shown(self.top_logprobs, "top_logprobs") if self.logprobs else 0,
        )


class CompletionBody(_Body):
    """`POST /v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = None
    echo: bool = False
    add_bos: bool = Field(default=True)

    @property
    def only_scores(self) -> bool:
        """Whether nothing is to be written, only the prompt to be scored."""
        return self.echo and self.max_tokens == 0

    def request(self) -> CompletionRequest:
        """The same as the use case knows it.

        Raises:
            InvalidRequestError: there is not exactly one prompt.
        """
        prompt = self._one_prompt()
        model, precision = named(self.model)
        text = prompt if isinstance(prompt, str) else ""
        if self.echo and not text:
            raise RefusedBody("echo needs a prompt that is a text.", "Send one.", "echo")
        if self.echo and self.stream and self.logprobs is not None:
            raise RefusedBody(
                "The probabilities of an echo come all at once.", "Send stream: false.", "echo"
            )
        return CompletionRequest(
            prompt=text,
            token_ids=() if isinstance(prompt, str) else tuple(prompt),
            model=model,
            precision=precision,
            controls=self._controls(None if self.only_scores else self.max_tokens),
            add_bos=self.add_bos,
            logprobs=0 if self.logprobs is None else _shown(self.logprobs, "logprobs"),
        )

    def score_request(self) -> ScoreRequest:
        """The prompt alone, to be scored.

        Raises:
            InvalidRequestError: as `request`; or its first token would have no probability.
        """
        asked = self.request()
        if not asked.add_bos:
            raise RefusedBody(
                "The probabilities of a prompt are told behind a BOS.", "Leave add_bos out.",
                "add_bos",
            )  # fmt: skip
        return ScoreRequest(
            text=asked.prompt, model=asked.model, precision=asked.precision, top=asked.logprobs
        )

    def _one_prompt(self) -> str | list[int]:
        prompt = self.prompt
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
            if len(prompt) > 1:
                raise RefusedBody("There is more than one prompt.", "Send them apart.", "prompt")
            prompt = prompt[0]
        if isinstance(prompt, list) and not prompt:
            raise RefusedBody("The prompt is empty.", "Write something to continue.", "prompt")
        return prompt  # type: ignore[return-value]


def named(model: str) -> tuple[str, Precision]:
    """A model's name and the precision after its last colon, `auto` where there is none."""
    name, colon, precision = model.rpartition(":")
    if colon and precision in tuple(Precision):
        return name, precisions.parse(precision)
    return model, Precision.AUTO


def _shown(alternatives: int, name: Literal["logprobs", "top_logprobs"]) -> int:
    """How many to ask the engine for, which reports nothing where none is asked for.

    Raises:
        RefusedBody: fewer than none.
    """
    if alternatives < 0:
        raise RefusedBody(f"{name} is {alternatives}.", "Choose 0 or more.", name)
    return max(1, alternatives)


def _as_ours(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "role": "system"} if message.get("role") == "developer" else message
