"""A playground with scripted replies: long, slow and exact where a real model is none of these.

Has the methods that the page calls, and keeps a log of what became of each stream.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gemma_space.controls import default_params
from gemma_space.errors import GemmaSpaceError, GenerationError
from gemma_space.reports import LoadProgress
from gemma_space.runs import Inspection
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Generation,
    SamplingParams,
    ScoredPiece,
    ScoreRequest,
    Scoring,
    TokenPiece,
)
from gemma_space.visitors import Visitors
from tests.browser.fake_access import FakeHub
from tests.browser.fake_library import FakeLibrary


@dataclass
class FakePlayground:
    """Replies with `words`, one every `seconds`; "Fail" as a message raises.

    Attributes:
        events: "started", "finished" or "closed" for each stream, in order.
        requests, completions, scores: what was asked for.
        fail_after: how many words are said before an error; None for no error.
        spoken_at: when each word was said, in seconds since the epoch.
        refusal: an error in place of any reply.
        places: where a reply stands among those that wait, one after the other, before its words.
        tokens: what each question was asked with, by the name of the method.
        own_token: the login of whoever runs the server.
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
    scores: list[ScoreRequest] = field(default_factory=list)
    spoken_at: list[float] = field(default_factory=list)
    refusal: GemmaSpaceError | None = None
    places: tuple[int, ...] = ()
    tokens: dict[str, str | None] = field(default_factory=dict)
    hub: FakeHub = field(default_factory=FakeHub)
    own_token: str | None = None
    visitors: Visitors = field(init=False)

    def __post_init__(self) -> None:
        own = (lambda: self.own_token) if self.own_token else None
        self.visitors = Visitors(self.hub.access(), own)

    def reset(self) -> None:
        """Back to the usual script, with an empty log."""
        usual = FakePlayground()
        for name in ("words", "seconds", "notes", "finish_reason", "fail_after", "events",
                     "refusal", "tokens", "places"):  # fmt: skip
            setattr(self, name, getattr(usual, name))
        self.requests, self.completions, self.scores, self.spoken_at = [], [], [], []
        self.hub.asked, self.hub.reachable = [], True
        self.library.reset()

    def default_params(self, model: str, token: str | None = None) -> SamplingParams:
        self.tokens["default_params"] = token
        return default_params({"temperature": 1.0 if model == "fake/chat" else 0.0}, 512)

    def max_new_tokens(self, model: str, token: str | None = None) -> int:
        self.tokens["max_new_tokens"] = token
        return 1024

    def load(
        self, model: str, precision_name: str = "auto", token: str | None = None,
        attention_name: str = "auto",
    ) -> Iterator[LoadProgress]:  # fmt: skip
        return self.library.load(model, precision_name, token, attention_name)

    def chat(
        self, request: ChatRequest, token: str | None = None
    ) -> Iterator[LoadProgress | Generation]:
        self.requests.append(request)
        self.tokens["chat"] = token
        if self.refusal:
            raise self.refusal
        yield from self.library.loading()
        if request.messages[-1].content == "Fail":
            raise self._failure()
        yield from self._generate(request.reply_prefix)

    def complete(
        self, request: CompletionRequest, token: str | None = None
    ) -> Iterator[LoadProgress | Generation]:
        self.completions.append(request)
        self.tokens["complete"] = token
        if self.refusal:
            raise self.refusal
        yield from self.library.loading()
        if request.prompt == "Fail":
            raise self._failure()
        yield from self._generate("")

    def score(self, request: ScoreRequest, token: str | None = None) -> Iterator[Scoring]:
        self.scores.append(request)
        pieces = tuple(
            ScoredPiece(id=3, text=word, logprob=-1.0, entropy=1.0) for word in self.words
        )
        for count in range(1, len(pieces) + 1):
            yield Scoring(
                tokens=pieces[:count], total_tokens=len(pieces), perplexity=2.72,
                model="fake/chat", revision="main", precision="bf16",
            )  # fmt: skip
            time.sleep(self.seconds)

    @property
    def prompts(self) -> "FakePlayground":
        return self

    def inspect(
        self, text: str, model: str, *, add_bos: bool, token: str | None = None, **_: object
    ) -> Inspection:
        """Words are tokens."""
        self.tokens["inspect"] = token
        words = [*(["<bos>"] if add_bos else []), *text.split()]
        return Inspection(tokens=tuple(TokenPiece(id=3, text=word) for word in words))

    def _failure(self) -> GenerationError:
        return GenerationError("The model <b>stumbled</b>.", "Try again.")

    def _generate(self, text: str) -> Iterator[Generation]:
        self.events.append("started")
        try:
            for place in self.places:
                yield replace(self._generation(text, 0, None), place=place)
                time.sleep(self.seconds)
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
