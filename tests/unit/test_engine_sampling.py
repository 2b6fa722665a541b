"""The sampler against transformers' own processors, on random logits.

Who survives the filters, with which probability, and that one random number decides.
"""

import itertools
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from gemma_space.engine import sampling
from gemma_space.engine.sampling import Sampler, scores
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_exactness import greedy

VOCABULARIES = (1000, 5000)
PROMPT = [2, 17, 17, 40, 3, 17, 40]


@pytest.fixture(scope="module")
def model(checkpoints: Checkpoints) -> Any:
    folder = checkpoints.folder(tiny.GEMMA_1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def random_logits(size: int, seed: int, spread: float = 3.0) -> torch.Tensor:
    """No two are the same: where they are, the order is anybody's."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, generator=generator) * spread
    while len(logits.unique()) < size:
        logits += torch.randn(size, generator=generator) * 1e-3
    return logits


def their_scores(model: Any, logits: torch.Tensor, **settings: Any) -> torch.Tensor:
    """What transformers' `generate` would draw from; -inf where it would not."""
    processors = model.generate(
        torch.tensor([PROMPT]),
        generation_config=GenerationConfig(max_new_tokens=4, pad_token_id=0, **settings),
        custom_generate=lambda model, input_ids, *, logits_processor, **_: logits_processor,
    )
    return processors(torch.tensor([PROMPT]), logits[None].clone())[0]


def our_distribution(logits: torch.Tensor, **controls: Any) -> torch.Tensor:
    """The probabilities that a sampler draws with, over the whole vocabulary."""
    drawn: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Open(Sampler):
        def _draw(self, tokens: torch.Tensor, probabilities: torch.Tensor) -> int:
            drawn.append((tokens, probabilities))
            return super()._draw(tokens, probabilities)

    token = Open(None, PROMPT, greedy(**controls)).pick(logits, PROMPT)
    ((tokens, probabilities),) = drawn
    assert token in tokens.tolist()
    whole = torch.zeros_like(logits)
    whole[tokens] = probabilities / probabilities.sum()
    return whole


GRID = list(
    itertools.product((0.3, 1.0, 1.7), (0, 1, 40, 10**6), (0.2, 0.95, 1.0), (0.0, 0.05, 0.5))
)


@pytest.mark.parametrize("size", VOCABULARIES)
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_survivors_and_probabilities_are_transformers(model: Any, size: int, spread: float) -> None:
    """A spread of 0.1 keeps thousands alive, one of 3 a few."""
    counts = set()
    for seed, (temperature, top_k, top_p, min_p) in enumerate(GRID):
        logits = random_logits(size, seed, spread)
        mine = our_distribution(
            logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
        )
        its = their_scores(
            model, logits, do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p,
            min_p=min_p or None,
        )  # fmt: skip
        assert torch.equal(mine > 0, its.isfinite()), (temperature, top_k, top_p, min_p)
        torch.testing.assert_close(mine, its.softmax(-1), atol=1e-6, rtol=0)
        counts.add(int((mine > 0).sum()))
    assert len(counts) > 10


@pytest.mark.parametrize("size", VOCABULARIES)
@pytest.mark.parametrize(
    "controls",
    [
        {"repetition_penalty": 1.7}, {"repetition_penalty": 0.4}, {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2}, {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3},
    ],
    ids=str,
)  # fmt: skip
def test_greedy_with_penalties_is_transformers(
    model: Any, size: int, controls: dict[str, Any]
) -> None:
    changed = 0
    for seed in range(20):
        logits = random_logits(size, seed)
        logits[[17, 40, 3]] += torch.tensor([8.0, 8.0, 20.0])  # it wants to say again what was said
        mine = Sampler(model, PROMPT, greedy(**controls))
        assert not mine.is_plain
        token = mine.pick(logits.clone(), PROMPT)
        assert token == int(their_scores(model, logits, do_sample=False, **controls).argmax())
        changed += token != int(logits.argmax())
    assert changed > 0 or controls.get("repetition_penalty") == 0.4


@pytest.mark.parametrize("typical_p", [1.0, 0.4])
def test_penalties_come_before_the_filters(model: Any, typical_p: float) -> None:
    controls: dict[str, Any] = {
        "temperature": 0.8, "top_k": 30, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 2, "typical_p": typical_p,
    }  # fmt: skip
    for seed in range(10):
        logits = random_logits(1000, seed)
        logits[[17, 40]] += 6.0
        its = their_scores(model, logits, do_sample=True, **controls)
        drawn = set()
        sampler = Sampler(model, PROMPT, greedy(**controls, seed=seed))
        for _ in range(40):
            drawn.add(sampler.pick(logits.clone(), PROMPT))
        assert drawn <= set(its.isfinite().nonzero()[:, 0].tolist())
        likeliest = int(its.argmax())
        assert float(its.softmax(-1)[likeliest]) < 0.2 or likeliest in drawn


@pytest.mark.parametrize("size", VOCABULARIES)
def test_scores_are_those_of_the_raw_logits(size: int) -> None:
    logits = random_logits(size, 1)
    wanted = logits.log_softmax(-1)
    for top in (1, 7, size, 10 * size):
        (score,) = scores(logits[None], [5], top)
        assert (score.token_id, score.logprob) == (5, pytest.approx(float(wanted[5]), abs=1e-6))
        values, indices = wanted.topk(min(top, size))
        assert [one.token_id for one in score.top] == indices.tolist()
        assert [one.logprob for one in score.top] == pytest.approx(values.tolist(), abs=1e-6)
        true = torch.distributions.Categorical(logits=logits.double()).entropy()
        assert score.entropy == pytest.approx(float(true), abs=1e-4)
    assert scores(logits[None], [5], 0)[0].top == ()


def test_what_cannot_be_said_does_not_spoil_the_entropy() -> None:
    logits = torch.tensor([1.0, 1.0, -torch.inf, 1.0, 1.0])
    (score,) = scores(logits[None], [0], 5)
    assert score.entropy == pytest.approx(float(torch.tensor(4.0).log()))
    assert score.top[-1].logprob == -float("inf")


def picks(count: int, logits: torch.Tensor, **controls: Any) -> list[int]:
    sampler = Sampler(None, PROMPT, greedy(**({"temperature": 1.0} | controls)))
    return [sampler.pick(logits, PROMPT) for _ in range(count)]


def test_one_random_number_is_drawn_per_token() -> None:
    """After any kind of token, the next one is drawn with the same number."""
    kinds: list[dict[str, Any]] = [
        {}, {"top_k": 1}, {"top_k": 40}, {"top_p": 0.5}, {"min_p": 0.3},
        {"top_k": 40, "top_p": 0.5, "min_p": 0.1},
    ]  # fmt: skip
    after = []
    for kind in kinds:
        sampler = Sampler(None, PROMPT, greedy(temperature=1.0, seed=3, **kind))
        for seed in range(3):
            sampler.pick(random_logits(1000, seed), PROMPT)
        after.append(float(torch.rand(1, generator=sampler._generator, dtype=torch.float64)))
    expected = torch.Generator().manual_seed(3)
    numbers = torch.rand(4, generator=expected, dtype=torch.float64)
    assert after == [float(numbers[3])] * len(kinds)


def test_the_same_number_picks_the_same_token_however_many_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for size in VOCABULARIES:
        logits = random_logits(size, 9, 1.0)
        wanted = picks(200, logits, top_p=0.9, seed=4)
        assert len(set(wanted)) > 50
        for look in (1, 16, 10_000):
            monkeypatch.setattr(sampling, "FIRST_LOOK", look)
            assert picks(200, logits, top_p=0.9, seed=4) == wanted
        # Candidates that nobody would pick do not move the others.
        few = picks(200, logits.where(logits > logits.topk(21).values[-1], -1e9), top_k=20, seed=4)
        for count in (20, 100, size):
            hidden = logits.where(logits > logits.topk(21).values[-1], -1e9)
            assert picks(200, hidden, top_k=count, seed=4) == few


def test_drawing_follows_the_probabilities() -> None:
    logits = random_logits(50, 5, 1.0)
    wanted = logits.softmax(-1)
    for controls in ({}, {"top_k": 50}, {"top_p": 0.999999}):
        found = torch.bincount(torch.tensor(picks(4000, logits, **controls)), minlength=50) / 4000
        assert ((found - wanted).abs() < 5 * (wanted * (1 - wanted) / 4000).sqrt()).all()
