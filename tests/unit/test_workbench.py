"""What a page works on: kept under names given here, and no more of it than there is room for."""

from collections.abc import Iterator
from dataclasses import replace

import gradio as gr
import pytest

from gemma_space.runs import MAX_RUNS, MAX_TOKENS, Branch, Run, Runs
from gemma_space.types import Alternative, CompletionRequest, Generation, ScoredPiece
from gemma_space.ui import present_runs
from gemma_space.ui.events import Values
from gemma_space.ui.workbench import KEPT_TOKENS, Work, Workbench


@pytest.fixture
def bench() -> Iterator[Workbench]:
    with gr.Blocks():
        yield Workbench()


def page(bench: Workbench) -> Values:
    return Values({bench.key: bench._name()[bench.key]})


def piece(token_id: int) -> ScoredPiece:
    others = (Alternative(id=99, text="other", logprob=-1.0),)
    return ScoredPiece(id=token_id, text=str(token_id), logprob=-0.5, entropy=1.0, top=others)


def run(*ids: int, prompt: int = 1, begins_with: tuple[int, ...] = ()) -> Run:
    request = CompletionRequest(prompt="p", model="m", begins_with=begins_with)
    generation = Generation(
        text="t", finish_reason="stop", prompt_tokens=prompt, completion_tokens=len(ids),
        cached_tokens=0, dropped_messages=0, seed=7, ttft_seconds=None, tokens_per_second=None,
        model="m", revision="r", precision="fp32", prompt_ids=(2,) * prompt,
        token_ids=(*begins_with, *ids), tokens=tuple(piece(i) for i in ids),
    )  # fmt: skip
    return Branch(request=request, kept=()).finished(generation)


def test_each_page_has_its_own(bench: Workbench) -> None:
    one, other = page(bench), page(bench)
    bench.put(one, runs=Runs().add(run(5)))
    assert bench.of(one).runs.shown == run(5)
    assert bench.of(other) == Work()


@pytest.mark.parametrize("name", ["", "invented", "invented.0123", "."])
def test_names_that_were_not_given_here_keep_nothing(bench: Workbench, name: str) -> None:
    values = Values({bench.key: name})
    assert bench.put(values, runs=Runs().add(run(5))).runs.shown == run(5)
    assert bench.of(values) == Work()


def test_what_is_too_large_is_not_kept_and_hurts_nobody(bench: Workbench) -> None:
    one, other = page(bench), page(bench)
    bench.put(other, runs=Runs().add(run(5)))
    bench.put(one, scored=(piece(1),) * (KEPT_TOKENS + 1))
    assert bench.of(one) == Work()
    assert bench.of(other).runs.shown == run(5)


def test_the_oldest_runs_go_when_there_are_too_many() -> None:
    runs = Runs()
    for number in range(MAX_RUNS + 5):
        runs = runs.add(run(number))
    assert len(runs.kept) == MAX_RUNS
    assert runs.shown == run(MAX_RUNS + 4)
    long = run(*range(MAX_TOKENS + 1))
    assert runs.add(long).kept == (long,), "one run is always kept"
    assert Runs().add(run(1, prompt=40_000)).size == 1001, "long prompts count too"


def test_undo_and_open() -> None:
    runs = Runs().add(run(1)).add(run(2))
    assert runs.open(0).shown == run(1)
    assert runs.open(7).shown == runs.open(-1).shown == run(2)
    assert runs.undo().shown == run(1)
    assert runs.undo().undo() == runs.undo().undo().undo() == Runs()


def test_a_branch_of_a_replayed_branch_keeps_what_came_as_ids() -> None:
    replayed = run(9, 10, begins_with=(7, 8))
    assert present_runs.own_choices(replayed) == set(), "its choice has no score to mark"
    again = replayed.branch(1, Alternative(id=99, text="other", logprob=-1.0))
    assert again.request.begins_with == (7, 8, 9, 99)
    assert again.request.controls.seed == 7
    finished = again.finished(run(11, begins_with=(7, 8, 9, 99)).generation)
    assert [token.id for token in finished.tokens] == [9, 99, 11]
    assert present_runs.own_choices(finished) == {1}


@pytest.mark.parametrize(
    ("failed", "words"), [(True, "broken off by an error"), (False, "stopped")]
)
def test_a_run_that_is_broken_off_is_kept_as_far_as_it_came(failed: bool, words: str) -> None:
    runs = Runs().add(run(5)).add(unfinished(run(6, 7)))
    ended = runs.broken_off(failed)
    assert ended.shown is not None
    assert (ended.at, ended.shown.failed) == (1, failed)
    assert ended.shown.generation.finish_reason == "cancelled"
    assert words in present_runs.label(ended.shown)
    assert ended.broken_off(True) is ended, "it has ended"


def test_a_run_of_which_nothing_came_is_none() -> None:
    empty = unfinished(run())
    empty = replace(empty, generation=replace(empty.generation, text=""))
    assert Runs().add(run(5)).add(empty).broken_off(failed=True) == Runs().add(run(5))
    assert Runs().broken_off(failed=False) == Runs()


def unfinished(one: Run) -> Run:
    return replace(one, generation=replace(one.generation, finish_reason=None))
