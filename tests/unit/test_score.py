"""How likely a text is: the scores of its own tokens, against the model's logits."""

import math
from collections.abc import Generator
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gemma_space import generation
from gemma_space.catalog import hub_catalog
from gemma_space.chunks import GenerationChunk, ScoredToken
from gemma_space.engine import steps
from gemma_space.engine.batch import BatchEngine
from gemma_space.errors import ContextLengthError, GemmaSpaceError, GenerationError
from gemma_space.lease import ModelKey, ServedModel
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.types import Precision, ScoreRequest, Scoring
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_engine_exact import WORDS
from tests.unit.test_exactness import greedy

TEXT = "The answer is not here, and the question was never asked. " * 8


@pytest.fixture(scope="module", params=[tiny.GEMMA_1, tiny.GEMMA_2, tiny.GEMMA_3, tiny.GEMMA_4])
def folder(request: pytest.FixtureRequest, checkpoints: Checkpoints) -> str:
    return str(checkpoints.folder(request.param))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(steps.SCORE_TOKENS, "cpu", 48)


@pytest.fixture(scope="module")
def model(checkpoints: Checkpoints) -> Any:
    folder = checkpoints.folder(tiny.GEMMA_3)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def scored(engine: BatchEngine, ids: tuple[int, ...], top: int = 0) -> list[ScoredToken]:
    return [score for chunk in engine.score(ids, top=top) for score in chunk.prompt_scores]


def test_scores_are_the_logits_own(folder: str, small_chunks: None) -> None:
    """Over several chunks and a sliding window crossed."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = tuple(AutoTokenizer.from_pretrained(folder).encode(TEXT))
    assert len(ids) > 150
    with torch.inference_mode():
        wanted = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    found = scored(BatchEngine(model, frozenset()), ids, top=4)
    assert [score.token_id for score in found] == list(ids[1:])
    for at, score in enumerate(found):
        row = wanted[at]
        assert score.logprob == pytest.approx(float(row[ids[at + 1]]), abs=1e-3)
        assert score.entropy == pytest.approx(float(-(row.exp() * row).sum()), abs=1e-3)
        values = [one.logprob for one in score.top]
        assert values == pytest.approx(row.topk(4).values.tolist(), abs=1e-3)


@pytest.fixture
def playground(checkpoints: Checkpoints) -> Playground:
    return Playground.from_settings(Settings(models=(str(checkpoints.folder(tiny.GEMMA_3)),)))


def ask(playground: Playground, text: str, **more: Any) -> Scoring:
    request = ScoreRequest(
        text=text, model=playground.default_model, precision=Precision.FP32, **more
    )
    *_, last = playground.score(request)
    assert isinstance(last, Scoring)
    return last


def test_perplexity_is_of_the_texts_own_tokens(playground: Playground) -> None:
    found = ask(playground, TEXT, top=2)
    assert "".join(piece.text for piece in found.tokens) == TEXT
    assert len(found.tokens) == found.total_tokens
    mean = sum(piece.logprob for piece in found.tokens) / len(found.tokens)
    assert found.perplexity == pytest.approx(math.exp(-mean))
    again = ask(playground, "<bos>" + TEXT)
    assert again.tokens[0].logprob == pytest.approx(found.tokens[0].logprob, abs=1e-4)
    assert len(again.tokens) == len(found.tokens), "one BOS, however it came"


@pytest.mark.parametrize("text", ["", "<bos>"])
def test_nothing_to_score_is_refused(playground: Playground, text: str) -> None:
    with pytest.raises(GemmaSpaceError, match="no text to score"):
        ask(playground, text)


def test_a_text_beyond_the_context_is_refused(playground: Playground) -> None:
    with pytest.raises(ContextLengthError, match="only"):
        ask(playground, "word " * 5000)


def test_one_id_alone_has_nothing_before_it(model: Any) -> None:
    with pytest.raises(GenerationError, match="no token to score"):
        scored(BatchEngine(model, frozenset()), (2,))


def test_a_reply_goes_on_while_a_text_is_scored(model: Any, small_chunks: None) -> None:
    engine = BatchEngine(model, frozenset(), 1 << 20, inline=True)
    prompt, params = tuple(WORDS[:9]), greedy(max_new_tokens=12, ignore_eos=True)
    alone = [c.token_id for c in engine.stream(prompt, params) if c.token_id is not None]
    text = tuple(list(WORDS[:2]) * 100)
    reply, score = engine.stream(prompt, params), engine.score(text)
    together, scores = [], 0
    for _ in range(4):
        chunk, scoring = next(reply), next(score)
        together += [chunk.token_id] * (chunk.token_id is not None)
        scores += len(scoring.prompt_scores)
    together += [c.token_id for c in reply if c.token_id is not None]
    scores += sum(len(c.prompt_scores) for c in score)
    assert (together, scores) == (alone, len(text) - 1)


def test_a_text_that_a_model_rules_out_has_a_perplexity_all_the_same(model: Any) -> None:
    """exp of more than 709 is no float."""
    key = ModelKey(checkpoint=hub_catalog()[0], revision="r", precision=Precision.FP32)
    tokenizer, engine = tiny.build_tokenizer(tiny.GEMMA_3), BatchEngine(model, frozenset())
    served = ServedModel(key=key, engine=engine, tokenizer=tokenizer, nbytes=0)

    def chunks() -> Generator[GenerationChunk]:
        score = ScoredToken(token_id=300, logprob=-1000.0, entropy=0.0)
        yield GenerationChunk(prompt_scores=(score,), finish_reason="stop")

    (found,) = generation.scored(served, chunks(), 1, ())
    assert found.perplexity == math.inf
