"""From a blocking generator to a paced asynchronous one: nothing that matters is lost."""

import asyncio
import contextvars
import itertools
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from types import SimpleNamespace

import pytest

from gemma_space import pacing
from gemma_space.pacing import paced

PATIENCE = 10


def collect(source: Callable[[], Iterator[int]], seconds: float) -> tuple[list[int], list[float]]:
    async def run() -> tuple[list[int], list[float]]:
        items: list[int] = []
        times: list[float] = []
        async for item in paced(source, seconds):
            items.append(item)
            times.append(time.monotonic())
        return items, times

    return asyncio.run(run())


def test_the_newest_wins_and_the_last_always_comes() -> None:
    def source() -> Iterator[int]:
        for number in range(400):
            time.sleep(0.001)
            yield number

    items, times = collect(source, 0.1)
    assert items[-1] == 399
    assert items == sorted(set(items))
    assert 2 <= len(items) <= 2 + (times[-1] - times[0]) / 0.095
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps[:-1], default=1.0) >= 0.095


def test_the_first_item_waits_for_nothing() -> None:
    async def run() -> int:
        async with aclosing(paced(lambda: iter([1, 2]), seconds=3600.0)) as items:
            return await asyncio.wait_for(anext(items), PATIENCE)

    assert asyncio.run(run()) in (1, 2)


def test_a_slow_reader_builds_up_no_backlog() -> None:
    over = threading.Event()

    def source() -> Iterator[int]:
        yield from range(1000)
        over.set()

    async def run() -> list[int]:
        items: list[int] = []
        async for item in paced(source, 0.0):
            items.append(item)
            assert await asyncio.to_thread(over.wait, PATIENCE)
        return items

    items = asyncio.run(run())
    assert items[-1] == 999
    assert len(items) <= 2


def test_an_empty_source_ends() -> None:
    assert collect(lambda: iter(()), 0.01) == ([], [])


def test_an_error_comes_after_the_last_item_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("boom")

    seen: list[int] = []

    async def run() -> None:
        async for item in paced(source, 0.01):
            seen.append(item)

    with pytest.raises(ValueError, match="boom"):
        asyncio.run(run())
    assert seen[-1] == 2


def test_a_source_that_cannot_start_says_so() -> None:
    def source() -> Iterator[int]:
        raise LookupError("nothing there")

    with pytest.raises(LookupError):
        collect(source, 0.01)


class Watched:
    """A generator that remembers in which thread it ran and was closed."""

    def __init__(self, step: float = 0.01) -> None:
        self.step = step
        self.ran_in: set[int] = set()
        self.closed_in: int | None = None
        self.closed = threading.Event()

    def __call__(self) -> Iterator[int]:
        try:
            for number in range(100_000):
                self.ran_in.add(threading.get_ident())
                time.sleep(self.step)
                yield number
        finally:
            self.closed_in = threading.get_ident()
            self.closed.set()


def test_closing_closes_the_source_in_its_own_thread_without_waiting() -> None:
    watched = Watched(step=2.0)

    async def run() -> float:
        async with aclosing(paced(watched, 0.01)) as updates:
            await anext(updates)
            started = time.monotonic()
        return time.monotonic() - started

    assert asyncio.run(run()) < 1.0
    assert watched.closed.wait(PATIENCE)
    assert watched.closed_in in watched.ran_in
    assert watched.closed_in != threading.get_ident()


def test_cancelling_the_task_closes_the_source() -> None:
    watched = Watched()

    async def read(updates: AsyncGenerator[int, None]) -> None:
        async for _ in updates:
            pass

    async def run() -> None:
        updates = paced(watched, 0.01)
        task = asyncio.create_task(read(updates))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert watched.closed.wait(PATIENCE)
    assert watched.closed_in != threading.get_ident()


def test_the_loop_stays_free_while_the_source_blocks() -> None:
    release = threading.Event()

    def source() -> Iterator[int]:
        release.wait(PATIENCE)
        yield 1

    async def run() -> list[int]:
        updates = paced(source, 0.01)
        waiting = asyncio.ensure_future(anext(updates))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not waiting.done()
        release.set()
        return [await waiting, *[item async for item in updates]]

    assert asyncio.run(run()) == [1]


def test_a_state_that_lasts_is_repeated_so_that_a_lost_listener_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pacing, "HEARTBEAT_SECONDS", 0.05)

    def source() -> Iterator[int]:
        for _ in range(40):
            time.sleep(0.01)
            yield 7

    items, _ = collect(source, 0.0)
    assert set(items) == {7}
    assert 2 <= len(items) < 20


def test_a_state_that_lasts_is_not_repeated_at_once() -> None:
    items, _ = collect(lambda: iter([7] * 200), 0.0)
    assert items == [7]


def test_the_work_is_done_in_the_context_of_whoever_listens() -> None:
    """What a ZeroGPU is asked for on the way is charged to the visitor that Gradio keeps there."""
    number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)
    mark = number.set(7)
    items, _ = collect(lambda: iter([number.get()]), 0.0)
    number.reset(mark)
    assert items == [7]


def test_what_is_due_every_so_often_is_not_due_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=lambda: now))
    every = pacing.Every(2.0)
    assert not every.due()
    now = 102.0
    assert every.due()
    assert not every.due()
    now = 109.0
    assert every.due()
    now = 110.5
    assert not every.due(), "counted from when it was told, not from when it might have been"
