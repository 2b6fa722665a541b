"""Models on a borrowed GPU, without the loan: jobs in, chunks out, all of it picklable.

`spaces.GPU` does nothing outside ZeroGPU, so what runs in its worker runs here. The worker itself
is in `tests/api/test_zero_gpu_space.py`.
"""

import pickle
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_space import memory, model_source, zero_gpu
from gemma_space.chunks import GenerationChunk
from gemma_space.engine import borrowed, steps
from gemma_space.engine.batch import BatchEngine
from gemma_space.engine.borrowed import AdapterFiles, Job, Ready, Weights
from gemma_space.engine.pace import START_SECONDS, Pace, Stopwatch
from gemma_space.errors import GemmaSpaceError, LoadError, SettingsError
from gemma_space.gpu_refusals import refusals_in_words
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.types import Attention, Precision
from gemma_space.zero_gpu import ZeroGpuEngine
from tests import tiny_adapters
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_engine_exact import WORDS
from tests.unit.test_exactness import greedy

PROMPT = tuple(WORDS[:40])
NEW = greedy(max_new_tokens=8, ignore_eos=True)
ROOM = 10**9


def weights_of(folder: Path) -> Weights:
    row = local_checkpoint(folder)
    needed = memory.needs(row, Precision.FP32)
    return Weights(
        checkpoint=row, revision="local", precision=Precision.FP32, attention=Attention.AUTO,
        folder=folder, weights_bytes=needed.weights_bytes, kv_bytes=needed.kv_bytes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def weights(checkpoints: Checkpoints) -> Weights:
    return weights_of(checkpoints.folder(tiny.GEMMA_3))


@pytest.fixture(autouse=True)
def fresh_worker() -> Iterator[None]:
    borrowed._residents.clear()
    yield
    borrowed._residents.clear()


def job(weights: Weights, **more: Any) -> Job:
    usual = {"ids": PROMPT, "params": NEW, "seconds": 60.0, "room_bytes": ROOM}
    return Job(weights=weights, **(usual | more))


def crossing(job: Job) -> list[Any]:
    """What comes of a job, through the pickling that both ways take."""
    return [pickle.loads(pickle.dumps(item)) for item in borrowed.run(_crossed(job))]


def _crossed(job: Job) -> Job:
    there: Job = pickle.loads(pickle.dumps(job))
    assert there == job
    return there


def ids_of(items: list[Any]) -> list[int]:
    chunks = (item for item in items if isinstance(item, GenerationChunk))
    return [chunk.token_id for chunk in chunks if chunk.token_id is not None]


def alone(weights: Weights, **how: Any) -> list[int]:
    model: Any = AutoModelForCausalLM.from_pretrained(weights.folder, dtype=torch.float32).eval()
    return [
        chunk.token_id
        for chunk in BatchEngine(model, frozenset(), inline=True).stream(PROMPT, NEW, **how)
        if chunk.token_id is not None
    ]


# --- where the GPU is ----------------------------------------------------------------------------


def test_a_job_says_what_the_model_says(weights: Weights) -> None:
    items = crossing(job(weights))
    assert items[0] == GenerationChunk()
    assert [type(item) for item in items].count(Ready) == 1
    assert ids_of(items) == alone(weights)
    assert items[-1].finish_reason == "length"


def test_something_comes_before_anything_slow(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Stop is noticed at the first item: before it, a load would run to its end for nobody."""
    begun: list[object] = []
    monkeypatch.setattr(borrowed.loading, "load", lambda *given, **named: begun.append(given))
    running = borrowed.run(job(weights))
    next(running)
    running.close()
    assert begun == []


def test_the_next_job_finds_the_model_and_the_conversation(weights: Weights) -> None:
    first = ids_of(crossing(job(weights)))
    resident = borrowed._residents[weights]
    later = crossing(job(weights, ids=(*PROMPT, *first)))
    assert borrowed._residents[weights] is resident
    assert later[-1].cached_tokens >= len(PROMPT)


def test_scores_are_those_of_the_engine(weights: Weights) -> None:
    items = crossing(job(weights, params=None, top=2))
    found = [score for item in items[2:] for score in getattr(item, "prompt_scores", ())]
    assert [score.token_id for score in found] == list(PROMPT[1:])
    assert all(len(score.top) == 2 for score in found)


def test_what_has_no_room_leaves_the_longest_unused_first(checkpoints: Checkpoints) -> None:
    models = [weights_of(checkpoints.folder(t)) for t in (tiny.GEMMA_1, tiny.GEMMA_2, tiny.GEMMA_3)]
    room = models[1].nbytes + max(models[0].nbytes, models[2].nbytes)
    for one in models:
        crossing(job(one, room_bytes=room))
    assert list(borrowed._residents) == models[1:]


def test_an_adapter_is_attached_once_and_shares_the_base(
    checkpoints: Checkpoints, weights: Weights
) -> None:
    folder = checkpoints.variant(
        "lent.voice", lambda path: tiny_adapters.write(weights.folder, path, seed=3)
    )
    files = AdapterFiles(folder=folder, title="A voice")
    plain = ids_of(crossing(job(weights)))
    voiced = [ids_of(crossing(job(weights, adapter=files))) for _ in range(2)]
    assert voiced[0] == voiced[1] != plain
    assert len(borrowed._residents[weights].attached) == 1
    assert ids_of(crossing(job(weights))) == plain


def test_an_error_arrives_in_words(tmp_path: Path, weights: Weights) -> None:
    damaged = replace(weights, folder=tmp_path)
    *_, last = crossing(job(damaged))
    assert isinstance(last, LoadError)
    assert last.message.startswith("There are no safetensors")
    assert "Pickled" in last.hint
    assert not borrowed._residents


def test_a_stop_during_the_load_ends_it(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def load(*given: Any, **named: Any) -> None:
        cancelled = given[4]
        while not cancelled():
            threading.Event().wait(0.01)
        ended.set()

    monkeypatch.setattr(borrowed.loading, "load", load)
    running = borrowed.run(job(weights))
    for _ in range(3):
        next(running)
    running.close()
    assert ended.is_set()
    assert not borrowed._residents


def test_a_stop_between_two_chunks_of_the_prompt(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(steps.PREFILL_TOKENS, "cpu", 8)
    running = borrowed.run(job(weights))
    done = 0
    while not done:
        done = getattr(next(running), "prompt_done_tokens", 0)
    assert done < len(PROMPT)
    running.close()
    assert not borrowed._residents[weights].engine._steps.has_work


def test_a_reply_ends_before_the_loan_does(weights: Weights) -> None:
    crossing(job(weights))
    *_, last = crossing(job(weights, seconds=borrowed.MARGIN_SECONDS))
    assert last.finish_reason == "time_limit"


# --- where the page is ---------------------------------------------------------------------------


def test_the_engine_is_an_engine(weights: Weights) -> None:
    engine = ZeroGpuEngine(weights, ROOM, 60)
    stream = engine.stream(PROMPT, NEW)
    assert next(iter(stream)) == GenerationChunk()
    assert engine.requests == 1
    assert [c.token_id for c in stream if c.token_id is not None] == alone(weights)
    assert (engine.requests, engine.cache_bytes) == (0, 0)


def test_what_ended_the_job_is_raised_here(tmp_path: Path, weights: Weights) -> None:
    engine = ZeroGpuEngine(replace(weights, folder=tmp_path), ROOM, 60)
    with pytest.raises(LoadError, match="no safetensors"):
        list(engine.stream(PROMPT, NEW))
    assert engine.requests == 0


def test_more_is_asked_for_more_and_never_too_much(weights: Weights) -> None:
    engine = ZeroGpuEngine(weights, ROOM, 60)
    assert engine.seconds(10, 1) == zero_gpu.LEAST_SECONDS
    assert engine.seconds(10, 200) < engine.seconds(10, 400) < engine.seconds(5_000, 400)
    assert engine.seconds(100_000, 100_000) == 60
    large = ZeroGpuEngine(replace(weights, weights_bytes=18 << 30), ROOM, 60)
    assert large.seconds(10, 200) > engine.seconds(10, 200)


def test_what_earlier_requests_took_is_learned() -> None:
    pace, now = Pace(), [0.0]
    watch = Stopwatch(pace, lambda: now[0])
    watch.ready(1000, 5.0)
    for done, token in ((100, None), (200, None), (200, 1), (200, 2), (200, 3)):
        now[0] += 0.5
        watch.look(GenerationChunk(prompt_done_tokens=done, token_id=token))
    watch.end()
    assert (pace.load, pace.read, pace.write) == (200.0, 200 / 1.5, 2.0)
    before = pace.load
    Stopwatch(pace, lambda: now[0]).ready(1000, 0.0)  # it was there: nothing to learn
    assert pace.load == before
    assert pace.expected(200, 400, 4) == START_SECONDS + 1 + 3 + 2


def test_a_refusal_of_an_unknown_kind_is_still_a_sentence() -> None:
    class RefusedError(Exception):
        title = "ZeroGPU something new"

    with pytest.raises(GemmaSpaceError, match="No GPU could be had"), \
            refusals_in_words(10):  # fmt: skip
        raise RefusedError
    with pytest.raises(ValueError, match="ours"), refusals_in_words(10):
        raise ValueError("ours")


def test_without_the_package_the_app_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)
    monkeypatch.delitem(sys.modules, "gemma_space.zero_gpu")
    monkeypatch.delattr("gemma_space.zero_gpu")
    with pytest.raises(SettingsError, match="not installed"):
        model_source._zero_gpu()
