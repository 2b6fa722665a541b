"""Runs the columns of a comparison: together as far as memory has room, else one after another.

Each column is followed in a thread of its own, so that none waits for another's step; what goes
wrong in one is told there. Knows models and their sizes; how states read, the page knows.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import cast

from gemma_space import tokens
from gemma_space.catalog import Checkpoint
from gemma_space.comparison import ColumnState, Request
from gemma_space.errors import GemmaSpaceError
from gemma_space.library import Library
from gemma_space.reports import Fit, LoadProgress
from gemma_space.types import ChatRequest, Generation, Precision
from gemma_space.use_cases import UseCases

Words = Callable[[Exception], str]
Asked = Request | GemmaSpaceError  # in place of a request, why there is none
Told = tuple[int, ColumnState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which columns run when.

    Attributes:
        waves: indices of columns; those of one wave fit in memory together, and each wave begins
            once the one before it has ended.
        rows: their checkpoints; None where there is no such model for this visitor.
        fits: what loading each would mean; None where that cannot be told.
    """

    waves: tuple[tuple[int, ...], ...]
    rows: tuple[Checkpoint | None, ...]
    fits: tuple[Fit | None, ...]

    @property
    def together(self) -> bool:
        return len(self.waves) < 2


def plan(
    library: Library, wanted: Sequence[tuple[str, Precision]], token: str | None = None
) -> Plan:
    """Find out which columns fit in memory together; nothing is loaded.

    What cannot run at all takes no room: it will say so in its own column. Imports torch.

    Args:
        wanted: the model and precision of each column.
    """
    found = [_fit(library, model, precision, token) for model, precision in wanted]
    waves: list[list[int]] = []
    for at, (row, fit) in enumerate(found):
        if row is None or fit is None or not fit.fits:
            waves = waves or [[]]
            waves[0].append(at)
            continue
        beside = [found[other] for other in waves[-1]] if waves else []
        held = [(r, f.precision) for r, f in beside if r is not None and f is not None and f.fits]
        if waves and library.fit_together([*held, (row, fit.precision)]):
            waves[-1].append(at)
        else:
            waves.append([at])
    return Plan(
        waves=tuple(tuple(wave) for wave in waves),
        rows=tuple(row for row, _ in found),
        fits=tuple(fit for _, fit in found),
    )


def _fit(
    library: Library, model: str, precision: Precision, token: str | None
) -> tuple[Checkpoint | None, Fit | None]:
    try:
        row = library.find(model, token)
        return row, library.fit(row, precision, token=token)
    except GemmaSpaceError:
        return None, None


def compare(
    playground: UseCases, asked: Sequence[Asked], words: Words, token: str | None = None
) -> Iterator[tuple[ColumnState, ...]]:
    """The states of all columns whenever one of them has changed, until all are done.

    Closing this ends every column; it returns once they all have given back what they held.

    Args:
        asked: one of each column, all for one comparison.
        words: what to tell people of an error; called once for each.
    """
    states = [ColumnState() for _ in asked]
    yield tuple(states)
    wanted = [(one.model, one.precision) for one in asked if not isinstance(one, GemmaSpaceError)]
    able = [at for at, one in enumerate(asked) if not isinstance(one, GemmaSpaceError)]
    made = plan(playground.library, wanted, token)
    waves = [[able[at] for at in wave] for wave in made.waves] or [[]]
    waves[0] += [at for at in range(len(asked)) if at not in able]
    columns = _Columns(playground, words, token)
    for number, wave in enumerate(waves):
        for at in wave:
            states[at] = replace(states[at], wave=number)
    for at, row, fit in zip(able, made.rows, made.fits, strict=True):
        title, note = row.title if row else "", fit.note if fit else ""
        states[at] = replace(states[at], title=title, note=note)
        if fit is not None:  # `auto` in every column would find all the room for itself
            asked = [*asked[:at], replace(cast(Request, asked[at]), precision=fit.precision),
                     *asked[at + 1 :]]  # fmt: skip
    loaded = {able[i] for i, fit in enumerate(made.fits) if fit is not None and fit.loaded}
    columns.one_vocabulary = len({(r.base or r).repo_id for r in made.rows if r}) < 2
    try:
        for wave in waves:
            for at, state in columns.run({at: (asked[at], states[at]) for at in wave}, loaded):
                states[at] = state
                yield tuple(states)
    finally:
        columns.stop()


class _Columns:
    """The threads, and where they tell their states."""

    def __init__(self, playground: UseCases, words: Words, token: str | None) -> None:
        self._playground = playground
        self._words = words
        self._token = token
        self._news: SimpleQueue[Told] = SimpleQueue()
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self.one_vocabulary = False

    def run(self, wave: dict[int, tuple[Asked, ColumnState]], loaded: set[int]) -> Iterator[Told]:
        """Follow these columns to their ends, the ones whose models are `loaded` first.

        The others begin once those hold their models, which would be evicted for them otherwise.
        """
        first = {at for at in wave if at in loaded} or set(wave)
        later = set(wave) - first
        running, holding = set(first), set(first)
        self._begin({at: wave[at] for at in first})
        while running:
            at, state = self._news.get()
            holding.discard(at)
            if later and not holding:
                self._begin({at: wave[at] for at in later})
                running, later = running | later, set()
            if state.done:
                running.discard(at)
            yield at, state

    def stop(self) -> None:
        """Have every column end, and wait for that."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _begin(self, columns: dict[int, tuple[Asked, ColumnState]]) -> None:
        for at, (asked, state) in columns.items():
            thread = threading.Thread(
                target=self._follow, args=(at, asked, state), name="column", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _follow(self, at: int, asked: Asked, state: ColumnState) -> None:
        ends: list[int] = []
        try:
            if isinstance(asked, GemmaSpaceError):
                raise asked
            with closing(self._source(asked)) as steps:
                for step in steps:
                    state = self._taken(asked, state, step, ends)
                    self._news.put((at, state))
                    if self._end.is_set():
                        return
        except Exception as error:
            state = replace(state, progress=None, problem=self._words(error))
        self._news.put((at, replace(state, done=True)))  # what it held is given back by now

    def _source(self, asked: Request) -> Generator[LoadProgress | Generation]:
        if isinstance(asked, ChatRequest):
            return self._playground.chat(asked, self._token)
        return self._playground.complete(asked, self._token)

    def _taken(
        self, asked: Request, state: ColumnState, step: LoadProgress | Generation, ends: list[int]
    ) -> ColumnState:
        if isinstance(step, LoadProgress):
            return replace(state, progress=step)
        if state.generation is None:
            state = self._known(asked, state)
        ends += [len(step.text)] * (len(step.token_ids) - len(ends))
        if step.finish_reason and ends:
            ends[-1] = len(step.text)  # what was held back came with the end
        return replace(state, progress=None, generation=step, ends=tuple(ends))

    def _known(self, asked: Request, state: ColumnState) -> ColumnState:
        """With what can be told once the model is in memory."""
        library = self._playground.library
        row = library.find(asked.model, self._token)
        vocabulary = 0
        if not self.one_vocabulary:
            vocabulary = tokens.vocabulary(library.tokenizer(row, self._token))
        held = library.held_bytes(row, asked.precision)
        return replace(state, weights_bytes=held, vocabulary=vocabulary)
