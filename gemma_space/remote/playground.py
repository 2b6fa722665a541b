"""The use cases about text where other servers generate: what is asked, of whom, and once more.

Has the methods of `Playground`. A chat goes as messages, for the server applies its own template;
a raw prompt as text, or as ids where the server takes them and they matter. What a server cannot
honour is refused or told. A server that fails before it wrote anything is replaced by another.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

from gemma_space import chat, controls, limits, tokens
from gemma_space import precision as rules
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.errors import (
    InvalidControlError,
    InvalidRequestError,
    ServerError,
    SettingsError,
)
from gemma_space.generation import Recorder
from gemma_space.lease import ModelKey
from gemma_space.playground import Playground
from gemma_space.remote import wording
from gemma_space.remote.ability import NEUTRAL, NO_COUNT, NO_SCORES, NO_SEED, Ability
from gemma_space.remote.answers import chunks
from gemma_space.remote.asking import limited
from gemma_space.remote.library import RemoteLibrary
from gemma_space.remote.servers import Server, Servers
from gemma_space.remote.wire import Wire
from gemma_space.reports import LoadProgress
from gemma_space.settings import Settings
from gemma_space.tokens import ReplyText
from gemma_space.types import (
    Attention,
    ChatRequest,
    CompletionRequest,
    Generation,
    Precision,
    RenderedChat,
    SamplingParams,
    ScoreRequest,
    Scoring,
)

TRYING = "Finding out what the server can do…"
ITS_TEMPLATE = (
    "The server applies its own template and tells no token ids; this is the checkpoint's own."
)
ITS_TOKENS = "The server made tokens of the prompt itself; whether it added a BOS is not known."
NOT_THINKING = "The server was asked to have the model think, and showed no sign of it when tried."
Attempt = Callable[[Server, Ability], Iterator[Generation]]


class RemotePlayground(Playground):
    """What the page and the API call, generating on the servers of `settings.engine_url`."""

    library: RemoteLibrary

    def __init__(self, access: Access, settings: Settings) -> None:
        key = settings.engine_key.get_secret_value() if settings.engine_key else None
        self._wire = Wire(key)
        servers = Servers(settings.engine_url, self._wire, settings.models)
        servers.look()
        library = RemoteLibrary(servers, self._wire, access, settings)
        rows = library.choices()
        if not rows:
            raise SettingsError(
                "No server of GEMMA_SPACE_ENGINE_URL answers and lists a model.",
                "Start it first, or name its models in GEMMA_SPACE_MODELS.",
            )
        super().__init__(rows, access, settings, library)

    @classmethod
    def from_settings(cls, settings: Settings) -> "RemotePlayground":
        """Serve what the servers list, or of it what the settings name.

        Raises:
            SettingsError: no server answers, and no model is named.
            ModelNotFoundError: the default model is not among them.
        """
        token = settings.hf_token if settings.access == "deployer" else None
        return cls(Access(deployer_token=token.get_secret_value() if token else None), settings)

    def warm_up(self) -> None:
        """Find out what the server of the default model can do."""
        self.library.ability(self.library.find(self.default_model))

    # --- use cases --------------------------------------------------------------------------------

    def chat(
        self, request: ChatRequest, token: str | None = None
    ) -> Generator[LoadProgress | Generation]:
        """Answer a conversation; the server applies its own template.

        Raises:
            GemmaSpaceError: bad request, something the server cannot do, or no server.
        """
        row = self._row(request, token)
        limits.check_messages(request.messages, request.system_prompt, request.reply_prefix)
        chat.require_chat_format(row.variant)
        messages, mended = wording.conversation(request)

        def attempt(server: Server, ability: Ability) -> Iterator[Generation]:
            _require(ability.no_chat, "Use the Prompt tab, or choose another model.")
            if request.reply_prefix and not ability.continues:
                raise InvalidRequestError(
                    "This server cannot go on with a reply that was cut.",
                    "Ask it to go on in a message of your own.",
                )
            params = self._checked(row, request, ability)
            notes = mended + (NOT_THINKING,) * bool(request.thinking and not ability.thinks)
            body = wording.chat_body(request, params, ability)
            answers = self._wire.chat(server.url, row.repo_id, messages, body)
            recorder = _recorder(row, params, ability, notes, before=request.reply_prefix)
            yield from recorder.record(limited(chunks(answers, chat=True), params, self._max_time))

        yield from self._attempts(row, attempt)

    def complete(
        self, request: CompletionRequest, token: str | None = None
    ) -> Generator[LoadProgress | Generation]:
        """Continue a raw prompt; as ids where the server takes them and the tokenizer is known.

        Raises:
            GemmaSpaceError: as `chat`.
        """
        row = self._row(request, token)
        limits.check_size(request.prompt)
        limits.check_ids(request.token_ids, request.begins_with)
        top = limits.check_logprobs(request.logprobs)
        if not (request.prompt or request.token_ids):
            raise InvalidRequestError("The prompt is empty.", "Write something to continue.")

        def attempt(server: Server, ability: Ability) -> Iterator[Generation]:
            _require(ability.no_completion, "Use the Chat tab, or choose another model.")
            params = self._checked(row, request, ability)
            ids = self._ids(row, request, ability, token)
            notes = (NO_SCORES,) * bool(top and not ability.scores)
            notes += (ITS_TOKENS,) * (not ids and not ability.takes_bos)
            body = wording.completion_body(
                ids or _text(request), params, ability,
                model=row.repo_id, add_bos=request.add_bos, logprobs=top,
            )  # fmt: skip
            answers = self._wire.complete(server.url, body)
            recorder = _recorder(row, params, ability, notes, prompt_ids=ids)
            yield from recorder.record(limited(chunks(answers, chat=False), params, self._max_time))

        yield from self._attempts(row, attempt)

    def score(
        self, request: ScoreRequest, token: str | None = None
    ) -> Generator[LoadProgress | Scoring]:
        """A server tells the scores of what it writes, not of what it reads.

        Raises:
            InvalidRequestError: always.
        """
        self._row(request, token)
        raise InvalidRequestError(
            "A text can only be scored where the weights are; this model is on another server.",
            "Run a Gemma Space without GEMMA_SPACE_ENGINE_URL on a machine that fits it.",
        )
        yield

    def given(self, request: ChatRequest, token: str | None = None) -> RenderedChat:
        """What the checkpoint's own template makes of it; the server has its own.

        Raises:
            GemmaSpaceError: the tokenizer cannot be had.
        """
        rendered = super().given(request, token)
        return replace(rendered, notes=(ITS_TEMPLATE, *rendered.notes))

    # --- which server -----------------------------------------------------------------------------

    def _attempts(self, row: Checkpoint, attempt: Attempt) -> Generator[LoadProgress | Generation]:
        """Ask one server after the other until one has begun; then its end is the end."""
        tried: set[Server] = set()
        first: ServerError | InvalidRequestError | None = None
        while True:
            with self.library.servers.use(row.repo_id, tried, first) as server:
                tried.add(server)
                begun = False
                if row.repo_id not in server.abilities:
                    yield LoadProgress(phase="load", note=TRYING)
                try:
                    for update in attempt(server, self.library.tried(server, row)):
                        begun = begun or update.completion_tokens > 0
                        yield update
                    return
                except ServerError as error:
                    self.library.servers.failed(server, error)
                    if begun or not error.elsewhere:
                        raise
                    first = first or error
                except InvalidRequestError as refused:  # another may be able to
                    if begun:
                        raise
                    first = first or refused

    # --- what it can do ---------------------------------------------------------------------------

    def _row(
        self, request: ChatRequest | CompletionRequest | ScoreRequest, token: str | None
    ) -> Checkpoint:
        row = self.library.find(request.model, token)
        if not isinstance(request, ScoreRequest):
            self._params(row, request.controls)  # what no server could honour
        rules.require(row, request.precision)
        if request.attention is not Attention.AUTO:
            raise InvalidRequestError(
                "The server decides how attention is computed.", "Choose auto."
            )
        return row

    def _defaults(self, row: Checkpoint) -> SamplingParams:
        """The checkpoint's own, but where its server follows no such control."""
        own, known = super()._defaults(row), self.library.known(row)
        return own if known is None else _followed(own, known)

    def _checked(
        self, row: Checkpoint, request: ChatRequest | CompletionRequest, ability: Ability
    ) -> SamplingParams:
        defaults = _followed(super()._defaults(row), ability)
        params = controls.resolve(request.controls, defaults, self._limit(row))
        for name in ability.unfollowed():
            if getattr(params, name) != NEUTRAL[name]:
                raise InvalidControlError(
                    f"{name} is {getattr(params, name):g}, but the server did not follow it when "
                    "it was tried.",
                    f"Set it to {NEUTRAL[name]:g}, which leaves it to the server.",
                )
        return params

    def _ids(
        self, row: Checkpoint, request: CompletionRequest, ability: Ability, token: str | None
    ) -> tuple[int, ...]:
        """The prompt as ids; none where the server reads the text itself.

        Raises:
            InvalidRequestError: text would not do, and the server takes no ids.
        """
        given = (*request.token_ids, *request.begins_with)
        literal = not request.parse_special and "<" in request.prompt
        bare = not request.add_bos and not ability.takes_bos
        if not ability.takes_ids:
            _require(
                "This server takes no token ids." * bool(given),
                "Change the prompt: it is then sent as text.",
            )
            _require(
                "This server reads control tokens in a text as such." * literal,
                "Switch Read control tokens on, or take them out of the text.",
            )
            _require(
                "This server cannot be told to leave the BOS out." * bare, "Switch Add BOS on."
            )
            return ()
        if given or not (literal or bare or self.library.has_files(row)):
            return given
        return tokens.encode_prompt(
            self.library.tokenizer(row, token), request.prompt,
            add_bos=request.add_bos, parse_special=request.parse_special,
        )  # fmt: skip


def _followed(params: SamplingParams, ability: Ability) -> SamplingParams:
    return replace(params, **{name: NEUTRAL[name] for name in ability.unfollowed()})


def _require(obstacle: str, hint: str) -> None:
    if obstacle:
        raise InvalidRequestError(obstacle, hint)


def _text(request: CompletionRequest) -> str:
    """The prompt as text; where the server puts a BOS in front, not with one more."""
    return request.prompt.removeprefix("<bos>") if request.add_bos else request.prompt


def _recorder(
    row: Checkpoint, params: SamplingParams, ability: Ability, notes: tuple[str, ...],
    *, prompt_ids: tuple[int, ...] = (), before: str = "",
) -> Recorder:  # fmt: skip
    sampled = params.temperature > 0
    notes += (NO_SEED,) * (sampled and "seed" not in ability.follows)
    notes += (NO_COUNT,) * (not ability.counts)
    return Recorder(
        ModelKey(row, "", Precision.AS_SERVED), params, ReplyText(params.stop),
        prompt_ids=prompt_ids, notes=notes, before=before,
    )  # fmt: skip
