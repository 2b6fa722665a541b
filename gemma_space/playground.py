"""The use cases: everything a visitor can do, shared by the page and the API.

Knows the order of things (check the request, ask for access, lease the model, render, generate,
decode) and nothing of Gradio. Every stream is a blocking generator of whole states; closing it
stops the work behind it within one step.
"""

import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any

from gemma_space import chat, controls, downloads, hub, limits, memory, tokens
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    SettingsError,
)
from gemma_space.generation import Recorder, scored
from gemma_space.library import Library
from gemma_space.prompt_help import PromptHelp
from gemma_space.reports import LoadProgress
from gemma_space.settings import Settings
from gemma_space.shelf import Shelf, served_checkpoints
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Controls,
    Generation,
    Message,
    PromptPiece,
    RenderedChat,
    SamplingParams,
    ScoreRequest,
    Scoring,
    Tokenization,
)
from gemma_space.visitors import Visitors

log = logging.getLogger(__name__)


class Playground:
    """What the page and the API call.

    Args:
        checkpoints: those served, in display order.
        access: decides who may use what.
        settings: the deployer's choices.
        library: where models are, if not on this machine.
    """

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        access: Access,
        settings: Settings,
        library: Library | None = None,
    ) -> None:
        self._settings = settings
        self._max_time = settings.max_time or None
        access.lend(r.repo_id for row in checkpoints for r in (row, row.base) if r is not None)
        self.visitors = Visitors(access, _own_token(settings) if settings.lends_to_owner else None)
        shelf = Shelf(
            checkpoints,
            access,
            settings.takes_any_gemma,
            settings.takes_any_gemma and settings.own_machine,
        )
        self.library = library or Library(shelf, access, settings)
        self.prompts = PromptHelp(self.library)
        self.default_model = settings.default_model or checkpoints[0].repo_id
        if self.default_model not in (row.repo_id for row in checkpoints):
            raise ModelNotFoundError(
                f"The default model {self.default_model} is not among those served.",
                "Add it to GEMMA_SPACE_MODELS, or name one that is there.",
            )

    @classmethod
    def from_settings(cls, settings: Settings) -> "Playground":
        """Serve what the settings name.

        Raises:
            SettingsError: they contradict each other.
            ModelNotFoundError: a name in them is neither in the catalogue nor a Gemma folder.
        """
        if settings.access == "deployer" and settings.hf_token is None:
            raise SettingsError(
                "GEMMA_SPACE_ACCESS=deployer needs the deployer's HF_TOKEN.",
                "Set HF_TOKEN, or leave GEMMA_SPACE_ACCESS out.",
            )
        token = settings.hf_token if settings.access == "deployer" else None
        access = Access(deployer_token=token.get_secret_value() if token else None)
        rows = served_checkpoints(settings.models, access, _own_token(settings)())
        return cls(rows, access, settings)

    def default_params(self, model: str, token: str | None = None) -> SamplingParams:
        """The checkpoint's own sampling defaults; the seed is a placeholder."""
        return self._defaults(self.library.find(model, token))

    def max_new_tokens(self, model: str, token: str | None = None) -> int:
        """The most tokens one reply of this model may have here."""
        return self._limit(self.library.find(model, token))

    def warm_up(self) -> None:
        """Sweep the disk, import the heavy libraries and load the default model, if it is here."""
        try:
            downloads.sweep()
            if self.library.find(self.default_model).is_local:
                for _ in self.library.load(self.default_model):
                    pass
            else:
                memory.probe_device()
        except Exception:
            log.exception("the default model could not be loaded ahead of its first use")

    def load(
        self, model: str, precision_name: str = "auto", token: str | None = None,
        attention_name: str = "auto",
    ) -> Generator[LoadProgress]:  # fmt: skip
        """Bring a model into memory: see `Library.load`."""
        return self.library.load(model, precision_name, token, attention_name)

    def chat(
        self, request: ChatRequest, token: str | None = None
    ) -> Generator[LoadProgress | Generation]:
        """Answer a conversation: load progress while the model comes, then the reply so far.

        Raises:
            GemmaSpaceError: bad request, no access, no memory, or a failure of the model.
        """
        row = self.library.find(request.model, token)
        params = self._params(row, request.controls)
        limits.check_messages(request.messages, request.system_prompt, request.reply_prefix)
        chat.require_chat_format(row.variant)
        top = limits.check_logprobs(request.logprobs)
        chat.mend(request.messages)  # an empty message is refused before anything is loaded
        with self.library.lease(row, request.precision, token, request.attention) as (lease, notes):
            yield from lease.wait()
            self.library.require(row, token)  # a load can outlast a yes
            served = lease.model
            prompt = _render(served.tokenizer, row, request, params)
            stream = tokens.TextStream(
                served.tokenizer,
                context_ids=prompt.token_ids[len(prompt.token_ids) - prompt.prefix_tokens :],
                stop=params.stop,
            )
            recorder = Recorder(
                served.key, params, stream, tokenizer=served.tokenizer,
                prompt_ids=prompt.token_ids, dropped_messages=prompt.dropped_messages,
                notes=(*notes, *served.notes, *prompt.notes), before=request.reply_prefix,
            )  # fmt: skip
            yield from recorder.record(
                served.engine.stream(prompt.token_ids, params, top=top, max_time=self._max_time)
            )

    def complete(
        self, request: CompletionRequest, token: str | None = None
    ) -> Generator[LoadProgress | Generation]:
        """Continue a raw prompt exactly as it was typed.

        Raises:
            ContextLengthError: the prompt and `max_new_tokens` exceed the context window.
            GemmaSpaceError: as `chat`.
        """
        row = self.library.find(request.model, token)
        params = self._params(row, request.controls)
        limits.check_size(request.prompt)
        limits.check_ids(request.token_ids, request.begins_with)
        top = limits.check_logprobs(request.logprobs)
        if not (request.prompt or request.add_bos or request.token_ids):
            raise InvalidRequestError("The prompt is empty.", "Write something to continue.")
        with self.library.lease(row, request.precision, token, request.attention) as (lease, notes):
            yield from lease.wait()
            self.library.require(row, token)  # a load can outlast a yes
            served = lease.model
            ids = request.token_ids or tokens.encode_prompt(
                served.tokenizer, request.prompt,
                add_bos=request.add_bos, parse_special=request.parse_special,
            )  # fmt: skip
            given = (*ids, *request.begins_with)
            limits.check_room(len(given), row.context_length, params.max_new_tokens)
            stream = tokens.TextStream(served.tokenizer, stop=params.stop, show_special=True)
            recorder = Recorder(
                served.key, params, stream, tokenizer=served.tokenizer,
                prompt_ids=ids, begins_with=request.begins_with, notes=(*notes, *served.notes),
            )  # fmt: skip
            yield from recorder.record(
                served.engine.stream(given, params, top=top, max_time=self._max_time)
            )

    def score(
        self, request: ScoreRequest, token: str | None = None
    ) -> Generator[LoadProgress | Scoring]:
        """How likely a text is: load progress, then the scores of its tokens as far as they are.

        Raises:
            ContextLengthError: the text exceeds the context window.
            GemmaSpaceError: as `chat`.
        """
        row = self.library.find(request.model, token)
        limits.check_size(request.text)
        limits.check_ids(request.token_ids)
        top = limits.check_logprobs(request.top)
        with self.library.lease(row, request.precision, token, request.attention) as (lease, notes):
            yield from lease.wait()
            self.library.require(row, token)
            served = lease.model
            ids = request.token_ids or tokens.encode_prompt(
                served.tokenizer, request.text,
                add_bos=request.add_bos, parse_special=request.parse_special,
            )  # fmt: skip
            if len(ids) < 2:
                raise InvalidRequestError("There is no text to score.", "Write or paste some.")
            limits.check_room(len(ids), row.context_length, 0)
            yield from scored(
                served, served.engine.score(ids, top=top, max_time=self._max_time),
                len(ids) - 1, (*notes, *served.notes),
            )  # fmt: skip

    def tokenize(
        self, text: str, model: str, parse_special: bool = True, token: str | None = None
    ) -> Tokenization:
        """A text as the model's tokens, nothing added."""
        row = self.library.find(model, token)
        limits.check_size(text)
        return tokens.tokenize(
            self.library.tokenizer(row, token), text, parse_special=parse_special
        )

    def render_chat(
        self,
        messages: Sequence[Message],
        model: str,
        system_prompt: str = "",
        token: str | None = None,
        thinking: bool | None = None,
    ) -> RenderedChat:
        """Exactly what `chat` with default controls would give the model."""
        request = ChatRequest(
            messages=tuple(messages), model=model, system_prompt=system_prompt, thinking=thinking
        )
        return self.given(request, token)

    def given(self, request: ChatRequest, token: str | None = None) -> RenderedChat:
        """Exactly what `chat` would give the model for this request; nothing is loaded."""
        row = self.library.find(request.model, token)
        params = self._params(row, request.controls)
        limits.check_messages(request.messages, request.system_prompt, request.reply_prefix)
        chat.require_chat_format(row.variant)
        tokenizer = self.library.tokenizer(row, token)
        prompt = _render(tokenizer, row, request, params)
        return RenderedChat(
            prompt=tokenizer.decode(prompt.token_ids, skip_special_tokens=False),
            token_ids=prompt.token_ids, bos_count=prompt.bos_count,
            dropped_messages=prompt.dropped_messages, notes=prompt.notes,
        )  # fmt: skip

    def pieces(
        self, ids: tuple[int, ...], model: str, token: str | None = None
    ) -> tuple[PromptPiece, ...]:
        """Ids as the tokens of this model, in order."""
        tokenizer = self.library.tokenizer(self.library.find(model, token), token)
        controls = chat.control_ids(tokenizer)
        named = tokens.pieces(tokenizer, ids)
        return tuple(PromptPiece(id=p.id, text=p.text, control=p.id in controls) for p in named)

    def _limit(self, row: Checkpoint) -> int:
        return min(self._settings.max_new_tokens, row.context_length - 1)

    def _defaults(self, row: Checkpoint) -> SamplingParams:
        # Half of a small window at most: the conversation needs room too.
        length = min(512, self._limit(row), row.context_length // 2)
        return controls.default_params(row.sampling, length)

    def _params(self, row: Checkpoint, wanted: Controls) -> SamplingParams:
        return controls.resolve(wanted, self._defaults(row), self._limit(row))


def _render(
    tokenizer: Any, row: Checkpoint, request: ChatRequest, params: SamplingParams
) -> chat.RenderedPrompt:
    return chat.render(
        tokenizer, request.messages,
        system_prompt=request.system_prompt, reply_prefix=request.reply_prefix,
        thinking=request.thinking, limit_tokens=row.context_length - params.max_new_tokens,
    )  # fmt: skip


def _own_token(settings: Settings) -> Callable[[], str | None]:
    """The token of whoever runs the server; a login saved meanwhile counts too."""
    given = settings.hf_token.get_secret_value().strip() if settings.hf_token else None
    return lambda: given or hub.own_token()
