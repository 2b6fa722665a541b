"""The values that travel between the layers: frozen, plain Python, no torch, no Gradio.

Identity, storage and presentation live elsewhere; a value here only says what it is.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Role = Literal["system", "user", "assistant"]
Variant = Literal["base", "instruct", "adapter"]
FinishReason = Literal["stop", "length", "stop_string", "time_limit", "cancelled"]


class Precision(StrEnum):
    """How weights are held in memory. `auto` is the best that fits the device, `as served` what
    another server decided that has the weights."""

    AUTO = "auto"
    AS_SERVED = "as served"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"


class Attention(StrEnum):
    """How attention is computed. `auto` is the library's own choice for the architecture."""

    AUTO = "auto"
    EAGER = "eager"
    SDPA = "sdpa"
    FLASH = "flash_attention_2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation; `content` is plain text."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """Generation controls as a caller gave them; `None` means "the checkpoint's default".

    Ranges and meanings are in `controls.CONTROLS`.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Controls with every default filled in and every range checked.

    `temperature` 0 is greedy; `top_k` 0, `top_p` 1, `min_p` 0, `typical_p` 1,
    `repetition_penalty` 1 and `no_repeat_ngram_size` 0 are off. `seed` is always set.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    typical_p: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    seed: int
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A conversation to be answered.

    `messages` ends with the user turn to answer. `reply_prefix` is text the reply already
    begins with (Continue); it is part of every `Generation.text` that comes back. `thinking` says
    whether the model thinks first, where its template knows of that; None: as the template likes.
    `logprobs` is that of `CompletionRequest`.
    """

    messages: tuple[Message, ...]
    model: str
    precision: Precision = Precision.AUTO
    attention: Attention = Attention.AUTO
    system_prompt: str = ""
    controls: Controls = Controls()
    reply_prefix: str = ""
    thinking: bool | None = None
    logprobs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """A raw prompt to be completed exactly as typed.

    `add_bos` puts one BOS in front unless the prompt already begins with one; `parse_special`
    reads control tokens in the text as such, otherwise they stay literal; `logprobs` is how
    many alternatives to report per token (0 = none reported).

    `token_ids`, where given, is the prompt itself: nothing is added to it and nothing read, and
    `prompt` is not used. `begins_with` are ids that the completion already begins with (a branch
    of an earlier one); their text is part of every `Generation.text` that comes back.
    """

    prompt: str
    model: str
    precision: Precision = Precision.AUTO
    attention: Attention = Attention.AUTO
    controls: Controls = Controls()
    add_bos: bool = True
    parse_special: bool = True
    logprobs: int = 0
    token_ids: tuple[int, ...] = ()
    begins_with: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """A text whose likelihood is asked for; `top` alternatives are told per token.

    `add_bos`, `parse_special` and `token_ids` are those of `CompletionRequest`. The first token
    has no likelihood: nothing stands in front of it.
    """

    text: str
    model: str
    precision: Precision = Precision.AUTO
    attention: Attention = Attention.AUTO
    add_bos: bool = True
    parse_special: bool = True
    top: int = 0
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPiece:
    """A token as people see it: its id and the text it stands for."""

    id: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPiece:
    """A token of a prompt as people see it; `control` where no text becomes it by itself."""

    id: int
    text: str
    control: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A token that could have come, with its log-probability (nats)."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPiece:
    """A token with its log-probability (nats), the entropy at its place and what else was likely.

    `top` has the likeliest first; the token itself is among them where it was that likely. A
    remote server does not tell entropies, nor ids: these are negative then, the same for the same
    text.
    """

    id: int
    text: str
    logprob: float
    entropy: float | None
    top: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How likely a text is, token by token; while it is computed, as far as it got.

    `tokens` are the text's own, without a BOS in front. `perplexity` is that of the tokens so far.
    """

    tokens: tuple[ScoredPiece, ...]
    total_tokens: int
    perplexity: float | None
    model: str
    revision: str
    precision: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a reply looks like so far; a later `text` always begins with an earlier one.

    `finish_reason` is None until the last update. `completion_tokens` does not count the stop
    token. `tokens_per_second` is the decode rate, without the time to the first token.
    `notes` are sentences about what was changed on the way (a folded system prompt, say).
    `prompt_ids` are what the model was given, `token_ids` what it wrote, stop token left out, with
    what the reply began with where that came as ids; `params` are the controls as they were used.
    `base_revision` is the commit of an adapter's base, where there is one. `place` is the request's
    among those that wait for one, 1 for the next; 0 once it has it.
    """

    text: str
    thinking: str = ""
    finish_reason: FinishReason | None = None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    dropped_messages: int
    seed: int
    ttft_seconds: float | None
    tokens_per_second: float | None
    model: str
    revision: str
    precision: str
    tokens: tuple[ScoredPiece, ...] = ()
    notes: tuple[str, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    params: SamplingParams | None = None
    base_revision: str = ""
    place: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenization:
    """A text as tokens, in order."""

    tokens: tuple[TokenPiece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedChat:
    """Exactly what a conversation becomes: `prompt` is `token_ids` decoded, control tokens shown.

    `dropped_messages` counts the oldest messages left out to fit; `notes` says what else changed.
    """

    prompt: str
    token_ids: tuple[int, ...]
    bos_count: int
    dropped_messages: int
    notes: tuple[str, ...]
