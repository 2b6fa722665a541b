"""Recorded steps are used while nothing changes, and given up where they cannot be trusted."""

import random
from typing import Any

import pytest
import torch

from gemma_space.engine import kv_layer
from gemma_space.engine.batch import BatchEngine
from gemma_space.engine.fixed import Recorder, Step, is_possible
from gemma_space.engine.joined import Recording
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_engine_exact import WORDS, at_once, speak
from tests.unit.test_exactness import Reference, greedy

TOKENS = 20
PROMPT = random.Random(3).choices(WORDS, k=30)


@pytest.fixture(scope="module")
def reference(checkpoints: Checkpoints) -> Reference:
    return Reference(checkpoints.folder(tiny.GEMMA_3), frozenset((-1,)))


def recording_engine(
    model: Any, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> tuple[BatchEngine, Recording]:
    engine, recording = BatchEngine(model, frozenset(), 10**9), Recording(model, recorder)
    monkeypatch.setattr(engine._steps, "_recording", recording)
    return engine, recording


class Tape:
    """Plays what it recorded; says how often it recorded and played."""

    def __init__(self) -> None:
        self.recorded = self.played = 0

    def __call__(self, step: Step) -> Step:
        self.recorded += 1

        def play() -> torch.Tensor:
            self.played += 1
            return step()

        return play


def test_a_step_is_recorded_once_and_played_while_rows_and_buffers_stay(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Tape()
    engine, _ = recording_engine(reference.model, tape, monkeypatch)
    assert speak(engine, PROMPT, max_new_tokens=TOKENS)[0] == reference.reply(PROMPT, TOKENS)
    # The prompt's end gives the first token, two steps are waited for, one is recorded.
    assert (tape.recorded, tape.played) == (1, TOKENS - 4 + 1)  # one more to compare
    monkeypatch.setitem(kv_layer.ROOM_COLUMNS, "cpu", 8)
    engine.kept.clear()
    assert speak(engine, PROMPT, max_new_tokens=60)[0] == reference.reply(PROMPT, 60)
    assert tape.recorded > 3  # as often as buffers grew


def test_what_cannot_be_recorded_is_taken_as_it_comes(
    reference: Reference, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(step: Step) -> Step:
        raise RuntimeError("operation not permitted when stream is capturing")

    engine, recording = recording_engine(reference.model, refuse, monkeypatch)
    assert speak(engine, PROMPT, max_new_tokens=TOKENS)[0] == reference.reply(PROMPT, TOKENS)
    assert recording.recorder is None
    assert "not permitted" in caplog.text


def test_a_recorded_step_that_says_something_else_is_never_used(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    def garble(step: Step) -> Step:
        return lambda: step().flip(-1)

    engine, recording = recording_engine(reference.model, garble, monkeypatch)
    prompts = [PROMPT, PROMPT[:7], PROMPT[3:]]
    found = at_once(
        lambda prompt=prompt: speak(engine, prompt, max_new_tokens=TOKENS)[0] for prompt in prompts
    )
    assert found == [reference.reply(prompt, TOKENS) for prompt in prompts]
    assert recording.recorder is None
    assert not recording.is_trusted


def test_a_step_that_fails_while_it_is_played_ends_as_any_other(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking(Tape):
        def __call__(self, step: Step) -> Step:
            play = super().__call__(step)

            def breaking() -> torch.Tensor:
                if self.played == 5:
                    self.played += 1
                    raise RuntimeError("the device is gone")
                return play()

            return breaking

    engine, _ = recording_engine(reference.model, Breaking(), monkeypatch)
    prompts = [PROMPT, PROMPT[:9]]
    params = greedy(max_new_tokens=TOKENS, ignore_eos=True)
    streams = [engine.stream(tuple(prompt), params) for prompt in prompts]
    # No step before both are there: alone, the first would be the one at fault.
    engine.between_requests(lambda model: [next(stream) for stream in streams])
    found = [[c.token_id for c in stream if c.token_id is not None] for stream in streams]
    # Whose fault it was is found out by taking the step for each alone: nobody's.
    assert found == [reference.reply(prompt, TOKENS) for prompt in prompts]


def test_nothing_is_recorded_on_a_cpu(reference: Reference) -> None:
    assert not is_possible(reference.model)
    assert Recording(reference.model).recorder is None
