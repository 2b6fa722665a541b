"""Who may begin: places in order, one limit for all, nobody once it is closed."""

import threading
from contextlib import ExitStack

import pytest

from gemma_space.admission import Admission
from gemma_space.errors import BusyError, ServerClosingError


def has_place(turn: object) -> bool:
    """Whether whoever waits would go on now."""
    return next(turn, "begins") == "begins"  # type: ignore[call-overload]


def test_so_many_run_and_the_others_follow_in_order() -> None:
    admission = Admission(places=2, most_waiting=9)
    with ExitStack() as first, ExitStack() as second, ExitStack() as rest:
        turns = [s.enter_context(admission.enter()) for s in (first, second, rest, rest)]
        assert [has_place(turn) for turn in turns] == [True, True, False, False]
        assert (admission.running, admission.waiting) == (2, 2)
        second.close()
        assert [has_place(turn) for turn in turns[2:]] == [True, False]
        first.close()
        assert has_place(turns[3])
    assert (admission.running, admission.waiting) == (0, 0)


def test_who_leaves_the_line_lets_the_next_one_up() -> None:
    admission = Admission(places=1, most_waiting=9)
    with ExitStack() as first, ExitStack() as second, ExitStack() as third:
        for stack in (first, second):
            stack.enter_context(admission.enter())
        turn = third.enter_context(admission.enter())
        second.close()
        assert not has_place(turn)
        first.close()
        assert has_place(turn)


def test_nobody_joins_a_full_line_until_somebody_leaves_it() -> None:
    admission = Admission(1, 2)
    with ExitStack() as line, ExitStack() as last:
        for stack in (line, line, last):
            admission.require_room()
            stack.enter_context(admission.enter(refuses=True))
        assert admission.full
        for refused in (admission.require_room, admission.enter(refuses=True).__enter__):
            with pytest.raises(BusyError, match=r"3 requests are running or waiting.*try again"):
                refused()
        assert admission.waiting == 2
        last.close()
        line.enter_context(admission.enter(refuses=True))


@pytest.mark.parametrize(
    ("waiting", "begun", "full"),
    [(0, 0, False), (2, 0, True), (1, 0, False), (1, 2, True), (0, 3, True), (0, 2, False)],
)
def test_whoever_waits_in_a_queue_before_the_line_counts_too(
    waiting: int, begun: int, full: bool
) -> None:
    """Who has left that queue and has come here is one and the same."""
    admission = Admission(1, 2, lambda: (waiting, begun))
    with admission.enter():
        assert admission.full is full
        if full:
            with pytest.raises(BusyError):
                admission.enter(refuses=True).__enter__()
        with admission.enter():  # it waited in the queue before
            pass


def test_nobody_comes_in_once_it_is_closed_and_those_inside_finish() -> None:
    admission = Admission(1, 2)
    with ExitStack() as line:
        line.enter_context(admission.enter())
        waits = line.enter_context(admission.enter())
        admission.close()
        with pytest.raises(ServerClosingError):
            line.enter_context(admission.enter())
        assert not admission.drain(0)
        admission.end()
        assert has_place(waits), "to be told that it is over"
    assert admission.drain(0)


def test_draining_ends_with_the_last_one() -> None:
    admission, inside, leave = Admission(1, 2), threading.Event(), threading.Event()

    def request() -> None:
        with admission.enter():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=request)
    thread.start()
    inside.wait()
    threading.Timer(0.05, leave.set).start()
    assert admission.drain(60)
    thread.join()
