"""One prompt on several models: how each column is set, what was asked, how far each has come.

Knows each column's own history, and what may be shown while nobody is to know which column is
which. Values only; what runs them is `side_by_side`.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gemma_space.controls import MAX_SEED
from gemma_space.divergence import Parting, Written, parting
from gemma_space.errors import InvalidControlError
from gemma_space.reports import LoadProgress
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Controls,
    Generation,
    Message,
    Precision,
)

MIN_COLUMNS = 2
MAX_COLUMNS = 4
UNIT_CHARACTERS = 1000  # of text take the room of one unit of `Comparison.size`, as do 40 ids
UNIT_IDS = 40

DEFAULTS = Controls()

Request = ChatRequest | CompletionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How one column is set.

    Attributes:
        model: as it was chosen or typed.
        controls: or what is wrong with them.
        own: they are this column's own, not those of all.
    """

    model: str
    precision: Precision = Precision.AUTO
    controls: Controls | InvalidControlError = DEFAULTS
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnState:
    """How far one column has come; each state replaces the one before.

    Attributes:
        wave: it begins once all columns of lower waves have ended.
        title: of its model; empty until that is known.
        note: why its precision is not the best one, where that is so.
        progress: of the load, while it lasts.
        generation: the reply so far; its last state has a reason even where it was stopped.
        ends: for each token, how many characters the reply had once it was written.
        vocabulary: equal ones in one comparison give token ids the same meaning.
        weights_bytes: what its model takes in memory, an adapter's base included.
        problem: what ended it, in words; the reply so far stays.
        done: nothing more comes.
    """

    wave: int = 0
    title: str = ""
    note: str = ""
    progress: LoadProgress | None = None
    generation: Generation | None = None
    ends: tuple[int, ...] = ()
    vocabulary: int | None = None
    weights_bytes: int = 0
    problem: str = ""
    done: bool = False

    @property
    def written(self) -> Written:
        """The reply, as `divergence` compares it."""
        found = self.generation
        if found is None:
            return Written(text="", vocabulary=self.vocabulary, done=self.done)
        # One that was broken off might have gone on as the other did.
        ended = self.done and not self.problem and found.finish_reason != "cancelled"
        return Written(text=found.text, ids=found.token_ids[: len(self.ends)], ends=self.ends,
                       vocabulary=self.vocabulary, done=ended)  # fmt: skip

    @property
    def answered(self) -> bool:
        """Whether there is a whole reply to look at."""
        found = self.generation
        return self.done and not self.problem and found is not None and bool(found.text.strip())

    def stopped(self) -> "ColumnState":
        """As it stays when nobody waits for it any more."""
        if self.done:
            return self
        found = self.generation and replace(self.generation, finish_reason="cancelled")
        return replace(self, generation=found, progress=None, done=True)

    def masked(self, tokens: int | None) -> "ColumnState":
        """What of it tells nothing of its model, while others have written `tokens`.

        Args:
            tokens: None once all columns are done.
        """
        found = self.generation
        if tokens is None:
            return ColumnState(generation=found and replace(found, thinking=""), done=True,
                               problem=self.problem)  # fmt: skip
        if found is None or not tokens:  # who had to load is not told either
            return ColumnState()
        done = self.done and not self.problem and len(self.ends) <= tokens
        length = len(found.text) if done else self.ends[min(tokens, len(self.ends)) - 1]
        shown = replace(found, text=found.text[:length], thinking="",
                        finish_reason=found.finish_reason if done else None)  # fmt: skip
        return ColumnState(generation=shown, done=done)


def level(states: Sequence[ColumnState]) -> tuple[ColumnState, ...]:
    """What may be shown while nobody is to know which column is which.

    None shows more tokens than the slowest that still writes has: speed would tell them apart.
    """
    going = [len(state.ends) for state in states if not state.done]
    tokens = min(going) if going else None
    return tuple(state.masked(tokens) for state in states)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """How replies that stand side by side differ.

    Attributes:
        reference: index of the one that all others are compared with; None where there is none.
        partings: how each differs from that one; None for itself, and where there is no reply.
        at: index of the character from which on each is marked; None where it is not.
    """

    reference: int | None
    partings: tuple[Parting | None, ...]
    at: tuple[int | None, ...]


