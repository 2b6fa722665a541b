"""Loads as they are watched: bytes told, cancels heard, several at a time, files read ahead."""

import ctypes
import gc
import itertools
import mmap
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gemma_space import reading
from gemma_space.following import LoadCancelledError
from gemma_space.loading import load
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.reading import STEP_BYTES, ReadAhead
from gemma_space.types import Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints

Steps = list[tuple[int, int]]
PATIENCE_SECONDS = 60.0


@pytest.fixture
def read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read before the first weight is placed, and not whenever the thread gets to it."""
    start = ReadAhead.start

    def start_and_wait(ahead: ReadAhead) -> None:
        start(ahead)
        assert ahead.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(ReadAhead, "start", start_and_wait)


def never() -> bool:
    return False


def watched(
    folder: Path, precision: Precision, steps: Steps, cancelled: Callable[[], bool] = never
) -> Any:
    row = local_checkpoint(folder)
    return load(row, folder, precision, lambda *step: steps.append(step), cancelled).model


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def check(steps: Steps, total: int) -> None:
    assert steps[0] == (0, total)
    assert steps[-1] == (total, total)
    assert {step[1] for step in steps} == {total}
    assert all(before[0] <= after[0] for before, after in itertools.pairwise(steps))


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8, Precision.INT4])
@pytest.mark.parametrize(
    "checkpoint", [tiny.GEMMA_3, tiny.GEMMA_3N_MULTIMODAL, tiny.GEMMA_4_MOE], ids=lambda t: t.name
)
def test_progress_grows_to_the_size_of_the_files(
    checkpoints: Checkpoints, checkpoint: tiny.Tiny, precision: Precision
) -> None:
    folder, steps = checkpoints.folder(checkpoint), []
    watched(folder, precision, steps)
    check(steps, size_of(folder))


@pytest.mark.usefixtures("read_first")
def test_quantizing_is_part_of_the_progress(checkpoints: Checkpoints) -> None:
    """It takes longer than reading: were only that told, it would stand still at the end."""
    folder, steps = checkpoints.folder(tiny.GEMMA_3), []
    total = size_of(folder)
    watched(folder, Precision.INT4, steps)
    between = {done for done, _ in steps if 0 < done < total}
    assert len(between) > 40  # one for almost each of the 80 weights


def alive() -> int:
    """Linear layers that anything still holds."""
    gc.collect()
    return sum(issubclass(type(thing), torch.nn.Linear) for thing in gc.get_objects())


@pytest.mark.usefixtures("read_first")
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8, Precision.INT4])
def test_a_cancel_in_the_middle_is_heard_and_leaves_nothing(
    checkpoints: Checkpoints, precision: Precision
) -> None:
    folder, steps = checkpoints.folder(tiny.GEMMA_3), []
    total = size_of(folder)
    before, heard = alive(), 0

    def cancelled() -> bool:
        nonlocal heard
        heard += bool(steps) and 0 < steps[-1][0] < total
        return heard > 0

    try:
        watched(folder, precision, steps, cancelled)
    except LoadCancelledError:
        pass
    else:
        pytest.fail("the load went on to its end")
    assert heard == 1, "it went on after it was told to stop"
    assert 0 < steps[-1][0] < total
    assert alive() == before
    watched(folder, precision, [])


def test_a_cancel_before_the_weights_builds_nothing(checkpoints: Checkpoints) -> None:
    steps: Steps = []
    with pytest.raises(LoadCancelledError):
        watched(checkpoints.folder(tiny.GEMMA_3), Precision.INT4, steps, lambda: True)
    assert not steps


def test_loads_at_the_same_time_become_what_they_are_alone(checkpoints: Checkpoints) -> None:
    """transformers changes torch's default dtype and its own classes while it builds a model."""
    wanted = [
        (tiny.GEMMA_2, Precision.FP32), (tiny.GEMMA_3, Precision.BF16),
        (tiny.GEMMA_4, Precision.INT4),
    ]  # fmt: skip
    ids = torch.tensor([[2, *range(370, 400)]])
    found: list[tuple[Path, Precision, Steps, torch.Tensor]] = []
    failed: list[BaseException] = []

    def run(checkpoint: tiny.Tiny, precision: Precision) -> None:
        folder = checkpoints.folder(checkpoint)
        try:
            for _ in range(4):
                steps: Steps = []
                model = watched(folder, precision, steps)
                with torch.inference_mode():
                    found.append((folder, precision, steps, model(input_ids=ids).logits))
        except Exception as error:
            failed.append(error)

    for checkpoint, _ in wanted:
        checkpoints.folder(checkpoint)
    tied = _transformers_state()
    threads = [threading.Thread(target=run, args=case) for case in wanted]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert not failed
        assert _transformers_state() == tied
    finally:
        _restore(tied)
    assert len(found) == 4 * len(wanted)
    for folder, precision, steps, logits in found:
        check(steps, size_of(folder))
        with torch.inference_mode():
            assert torch.equal(logits, watched(folder, precision, [])(input_ids=ids).logits)


