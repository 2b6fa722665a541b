"""A test that hangs fails by itself: a lock that is never released must not stop the suite."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

SECONDS = 240  # an app's whole start is in some, on a machine with other things to do


@pytest.fixture(autouse=True)
def never_hang() -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test ran for more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
