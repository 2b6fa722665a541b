"""Finds out what a server does for a model by asking it for a few tokens, about twenty times.

Servers drop fields they do not know without a word. So each control is tried at a value at which
following it shows: what varies by seed must become the likeliest text, or the likeliest text must
change. Knows what is tried and what follows from it; does not know the wire.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from gemma_space.chat import THINKING
from gemma_space.chunks import Usage
from gemma_space.errors import ServerError
from gemma_space.remote.ability import NEUTRAL, Ability, Dialect
from gemma_space.remote.wording import CONTINUE, sampling
from gemma_space.types import SamplingParams

Route = Literal["chat", "completion"]
QUESTION = "Repeat this: one two one two one two one two"
TOKENS, LONGER = 6, 12
HOT: dict[str, Any] = {"temperature": 2.0}
# Each leaves one token to choose from, the likeliest.
NARROW: dict[str, dict[str, Any]] = {
    "top_p": {"top_p": 0.0}, "top_k": {"top_k": 1}, "min_p": {"min_p": 1.0},
}  # fmt: skip
# Each forbids the likeliest text to a question that asks for a repetition.
FORBIDDING: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"repetition_penalty": 2.0},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
}
WAYS: tuple[tuple[Dialect, int], ...] = (
    ("fields", 0), ("fields", -1), ("generation_config", 0), ("openai", 0),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """The few tokens that came."""

    text: str
    scored: bool = False
    usage: Usage | None = None

    @property
    def prompt_tokens(self) -> int:
        """As the server counted them; 0 where it does not."""
        return self.usage.prompt_tokens if self.usage else 0


# Asks for a few tokens: the route, what is asked (messages, a text or ids), the body's fields.
Ask = Callable[[Route, Any, dict[str, Any]], Reply]


def probe(ask: Ask, thinks: bool) -> Ability:
    """Try everything.

    Args:
        thinks: whether the model may know how to think, so that asking for it is tried.

    Raises:
        ServerError: the server is not there, or does not have the model.
    """
    chat, no_chat = _open(ask, "chat", WAYS)
    ways: tuple[tuple[Dialect, int], ...] = WAYS
    if chat is not None:
        ways = ((chat.dialect, chat.top_k_off),)
    completion, no_completion = _open(ask, "completion", ways)
    found = chat or completion
    if found is None:
        assert no_chat is not None
        raise no_chat
    found = replace(
        found,
        no_chat=no_chat.message if no_chat else "",
        no_completion=no_completion.message if no_completion else "",
    )
    tried = _Trial(ask, "completion" if no_chat else "chat", found)
    found = replace(found, follows=frozenset(tried.followed()), counts=tried.counts)
    if not no_chat:
        found = replace(found, continues=_continues(ask, found))
        found = replace(found, thinks=thinks and _thinks(ask, found))
    return found if no_completion else replace(found, **_raw(ask, found))


def _params(max_new_tokens: int = TOKENS, seed: int = 1, **values: Any) -> SamplingParams:
    return SamplingParams(max_new_tokens=max_new_tokens, seed=seed, **{**NEUTRAL, **values})


def _question(route: Route) -> Any:
    return [{"role": "user", "content": QUESTION}] if route == "chat" else QUESTION


def _open(
    ask: Ask, route: Route, ways: tuple[tuple[Dialect, int], ...]
) -> tuple[Ability | None, ServerError | None]:
    """The first way of writing a request that a route takes, or why it takes none."""
    last: ServerError | None = None
    for dialect, top_k_off in ways:
        way = Ability(dialect=dialect, top_k_off=top_k_off)
        try:
            ask(route, _question(route), sampling(_params(max_new_tokens=1), way))
        except ServerError as error:
            if not error.rejected:
                raise
            last = error
        else:
            return way, None
    return None, last


class _Trial:
    """Which controls a route follows."""

    def __init__(self, ask: Ask, route: Route, way: Ability) -> None:
        self._ask, self._way = ask, way
        self._route: Route = route
        self.counts = False

    def followed(self) -> Iterator[str]:
        """Their names."""
        hot = [self._text(seed=seed, **HOT) for seed in (1, 1, 2)]
        cold = [self._text(LONGER, seed=seed, temperature=0.0) for seed in (1, 2)]
        likeliest = cold[0]
        if len(set(hot)) == 1 or cold[1] != likeliest:
            return  # nothing shows where nothing varies, or where everything does
        yield "temperature"
        if hot[0] == hot[1]:
            yield "seed"
        for name, values in NARROW.items():
            if self._may(name) and _begins(likeliest, self._text(**HOT, **values)):
                yield name
        if not self._may("typical_p"):
            return
        if hot[0] == hot[1] != self._text(**HOT, typical_p=0.01):  # all else being the same
            yield "typical_p"
        for name, values in FORBIDDING.items():
            if self._text(LONGER, temperature=0.0, **values) != likeliest:
                yield name

    def _may(self, name: str) -> bool:
        return self._way.dialect != "openai" or name == "top_p"

    def _text(self, max_new_tokens: int = TOKENS, **values: Any) -> str:
        body = sampling(_params(max_new_tokens, **values), self._way)
        reply = self._ask(self._route, _question(self._route), body)
        self.counts = reply.usage is not None
        return reply.text


def _begins(text: str, beginning: str) -> bool:
    return bool(beginning) and text.startswith(beginning)


def _tried(ask: Ask, route: Route, prompt: Any, body: dict[str, Any]) -> Reply:
    """What came; nothing where the server refuses it."""
    try:
        return ask(route, prompt, body)
    except ServerError as error:
        if error.down:
            raise
        return Reply("")


def _continues(ask: Ask, way: Ability) -> bool:
    """Whether the reply's turn stays open: then no new one is opened, and the prompt is shorter."""
    begun = [*_question("chat"), {"role": "assistant", "content": "one two"}]
    body = sampling(_params(max_new_tokens=1), way)
    usual = _tried(ask, "chat", begun, body).prompt_tokens
    return 0 < _tried(ask, "chat", begun, body | CONTINUE).prompt_tokens < usual


def _thinks(ask: Ask, way: Ability) -> bool:
    body = sampling(_params(max_new_tokens=1), way)
    on, off = (
        _tried(ask, "chat", _question("chat"), body | {"chat_template_kwargs": {THINKING: switch}})
        for switch in (True, False)
    )
    return on.prompt_tokens != off.prompt_tokens


def _raw(ask: Ask, way: Ability) -> dict[str, bool]:
    """What raw completions can be had with."""
    body = sampling(_params(max_new_tokens=1), way)
    scored = _tried(ask, "completion", QUESTION, body | {"logprobs": 2})
    ids = _tried(ask, "completion", [2, 2, 2], body)  # three BOS, in every Gemma
    usual, bare = (
        _tried(ask, "completion", "one", body | more).prompt_tokens
        for more in ({}, {"add_special_tokens": False})
    )
    return {
        "scores": scored.scored,
        "takes_ids": ids.prompt_tokens == 3,
        "takes_bos": bool(bare) and usual == bare + 1,
    }
