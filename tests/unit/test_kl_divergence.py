"""How far two models' predictions are apart: the arithmetic, the file, and the engine's chunks."""

import math
import resource
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_space import kl_divergence
from gemma_space.engine import steps
from gemma_space.engine.batch import BatchEngine
from gemma_space.errors import GenerationError
from gemma_space.kl_divergence import Candidate, KeptLogits, Reference, compared
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_engine_exact import WORDS
from tests.unit.test_exactness import greedy

VOCABULARY = 512
IDS = tuple(range(2, 60))


@pytest.fixture
def kept() -> Iterator[KeptLogits]:
    there = KeptLogits()
    yield there
    there.close()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kl_divergence, "BLOCK_NUMBERS", 7 * VOCABULARY)


def logits(seed: int, scale: float = 3.0) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.randn(len(IDS) - 1, VOCABULARY, generator=made) * scale


def test_it_is_the_divergence_of_the_whole_vocabulary() -> None:
    reference, candidate = logits(1), logits(1) + logits(2, 0.5)
    found = compared(reference, candidate, IDS[1:])
    p, q = (one.double().log_softmax(-1) for one in (reference, candidate))
    wanted = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    other_way = torch.nn.functional.kl_div(p, q, reduction="none", log_target=True).sum(-1)
    assert [place.divergence for place in found] == pytest.approx(wanted.tolist(), rel=1e-9)
    assert [place.divergence for place in found] != pytest.approx(other_way.tolist(), rel=1e-3)
    assert [place.expected for place in found] == p.argmax(-1).tolist()
    assert [place.instead for place in found] == q.argmax(-1).tolist()
    shares = [place.expected_share for place in found]
    assert shares == pytest.approx(p.exp().amax(-1).tolist())
    own = [float(row[i]) for row, i in zip(q, IDS[1:], strict=True)]
    assert [place.logprob for place in found] == pytest.approx(own)


def test_what_is_ruled_out_adds_nothing_or_everything() -> None:
    even = torch.zeros(1, 4)
    without = torch.tensor([[0.0, 0.0, -math.inf, -math.inf]])
    assert compared(without, without, [0])[0].divergence == 0
    assert compared(without, even, [0])[0].divergence == pytest.approx(math.log(2))
    assert compared(even, without, [0])[0].divergence == math.inf
    with pytest.raises(GenerationError, match="overflowed"):
        compared(even, torch.full((1, 4), math.nan), [0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_file_rounds_nothing(
    dtype: torch.dtype, kept: KeptLogits, small_blocks: None
) -> None:  # fmt: skip
    reference, candidate = logits(3).to(dtype), logits(4).to(dtype)
    wanted = compared(reference, candidate, IDS[1:])
    look = Reference(kept, 10, IDS)
    for first, count in ((1, 40), (41, 17)):
        look(first, reference[first - 1 : first - 1 + count])
    again = Candidate(kept, 10, IDS)
    for first, count in ((1, 5), (6, 52)):  # another device, other chunks
        again(first, candidate[first - 1 : first - 1 + count])
    assert again.places == wanted
    own = reference.double().log_softmax(-1)[torch.arange(57), torch.tensor(IDS[1:])]
    assert look.logprobs == pytest.approx(own.tolist())


def test_who_left_is_not_waited_for(kept: KeptLogits) -> None:
    reference, candidate = Reference(kept, 0, IDS), Candidate(kept, 0, IDS)
    reference(1, logits(1))
    kept.close()
    reference(1, logits(1))
    candidate(1, logits(1))
    assert candidate.places == []
    kept.close()


def test_a_full_disk_is_said(kept: KeptLogits) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(GenerationError, match="no room left"):
            kept.write(0, logits(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- on an engine -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(checkpoints: Checkpoints) -> Any:
    folder = checkpoints.folder(tiny.GEMMA_3)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(steps.SCORE_TOKENS, "cpu", 24)


def test_every_row_is_looked_at_once_and_in_order(model: Any, small_chunks: None) -> None:
    ids = tuple(WORDS[:60])
    rows: list[torch.Tensor] = []

    def look(first: int, chunk: torch.Tensor) -> None:
        assert first == 1 + sum(map(len, rows))
        rows.append(chunk.clone())

    engine = BatchEngine(model, frozenset(), 1 << 20)
    *_, last = engine.examine(ids, look)
    assert (last.finish_reason, [len(chunk) for chunk in rows]) == ("stop", [24, 24, 11])
    with torch.inference_mode():
        wanted = model(torch.tensor([ids])).logits[0, :-1]
    torch.testing.assert_close(torch.cat(rows), wanted, atol=1e-3, rtol=1e-3)
    assert engine.cache_bytes == 0, "conversations need the room"


def test_what_a_look_raises_ends_that_text_alone(model: Any) -> None:
    engine = BatchEngine(model, frozenset())

    def fail(_first: int, _chunk: torch.Tensor) -> None:
        raise GenerationError("No.", "Never.")

    with pytest.raises(GenerationError, match="No"):
        list(engine.examine(tuple(WORDS[:9]), fail))
    assert list(engine.examine(tuple(WORDS[:9]), lambda _f, _c: None))[-1].finish_reason == "stop"


def test_a_reply_goes_on_while_a_text_is_looked_at(model: Any, small_chunks: None) -> None:
    engine = BatchEngine(model, frozenset(), inline=True)
    prompt, params = tuple(WORDS[:9]), greedy(max_new_tokens=12, ignore_eos=True)
    alone = [c.token_id for c in engine.stream(prompt, params) if c.token_id is not None]
    looked: list[int] = []
    reply = engine.stream(prompt, params)
    reading = engine.examine(tuple(list(WORDS[:2]) * 100), lambda _f, c: looked.append(len(c)))
    together = []
    for _ in range(4):
        chunk, _ = next(reply), next(reading)
        together += [chunk.token_id] * (chunk.token_id is not None)
    assert 0 < sum(looked) < 199, "one chunk a step"
    assert together
    together += [c.token_id for c in reply if c.token_id is not None]
    list(reading)
    assert (together, sum(looked)) == (alone, 199)
