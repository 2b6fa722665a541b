"""What each control does to the tokens chosen, and that scores are the model's own."""

import itertools
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_space.chunks import GenerationChunk
from gemma_space.engine.batch import BatchEngine
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_exactness import greedy

PROMPT = (2, *range(380, 400))


@pytest.fixture(scope="module")
def model(checkpoints: Checkpoints) -> Any:
    folder = checkpoints.folder(tiny.GEMMA_3)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def engine(model: Any) -> BatchEngine:
    return BatchEngine(model, frozenset((1, 106)))


def chunks(engine: BatchEngine, top: int = 0, **controls: Any) -> list[GenerationChunk]:
    stream = engine.stream(PROMPT, greedy(max_new_tokens=24, **controls), top=top)
    return [c for c in stream if c.token_id is not None]


def ids(engine: BatchEngine, **controls: Any) -> list[int]:
    return [c.token_id for c in chunks(engine, **controls) if c.token_id is not None]


@torch.no_grad()
def logits_for(model: Any, new: list[int]) -> torch.Tensor:
    """Row i: the logits that chose token i, from one plain pass over everything."""
    everything = torch.tensor([[*PROMPT, *new]])
    return model(everything).logits[0, len(PROMPT) - 1 : -1]


def test_the_seed_decides_and_nothing_else(engine: BatchEngine) -> None:
    one = ids(engine, temperature=1.0, seed=7)
    torch.manual_seed(123)
    assert ids(engine, temperature=1.0, seed=7) == one
    assert len({tuple(ids(engine, temperature=1.0, seed=s)) for s in range(6)}) == 6
    state = torch.random.get_rng_state()
    ids(engine, temperature=1.0, seed=8)
    assert torch.equal(torch.random.get_rng_state(), state), "the process's own stays untouched"


@pytest.mark.parametrize(
    "controls",
    [
        {"temperature": 0.0}, {"temperature": 0.0, "seed": 99}, {"temperature": 1.5, "top_k": 1},
        {"temperature": 1.0, "top_p": 0.0}, {"temperature": 1.0, "min_p": 1.0},
        {"temperature": 1e-6}, {"temperature": 0.0, "top_k": 3, "top_p": 0.5, "min_p": 0.2},
    ],
    ids=str,
)  # fmt: skip
def test_what_must_be_greedy_is(engine: BatchEngine, model: Any, controls: dict[str, Any]) -> None:
    new = ids(engine, **controls)
    assert logits_for(model, new).argmax(-1).tolist() == new


def test_sampling_follows_the_models_distribution(engine: BatchEngine, model: Any) -> None:
    temperature = 0.7
    wanted = (logits_for(model, [2])[0] / temperature).softmax(-1)
    drawn = torch.zeros_like(wanted)
    for seed in range(400):
        params = greedy(max_new_tokens=1, temperature=temperature, seed=seed)
        (token_id,) = (c.token_id for c in engine.stream(PROMPT, params) if c.token_id is not None)
        drawn[token_id] += 1
    likely = wanted.topk(5).indices
    spread = (wanted[likely] * (1 - wanted[likely]) / 400).sqrt()
    assert ((drawn[likely] / 400 - wanted[likely]).abs() < 4 * spread).all()


@pytest.mark.parametrize(
    ("controls", "allowed"),
    [
        ({"top_k": 3}, lambda p: p >= p.topk(3).values[-1]),
        ({"top_p": 0.3}, lambda p: _nucleus(p, 0.3)),
        ({"min_p": 0.5}, lambda p: p >= 0.5 * p.max()),
    ],
    ids=["top_k", "top_p", "min_p"],
)
def test_filters_keep_to_their_tokens(
    engine: BatchEngine, model: Any, controls: dict[str, Any], allowed: Any
) -> None:
    different = set()
    for seed in range(4):
        new = ids(engine, temperature=1.0, seed=seed, **controls)
        different.add(tuple(new))
        for row, token_id in zip(logits_for(model, new).softmax(-1), new, strict=True):
            assert allowed(row)[token_id]
    assert len(different) > 1


def _nucleus(p: torch.Tensor, mass: float) -> torch.Tensor:
    values, order = p.sort(descending=True)
    keep = values.cumsum(0) - values < mass + 1e-6
    allowed = torch.zeros_like(p, dtype=torch.bool)
    allowed[order[keep]] = True
    return allowed


def test_typical_p_runs_and_is_reproducible(engine: BatchEngine) -> None:
    one = ids(engine, temperature=1.0, typical_p=0.3, seed=3)
    assert ids(engine, temperature=1.0, typical_p=0.3, seed=3) == one
    assert ids(engine, temperature=1.0, seed=3) != one


def test_repetition_penalty_acts_on_what_was_seen(engine: BatchEngine, model: Any) -> None:
    for penalty in (0.6, 1.6):
        new = ids(engine, repetition_penalty=penalty)
        for at, row in enumerate(logits_for(model, new)):
            seen = torch.tensor(sorted({*PROMPT, *new[:at]}))
            scores = row.clone()
            old = scores[seen]
            scores[seen] = torch.where(old < 0, old * penalty, old / penalty)
            assert int(scores.argmax()) == new[at]
    assert ids(engine, repetition_penalty=1.6) != ids(engine, repetition_penalty=0.6)


def test_no_ngram_repeats(engine: BatchEngine) -> None:
    everything = [*PROMPT, *ids(engine, no_repeat_ngram_size=1)]
    assert len(set(everything)) == len(everything)
    looping = ids(engine, repetition_penalty=0.5)
    everything = [*PROMPT, *ids(engine, repetition_penalty=0.5, no_repeat_ngram_size=2)]
    pairs = list(itertools.pairwise(everything))
    assert len(set(pairs)) == len(pairs)
    assert looping != everything[len(PROMPT) :]


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_scores_are_log_probabilities_of_the_raw_logits(
    engine: BatchEngine, model: Any, temperature: float
) -> None:
    found = chunks(engine, top=5, temperature=temperature, top_k=20, repetition_penalty=1.2)
    new = [c.token_id for c in found if c.token_id is not None]
    for row, chunk in zip(logits_for(model, new).log_softmax(-1), found, strict=True):
        assert chunk.score is not None
        assert chunk.score.token_id == chunk.token_id
        assert chunk.score.logprob == pytest.approx(float(row[chunk.token_id]), abs=1e-3)
        values, indices = row.topk(5)
        assert [t.token_id for t in chunk.score.top] == indices.tolist()
        assert [t.logprob for t in chunk.score.top] == pytest.approx(values.tolist(), abs=1e-3)


def test_all_probabilities_sum_to_one(engine: BatchEngine) -> None:
    found = chunks(engine, top=10_000)[0].score
    assert found is not None
    assert len(found.top) == 512
    assert torch.tensor([t.logprob for t in found.top]).exp().sum() == pytest.approx(1, abs=1e-4)
    assert all(c.score is None for c in chunks(engine))


def test_max_new_tokens_is_exact_and_ignore_eos_goes_on(model: Any) -> None:
    engine = BatchEngine(model, frozenset(range(512)))  # whatever it says ends the reply
    for count in (1, 5):
        found = list(engine.stream(PROMPT, greedy(max_new_tokens=count, ignore_eos=True)))
        spoken = [c for c in found if c.token_id is not None]
        assert len(spoken) == count
        assert [c.finish_reason for c in spoken] == [None] * (count - 1) + ["length"]
    *_, last = engine.stream(PROMPT, greedy(max_new_tokens=5))
    assert last.finish_reason == "stop"
    assert last.prompt_done_tokens == len(PROMPT)
