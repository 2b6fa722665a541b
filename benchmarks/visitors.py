"""What visitors do: ask alone, ask together, hold a conversation; and how long each waits.

Knows a way to get a reply as a function from messages and a number of tokens to the text and when
it came. Does not know who answers.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.engine import Timed, together
from benchmarks.figure import Pair
from gemma_space.types import Message

WORDS = ("token", "time", "which", "big", "work", "precision", "see", "every", "please", "old",
         "page", "language", "app", "two", "friend")  # fmt: skip
MESSAGE_WORDS = 50
VISITORS = 8
TURNS = 10
Reply = Callable[[Sequence[Message], int], tuple[str, Timed]]
_CHANCE = random.Random(0)


def message() -> Message:
    """A question that nobody asked before; no prompt begins like another."""
    return Message(role="user", content=" ".join(_CHANCE.choices(WORDS, k=MESSAGE_WORDS)))


def rate(reply: Reply, visitors: int, tokens: int) -> tuple[float, float]:
    """Tokens per second of so many visitors at once, and their median time to the first word."""
    questions = [message() for _ in range(visitors)]
    started = time.perf_counter()
    found = together([lambda q=q: reply([q], tokens) for q in questions])
    seconds = time.perf_counter() - started
    return visitors * tokens / seconds, statistics.median(timed.first for _, timed in found)


def conversation(reply: Reply, turns: int, tokens: int) -> list[float]:
    """The time to the first word at each turn of one conversation."""
    messages: list[Message] = []
    waits = []
    for _ in range(turns):
        messages.append(message())
        ((text, timed),) = together([lambda: reply(messages, tokens)])
        messages.append(Message(role="assistant", content=text))
        waits.append(timed.first)
    return waits


def compared(ours: Reply, theirs: Reply, baseline: str, quick: bool) -> Iterator[Pair]:
    """One pair of each figure, both sides one after the other."""
    tokens, turns = (6, 2) if quick else (32, TURNS)
    for visitors, name in ((1, "one visitor"), (VISITORS, "eight visitors at once")):
        mine, other = rate(ours, visitors, tokens), rate(theirs, visitors, tokens)
        yield Pair(name=f"{name}, from the message to the last word", unit="tokens/s",
                   ours=mine[0], baseline=baseline, theirs=other[0])  # fmt: skip
        yield Pair(name=f"{name}, until the first word", unit="s", ours=mine[1],
                   baseline=baseline, theirs=other[1])  # fmt: skip
    waits, others = conversation(ours, turns, tokens), conversation(theirs, turns, tokens)
    for turn in (1, turns):
        yield Pair(name=f"until the first word at turn {turn}", unit="s", ours=waits[turn - 1],
                   baseline=baseline, theirs=others[turn - 1])  # fmt: skip