def parted(states: Sequence[ColumnState]) -> Parted:
    """Compare all replies with the first one; that is marked where any other leaves it."""
    there = [at for at, state in enumerate(states) if state.generation is not None]
    if not there:
        return Parted(reference=None, partings=(None,) * len(states), at=(None,) * len(states))
    first, *others = there
    written = {at: states[at].written for at in there}
    found = {at: parting(written[first], written[at]) for at in others}
    marks = {at: one.at for at, one in found.items()}
    back = [parting(written[at], written[first]).at for at in others]
    marks[first] = min((at for at in back if at is not None), default=None)
    places = range(len(states))
    return Parted(
        reference=first,
        partings=tuple(found.get(at) for at in places),
        at=tuple(marks.get(at) for at in places),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A text that was given to all columns, and how far each has come with it."""

    text: str
    states: tuple[ColumnState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A conversation, or one raw prompt, in several columns.

    Attributes:
        seed: of every column that has none of its own.
        order: which column stands at each place of the page.
        hidden: nobody is to know which one, until a vote or `revealed`.
        blind: it was hidden when it was asked.
        voted: the last exchange was voted on.
    """

    kind: Literal["chat", "raw"]
    columns: tuple[Column, ...]
    seed: int
    order: tuple[int, ...]
    system_prompt: str = ""
    add_bos: bool = True
    parse_special: bool = True
    blind: bool = False
    hidden: bool = False
    voted: bool = False
    exchanges: tuple[Exchange, ...] = ()

    @classmethod
    def begin(
        cls, columns: Sequence[Column], kind: Literal["chat", "raw"], *, seed: int | None = None,
        blind: bool = False, system_prompt: str = "", add_bos: bool = True,
        parse_special: bool = True,
    ) -> "Comparison":  # fmt: skip
        """One with nothing asked yet: a seed is drawn where none is given; blind ones shuffle."""
        order = list(range(len(columns)))
        if blind:
            random.shuffle(order)
        return cls(
            kind=kind, columns=tuple(columns), order=tuple(order), blind=blind, hidden=blind,
            seed=random.randrange(MAX_SEED + 1) if seed is None else seed,
            system_prompt=system_prompt, add_bos=add_bos, parse_special=parse_special,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """How much room it takes, in units of about 2 KB."""
        characters = ids = 0
        for exchange in self.exchanges:
            characters += len(exchange.text)
            for found in (state.generation for state in exchange.states):
                if found is not None:
                    characters += len(found.text) + len(found.thinking)
                    ids += 2 * len(found.token_ids) + len(found.prompt_ids)
        return 1 + characters // UNIT_CHARACTERS + ids // UNIT_IDS

    @property
    def running(self) -> bool:
        """Whether more is to come."""
        return bool(self.exchanges) and not all(s.done for s in self.exchanges[-1].states)

    @property
    def answered(self) -> tuple[int, ...]:
        """The places whose last reply is whole."""
        if not self.exchanges:
            return ()
        states = self.exchanges[-1].states
        return tuple(at for at, column in enumerate(self.order) if states[column].answered)

    @property
    def may_go_on(self) -> bool:
        """Whether another message can follow."""
        return self.kind == "chat" and bool(self.answered) and not self.running

    def asking(self, text: str) -> "Comparison":
        """With this text asked too."""
        states = tuple(ColumnState() for _ in self.columns)
        exchange = Exchange(text=text, states=states)
        return replace(self, exchanges=(*self.exchanges, exchange), voted=False)

    def told(self, states: Sequence[ColumnState]) -> "Comparison":
        """With the last exchange as far as this."""
        last = replace(self.exchanges[-1], states=tuple(states))
        return replace(self, exchanges=(*self.exchanges[:-1], last))

    def stopped(self) -> "Comparison":
        """With nothing to come any more."""
        return self.told([state.stopped() for state in self.exchanges[-1].states])

    def revealed(self) -> "Comparison":
        """With everything shown."""
        return replace(self, hidden=False)

    def places(self, exchange: Exchange) -> tuple[ColumnState, ...]:
        """What each place of the page shows of an exchange."""
        states = tuple(exchange.states[column] for column in self.order)
        return level(states) if self.hidden else states

    def requests(self) -> tuple[Request | InvalidControlError, ...]:
        """What the last exchange asks of each column, or why nothing can be asked."""
        return tuple(self._request(at) for at in range(len(self.columns)))

    def _request(self, at: int) -> Request | InvalidControlError:
        column, text = self.columns[at], self.exchanges[-1].text
        if isinstance(column.controls, InvalidControlError):
            return column.controls
        seed = self.seed if column.controls.seed is None else column.controls.seed
        controls = replace(column.controls, seed=seed)
        if self.kind == "raw":
            return CompletionRequest(
                prompt=text, model=column.model, precision=column.precision, controls=controls,
                add_bos=self.add_bos, parse_special=self.parse_special,
            )  # fmt: skip
        messages = (*self._history(at), Message(role="user", content=text))
        return ChatRequest(
            messages=messages, model=column.model, precision=column.precision, controls=controls,
            system_prompt=self.system_prompt,
        )  # fmt: skip

    def _history(self, at: int) -> tuple[Message, ...]:
        """What was said in this column; what it did not answer was not said."""
        said: list[Message] = []
        for exchange in self.exchanges[:-1]:
            found, problem = exchange.states[at].generation, exchange.states[at].problem
            if found is not None and found.text.strip() and not problem:
                said += [Message(role="user", content=exchange.text),
                         Message(role="assistant", content=found.text)]  # fmt: skip
        return tuple(said)
