"""What the deployer decided, from the environment.

Knows names, types, ranges and defaults. Does not know what a setting is used for.
"""

import json
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gemma_space.errors import SettingsError

PREFIX = "GEMMA_SPACE_"
PER_VISITOR = 4  # where strangers come: a quarter of the usual places


class Settings(BaseSettings):
    """The deployer's choices, from `GEMMA_SPACE_*` and a few variables with a meaning of their own.

    Raises:
        SettingsError: from `from_env`, naming the variable, when a value cannot be used.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Allow-list: comma-separated repo ids and local checkpoint folders. "
        "Empty: the whole catalogue.",
    )
    default_model: str = Field(
        default="",
        description="The model a visitor starts with. Empty: the first of `MODELS`, "
        "or the demo model.",
    )
    memory_budget: ByteSize | None = Field(
        default=None,
        gt=0,
        description="How much memory models may take, e.g. `20GiB`: their weights and a "
        "conversation of 8,192 tokens each. Empty: 80% of the device's memory.",
    )
    idle_seconds: float = Field(
        default=3600,
        ge=0,
        le=366 * 24 * 3600,
        description="How long a model that nobody uses stays in memory; 0: until its room is "
        "needed.",
    )
    cpu_offload: bool = Field(
        default=False,
        description="Let a model that is too large for the GPUs run partly on the CPU, which "
        "is slow; the page says so.",
    )
    allow_any_gemma: bool | None = Field(
        default=None,
        description="Let visitors type any repository or folder with a Gemma in it. Empty: yes "
        "on your own machine, no on a Space.",
    )
    access: Literal["visitor", "deployer"] = Field(
        default="visitor",
        description="`visitor`: a gated model needs the visitor's own token. `deployer`: the "
        "deployer's `HF_TOKEN` serves everyone, and the page says so.",
    )
    max_new_tokens: int = Field(
        default=4096, ge=1, le=262_144, description="The most tokens one reply may have."
    )
    max_time: float = Field(
        default=0,
        ge=0,
        le=24 * 3600,
        description="Seconds after which a reply ends, its wait for a place not counted; "
        "0: no limit.",
    )
    concurrent_requests: int = Field(
        default=16,
        ge=1,
        le=4096,
        description="How many requests run at once, of all models; the rest wait in order. One "
        "step of this machine's engine serves 8 of a model's on a CPU, 32 on a GPU; servers behind "
        "`ENGINE_URL` may take hundreds.",
    )
    queue_size: int = Field(
        default=64, ge=1, le=10_000, description="How many requests may wait before newcomers "
        "are told to come back later.",
    )  # fmt: skip
    per_visitor: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="How many requests one visitor may have running or waiting at once; 0: any "
        "number. Empty: 4, but any number on your own machine and in presenter mode.",
    )
    per_minute: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="How many requests one visitor may begin in a minute; 0: any number.",
    )
    mcp: bool = Field(
        default=True, description="Whether the public endpoints are tools for MCP clients too."
    )
    metrics: bool | None = Field(
        default=None,
        description="Whether `/metrics` tells Prometheus what is going on, to anyone who asks. "
        "Empty: yes where the page listens on this machine alone.",
    )
    log_prompts: bool = Field(
        default=False, description="Whether the log line of a request has its prompt too."
    )
    shutdown_seconds: float = Field(
        default=15,
        ge=0,
        le=3600,
        description="How long replies may go on once the server is told to stop.",
    )
    presenter: bool = Field(
        default=False,
        description="A page for a demonstration: the default model, examples, large type, a QR "
        "code, and no controls.",
    )
    presenter_title: str = Field(
        default="", max_length=100, description="Its title. Empty: the model's name."
    )
    presenter_examples: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Its examples, a JSON list of texts, or the path of a file that holds one. "
        "Empty: those of the Chat tab.",
    )
    hf_token: SecretStr | None = Field(
        default=None,
        validation_alias="HF_TOKEN",
        description="The deployer's Hub token; used for visitors only with `ACCESS=deployer`.",
    )

    engine_url: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated addresses of OpenAI-compatible servers that generate in "
        "place of this machine.",
    )
    engine_key: SecretStr | None = Field(
        default=None, description="The key that these servers ask for."
    )

    gpu_seconds: int = Field(
        default=60,
        ge=20,
        le=600,
        description="On ZeroGPU, the most seconds of GPU time one reply may ask for; one that "
        "needs more ends early and can be continued.",
    )
    zero_gpu: bool = Field(
        default=False,
        validation_alias="SPACES_ZERO_GPU",
        description="Set by Hugging Face on a Space whose GPU comes and goes with each request.",
    )
    space_id: str = Field(
        default="",
        validation_alias="SPACE_ID",
        description="Set by Hugging Face on a Space.",
    )

    server_name: str = Field(
        default="",
        validation_alias="GRADIO_SERVER_NAME",
        description="Where the page listens; empty: on this machine alone.",
    )
    root_path: str = Field(
        default="",
        validation_alias="GRADIO_ROOT_PATH",
        description="Where a proxy serves the page; then others than this machine can reach it.",
    )
    own_login: bool = Field(
        default=True,
        description="On your own machine, let your `HF_TOKEN` or saved login act for you. Switch "
        "it off where something forwards the port to others.",
    )
    share: bool = Field(
        default=False,
        validation_alias="GRADIO_SHARE",
        description="Whether Gradio makes a public address for the page.",
    )
    system: str = Field(
        default="",
        validation_alias="SYSTEM",
        description="Set to `spaces` by Hugging Face on a Space.",
    )
    oauth_client_id: str = Field(
        default="",
        validation_alias="OAUTH_CLIENT_ID",
        description="Set by Hugging Face on a Space whose visitors can sign in.",
    )

    @property
    def own_machine(self) -> bool:
        """Whether the page listens on this machine alone, as far as this process can know."""
        alone = self.server_name in ("", "127.0.0.1", "localhost", "::1")
        return alone and not (self.share or self.space_id or self.root_path)

    @property
    def visitors_share(self) -> int:
        """How many requests one visitor may have at once; 0: any number."""
        if self.per_visitor is not None:
            return self.per_visitor
        return 0 if self.own_machine or self.presenter else PER_VISITOR

    @property
    def shows_metrics(self) -> bool:
        """Whether figures about the server are served."""
        return self.own_machine if self.metrics is None else self.metrics

    @property
    def lends_to_owner(self) -> bool:
        """Whether the deployer's own login acts for those on this machine."""
        return self.own_machine and self.own_login

    @property
    def signs_in(self) -> bool:
        """Whether visitors can sign in with their Hugging Face account."""
        # Gradio itself goes by SYSTEM, and pretends a sign-in anywhere else.
        return bool(self.space_id and self.system == "spaces" and self.oauth_client_id)

    @property
    def takes_any_gemma(self) -> bool:
        """Whether visitors may name checkpoints that are not in the list."""
        return not self.space_id if self.allow_any_gemma is None else self.allow_any_gemma

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("engine_url", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(_address(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("presenter_examples", mode="before")
    @classmethod
    def _read_examples(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            in_place = value.lstrip().startswith("[")
            texts = json.loads(value if in_place else Path(value).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            texts = None
        if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
            raise PydanticCustomError(
                "examples", "It is neither a JSON list of texts nor a file that holds one"
            )
        return tuple(texts)

    @classmethod
    def from_env(cls) -> "Settings":
        """Read the process environment once."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0])
            variable = name if name.isupper() else PREFIX + name.upper()
            raise SettingsError(
                f"The setting {variable} cannot be used: {first['msg'][:1].lower()}"
                f"{first['msg'][1:]}.",
                "Correct it or remove it from the environment, then start again.",
            ) from None


def _address(text: str) -> str:
    """The base of a server's routes, without `/v1`."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address begins with http:// or https:// and names a host")
    if "@" in parts.netloc:
        raise ValueError("a key belongs in GEMMA_SPACE_ENGINE_KEY, not in an address")
    return text.rstrip("/").removesuffix("/v1").rstrip("/")
