"""The use cases: everything a visitor can do, shared by the page and the API.

Knows the order of things (check the request, ask for access, lease the model, render, generate,
decode) and nothing of Gradio. Every stream is a blocking generator of whole states; closing it
stops the work behind it within one step.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gemma_space import chat, controls, limits, memory, precision, tokens
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.errors import (
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    SettingsError,
)
from gemma_space.generation import Recorder
from gemma_space.model_source import ModelSource, served_checkpoints
from gemma_space.registry import Lease, ModelRegistry
from gemma_space.settings import Settings
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Controls,
    Generation,
    LoadProgress,
    Message,
    ModelRow,
    Precision,
    RenderedChat,
    SamplingParams,
    Status,
    Tokenization,
)

log = logging.getLogger(__name__)


class Playground:
    """What the page and the API call.

    Args:
        checkpoints: those served, in display order.
        access: decides who may use what.
        settings: the deployer's choices.
    """

    def __init__(
        self, checkpoints: Sequence[Checkpoint], access: Access, settings: Settings
    ) -> None:
        self._checkpoints = {row.repo_id: row for row in checkpoints}
        self._settings = settings
        self._source = ModelSource(access, settings)
        self._registry = ModelRegistry(self._source.load, self._source.budget)
        self.default_model = settings.default_model or next(iter(self._checkpoints))
        self._find(self.default_model)

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
        return cls(served_checkpoints(settings.models), access, settings)

    def choices(self) -> tuple[Checkpoint, ...]:
        """The checkpoints served, in display order. Instant; needs no torch."""
        return tuple(self._checkpoints.values())

    def checkpoint(self, model: str) -> Checkpoint:
        """One row.

        Raises:
            ModelNotFoundError: it is not served here.
        """
        return self._find(model)

    def default_params(self, model: str) -> SamplingParams:
        """The checkpoint's own sampling defaults; the seed is a placeholder."""
        row = self._find(model)
        # Half of a small window at most: the conversation needs room too.
        length = min(512, self.max_new_tokens(model), row.context_length // 2)
        return controls.default_params(row.sampling, length)

    def max_new_tokens(self, model: str) -> int:
        """The most tokens one reply of this model may have here."""
        return min(self._settings.max_new_tokens, self._find(model).context_length - 1)

    def models(self) -> tuple[ModelRow, ...]:
        """Every checkpoint served, with what each precision needs on this device."""
        budget = self._source.budget()
        loaded = self._registry.rows()
        return tuple(
            ModelRow(
                repo_id=row.repo_id,
                title=row.title,
                family=row.family,
                parameters=row.parameters,
                variant=row.variant,
                license=row.license,
                gated=row.gated,
                context_length=row.context_length,
                revision=row.revision,
                precisions=memory.fits(row, budget),
                loaded=tuple(r.precision for r in loaded if r.repo_id == row.repo_id),
            )
            for row in self._checkpoints.values()
        )

    def status(self) -> Status:
        """The machine and what is in its memory."""
        device = memory.probe_device()
        return Status(
            device=device.name,
            memory_total_bytes=device.total_bytes,
            memory_free_bytes=device.free_bytes(),
            budget_bytes=self._source.budget(),
            loaded=self._registry.rows(),
            queue=self._registry.requests(),
        )

    def load(
        self, model: str, precision_name: str = "auto", token: str | None = None
    ) -> Iterator[LoadProgress]:
        """Bring a model into memory; the last item's phase is `ready`.

        Raises:
            GemmaSpaceError: unknown name, no access, too large, or the files are no good.
        """
        started = time.monotonic()
        row, wanted = self._find(model), precision.parse(precision_name)
        yield LoadProgress(phase="access")
        with self._lease(row, wanted, token) as (lease, _):
            yield from lease.wait()
            nbytes = lease.model.nbytes
        seconds = time.monotonic() - started
        yield LoadProgress(phase="ready", done_bytes=nbytes, total_bytes=nbytes, seconds=seconds)

    def unload(self, model: str, precision_name: str = "auto") -> Status:
        """Give a model's memory back; `auto` means in every precision it is loaded in."""
        wanted = precision.parse(precision_name)
        self._registry.unload(
            self._find(model).repo_id, None if wanted is Precision.AUTO else wanted
        )
        return self.status()

    def warm_up(self) -> None:
        """Import the heavy libraries and load the default model, if its files are here."""
        try:
            if self._find(self.default_model).is_local:
                for _ in self.load(self.default_model):
                    pass
            else:
                memory.probe_device()
        except Exception:
            log.exception("the default model could not be loaded ahead of its first use")

    def chat(
        self, request: ChatRequest, token: str | None = None
    ) -> Iterator[LoadProgress | Generation]:
        """Answer a conversation: load progress while the model comes, then the reply so far.

        Raises:
            GemmaSpaceError: bad request, no access, no memory, or a failure of the model.
        """
        row = self._find(request.model)
        params = self._params(row, request.controls)
        limits.check_messages(request.messages, request.system_prompt, request.reply_prefix)
        chat.require_chat_format(row.variant)
        chat.mend(request.messages)  # an empty message is refused before anything is loaded
        with self._lease(row, request.precision, token) as (lease, notes):
            yield from lease.wait()
            served = lease.model
            prompt = chat.render(
                served.tokenizer,
                request.messages,
                system_prompt=request.system_prompt,
                reply_prefix=request.reply_prefix,
                limit_tokens=row.context_length - params.max_new_tokens,
            )
            stream = tokens.TextStream(
                served.tokenizer,
                context_ids=prompt.token_ids[len(prompt.token_ids) - prompt.prefix_tokens :],
                stop=params.stop,
            )
            recorder = Recorder(
                served.key, params, stream,
                prompt_tokens=len(prompt.token_ids), dropped_messages=prompt.dropped_messages,
                notes=(*notes, *prompt.notes), before=request.reply_prefix,
            )  # fmt: skip
            yield from recorder.record(served.engine.stream(prompt.token_ids, params))

    def complete(
        self, request: CompletionRequest, token: str | None = None
    ) -> Iterator[LoadProgress | Generation]:
        """Continue a raw prompt exactly as it was typed.

        Raises:
            ContextLengthError: the prompt and `max_new_tokens` exceed the context window.
            GemmaSpaceError: as `chat`.
        """
        row = self._find(request.model)
        params = self._params(row, request.controls)
        limits.check_size(request.prompt)
        top = limits.check_logprobs(request.logprobs)
        if not request.prompt and not request.add_bos:
            raise InvalidRequestError("The prompt is empty.", "Write something to continue.")
        with self._lease(row, request.precision, token) as (lease, notes):
            yield from lease.wait()
            served = lease.model
            ids = tokens.encode_prompt(
                served.tokenizer, request.prompt,
                add_bos=request.add_bos, parse_special=request.parse_special,
            )  # fmt: skip
            room = row.context_length - params.max_new_tokens
            if len(ids) > room:
                raise ContextLengthError(
                    f"The prompt has {len(ids):,} tokens, but only {max(room, 0):,} fit beside "
                    f"the {params.max_new_tokens:,} kept for the completion.",
                    "Shorten the prompt or lower max_new_tokens.",
                )
            stream = tokens.TextStream(served.tokenizer, stop=params.stop, show_special=True)
            recorder = Recorder(
                served.key, params, stream,
                prompt_tokens=len(ids), notes=notes, tokenizer=served.tokenizer,
            )  # fmt: skip
            yield from recorder.record(served.engine.stream(ids, params, top=top))

    def tokenize(
        self, text: str, model: str, parse_special: bool = True, token: str | None = None
    ) -> Tokenization:
        """A text as the model's tokens, nothing added."""
        row = self._find(model)
        limits.check_size(text)
        return tokens.tokenize(
            self._source.tokenizer(row, token), text, parse_special=parse_special
        )

    def render_chat(
        self,
        messages: Sequence[Message],
        model: str,
        system_prompt: str = "",
        token: str | None = None,
    ) -> RenderedChat:
        """Exactly what `chat` with default controls would give the model."""
        row = self._find(model)
        limits.check_messages(messages, system_prompt)
        chat.require_chat_format(row.variant)
        tokenizer = self._source.tokenizer(row, token)
        prompt = chat.render(
            tokenizer,
            messages,
            system_prompt=system_prompt,
            limit_tokens=row.context_length - self.default_params(model).max_new_tokens,
        )
        return RenderedChat(
            prompt=tokenizer.decode(prompt.token_ids, skip_special_tokens=False),
            token_ids=prompt.token_ids,
            bos_count=prompt.bos_count,
            dropped_messages=prompt.dropped_messages,
            notes=prompt.notes,
        )

    def _find(self, model: object) -> Checkpoint:
        row = self._checkpoints.get(model) if isinstance(model, str) else None
        if row is None:
            raise ModelNotFoundError(
                f"There is no model “{str(model)[:100]}” here.",
                f"Choose one from the list, for example {next(iter(self._checkpoints))}.",
            )
        return row

    @contextmanager
    def _lease(
        self, row: Checkpoint, wanted: Precision, token: str | None
    ) -> Iterator[tuple[Lease, tuple[str, ...]]]:
        """Hold the model for one use, with notes about how it was chosen."""
        key, notes = self._source.key(row, wanted, token)
        with self._registry.lease(key, self._source.token_for(token)) as lease:
            yield lease, notes

    def _params(self, row: Checkpoint, wanted: Controls) -> SamplingParams:
        limit = self.max_new_tokens(row.repo_id)
        return controls.resolve(wanted, self.default_params(row.repo_id), limit)
