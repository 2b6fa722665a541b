"""What the page and the API need of a playground, whatever stands behind it.

Knows the shapes alone. `Playground` and `RemotePlayground` do the work; `Observed` is one of them
seen through one way in.
"""

from collections.abc import Generator, Sequence
from typing import Protocol

from gemma_space.library import Library
from gemma_space.prompt_help import PromptHelp
from gemma_space.reports import LoadProgress
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
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


class UseCases(Protocol):
    """Everything a visitor can do. What each method gives and raises: see `Playground`."""

    @property
    def default_model(self) -> str: ...

    @property
    def library(self) -> Library: ...

    @property
    def prompts(self) -> PromptHelp: ...

    @property
    def visitors(self) -> Visitors: ...

    def default_params(self, model: str, token: str | None = None) -> SamplingParams: ...

    def max_new_tokens(self, model: str, token: str | None = None) -> int: ...

    def load(
        self, model: str, precision_name: str = "auto", token: str | None = None,
        attention_name: str = "auto",
    ) -> Generator[LoadProgress]: ...  # fmt: skip

    def chat(
        self, request: ChatRequest, token: str | None = None
    ) -> Generator[LoadProgress | Generation]: ...

    def complete(
        self, request: CompletionRequest, token: str | None = None
    ) -> Generator[LoadProgress | Generation]: ...

    def score(
        self, request: ScoreRequest, token: str | None = None
    ) -> Generator[LoadProgress | Scoring]: ...

    def tokenize(
        self, text: str, model: str, parse_special: bool = True, token: str | None = None
    ) -> Tokenization: ...

    def render_chat(
        self, messages: Sequence[Message], model: str, system_prompt: str = "",
        token: str | None = None, thinking: bool | None = None,
    ) -> RenderedChat: ...  # fmt: skip

    def given(self, request: ChatRequest, token: str | None = None) -> RenderedChat: ...

    def pieces(
        self, ids: tuple[int, ...], model: str, token: str | None = None
    ) -> tuple[PromptPiece, ...]: ...