@pytest.mark.usefixtures("read_first")
def test_a_load_beside_another_hears_its_own_cancel(checkpoints: Checkpoints) -> None:
    """However the two share the time: the other one stands still all the while."""
    folder, other = checkpoints.folder(tiny.GEMMA_3), checkpoints.folder(tiny.GEMMA_1)
    halfway, go_on = threading.Event(), threading.Event()
    row = local_checkpoint(other)
    in_time: list[bool] = []

    def stand_still(done: int, total: int) -> None:
        if 0 < done < total:
            halfway.set()
            in_time.append(go_on.wait(PATIENCE_SECONDS))

    def run() -> None:
        load(row, other, Precision.INT4, stand_still, never)

    first = threading.Thread(target=run)
    first.start()
    try:
        assert halfway.wait(PATIENCE_SECONDS)
        asked = itertools.count()
        with pytest.raises(LoadCancelledError):
            watched(folder, Precision.INT4, [], lambda: next(asked) >= 3)
    finally:
        go_on.set()
        first.join(PATIENCE_SECONDS)
    assert in_time
    assert all(in_time), "it waited for the other one"


def _transformers_state() -> tuple[Any, ...]:
    from transformers import PreTrainedModel

    return torch.get_default_dtype(), PreTrainedModel.tie_weights, torch.linspace


def _restore(state: tuple[Any, ...]) -> None:
    """Whatever went wrong, it must not go on in the tests after this one."""
    from transformers import PreTrainedModel

    torch.set_default_dtype(state[0])
    PreTrainedModel.tie_weights = state[1]
    torch.linspace = state[2]


# --- reading ahead -----------------------------------------------------------------------------


def files(folder: Path, *sizes: int) -> list[Path]:
    found = []
    for number, size in enumerate(sizes):
        file = folder / f"{number}.bin"
        with file.open("wb") as stream:
            stream.truncate(size)
        found.append(file)
    return found


def read(ahead: ReadAhead) -> int:
    ahead.start()
    assert ahead.wait(PATIENCE_SECONDS)
    return ahead.done_bytes


def test_everything_is_read(tmp_path: Path) -> None:
    ahead = ReadAhead(files(tmp_path, 7, STEP_BYTES + 1, 2 * STEP_BYTES))
    assert ahead.total_bytes == 3 * STEP_BYTES + 8
    assert read(ahead) == ahead.total_bytes


def in_page_cache(file: Path) -> int:
    """How many of the file's pages are in memory; Linux alone says."""
    size = file.stat().st_size
    with (
        file.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_PRIVATE) as pages,
    ):
        held = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
        first = ctypes.c_char.from_buffer(pages)
        done = ctypes.CDLL(None).mincore(
            ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), held
        )
        del first
    assert done == 0
    return sum(page & 1 for page in held)


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """A file of which nothing is in memory, where the system lets go of it."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux says what is in memory")
    file = tmp_path / "cold.bin"
    file.write_bytes(os.urandom(100 * mmap.PAGESIZE))
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    if in_page_cache(file):
        pytest.skip("this file system keeps its files in memory")
    return file


@pytest.mark.parametrize("way", ["populated", "another system", "an older kernel"])
def test_what_was_read_is_in_memory(cold: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Where pages cannot be asked for, they are read."""
    if way == "another system":
        monkeypatch.setattr(reading.sys, "platform", "darwin")
    elif way == "an older kernel":
        monkeypatch.setattr(reading, "MADV_POPULATE_READ", 12345)  # as unknown as the real one
    ahead = ReadAhead([cold])
    assert read(ahead) == ahead.total_bytes
    assert in_page_cache(cold) == 100


def test_it_stops_when_told(tmp_path: Path) -> None:
    ahead = ReadAhead(files(tmp_path, 4 * STEP_BYTES, 4 * STEP_BYTES))
    ahead.stop()
    assert read(ahead) < STEP_BYTES


def test_empty_and_vanished_files_are_passed_over(tmp_path: Path) -> None:
    empty, gone, whole = files(tmp_path, 0, 100, 1000)
    ahead = ReadAhead([empty, gone, whole])
    gone.unlink()
    assert read(ahead) == 1000
