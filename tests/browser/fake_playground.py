"""A playground with scripted replies: long, slow and exact where a real model is none of these.

Has the methods that the page calls, and keeps a log of what became of each stream.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from gemma_space.controls import default_params
from gemma_space.errors import GenerationError
from gemma_space.reports import LoadProgress
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Generation,
    SamplingParams,
    Tokenization,
    TokenPiece,
)
from tests.browser.fake_library import FakeLibrary


@dataclass
class FakePlayground:
    """Replies with `words`, one every `seconds`; "Fail" as a message raises.

    Attributes:
        events: "started", "finished" or "closed" for each stream, in order.
        requests, completions: what was asked for.
        fail_after: how many words are said before an error; None for no error.
        spoken_at: when each word was said, in seconds since the epoch.
    """

    words: tuple[str, ...] = ("A ", "short ", "reply.")
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    finish_reason: str = "stop"
    fail_after: int | None = None
    default_model: str = "fake/chat"
    library: FakeLibrary = field(default_factory=FakeLibrary)
    events: list[str] = field(default_factory=list)
    requests: list[ChatRequest] = field(default_factory=list)
    completions: list[CompletionRequest] = field(default_factory=list)
    spoken_at: list[float] = field(default_factory=list)

    def reset(self) -> None:
        """Back to the usual script, with an empty log."""
        usual = FakePlayground()
        for name in ("words", "seconds", "notes", "finish_reason", "fail_after", "events"):
            setattr(self, name, getattr(usual, name))
        self.requests, self.completions, self.spoken_at = [], [], []
        self.library.reset()

    def default_params(self, model: str) -> SamplingParams:
        return default_params({"temperature": 1.0 if model == "fake/chat" else 0.0}, 512)

    def max_new_tokens(self, model: str) -> int:
        return 1024

    def chat(
        self, request: ChatRequest, token: str | None = None
    ) -> Iterator[LoadProgress | Generation]:
        self.requests.append(request)
        yield from self.library.loading()
        if request.messages[-1].content == "Fail":
            raise self._failure()
        yield from self._generate(request.reply_prefix)

    def complete(
        self, request: CompletionRequest, token: str | None = None
    ) -> Iterator[LoadProgress | Generation]:
        self.completions.append(request)
        yield from self.library.loading()
        if request.prompt == "Fail":
            raise self._failure()
        yield from self._generate("")

    def tokenize(self, text: str, model: str, parse_special: bool = True) -> Tokenization:
        return Tokenization(tokens=tuple(TokenPiece(id=3, text=word) for word in text.split()))

    def _failure(self) -> GenerationError:
        return GenerationError("The model <b>stumbled</b>.", "Try again.")

    def _generate(self, text: str) -> Iterator[Generation]:
        self.events.append("started")
        try:
            for count, word in enumerate(self.words, start=1):
                text += word
                self.spoken_at.append(time.time())
                done = count == len(self.words)
                yield self._generation(text, count, self.finish_reason if done else None)
                time.sleep(self.seconds)
                if count == self.fail_after:
                    raise self._failure()
            self.events.append("finished")
        except GeneratorExit:
            self.events.append("closed")
            raise

    def _generation(self, text: str, count: int, reason: str | None) -> Generation:
        return Generation(
            text=text, finish_reason=reason,  # type: ignore[arg-type]
            prompt_tokens=15, completion_tokens=count, cached_tokens=0, dropped_messages=0,
            seed=7, ttft_seconds=0.07, tokens_per_second=41.3, model="fake/chat",
            revision="main", precision="bf16", notes=self.notes,
        )  # fmt: skip
