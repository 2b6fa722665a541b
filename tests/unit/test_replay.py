"""Replays: made again by ids, found the same, and where not, told why in words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_space import surroundings
from gemma_space.capsule import read, to_json
from gemma_space.playground import Playground
from gemma_space.replay import NOTHING_KNOWN, Comparison, compare
from gemma_space.runs import Run
from gemma_space.surroundings import Surroundings
from gemma_space.types import (
    Alternative,
    Attention,
    CompletionRequest,
    Controls,
    Precision,
    ScoredPiece,
)
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_capsule import HERE, PARAMS, a_run
from tests.unit.test_traps import last_of


def compared(then: Run, now: Run, here: Surroundings = HERE) -> Comparison:
    return compare(read(to_json(then, HERE)), now, here, lambda token_id: f"<{token_id}>")


# --- comparing -------------------------------------------------------------------------------


def test_a_run_like_its_capsule_is_identical() -> None:
    assert compared(a_run(), a_run()) == Comparison(identical=True)
    assert compared(a_run(finish_reason=None), a_run(finish_reason="length")).identical


def test_the_first_token_that_differs_is_told() -> None:
    found = compared(a_run(), a_run(token_ids=(20, 21, 99, 23), text="abxd"))
    assert found.then is not None
    assert found.now is not None
    assert (found.identical, found.at, found.then.id, found.now.text) == (False, 2, 22, "<99>")
    assert found.reasons == (NOTHING_KNOWN,)


OTHER = {"token_ids": (20, 99), "text": "ax"}
LIKELY: dict[str, tuple[Run, Surroundings, str]] = {
    "model": (a_run(**OTHER, model="google/gemma-3-1b-it"), HERE, "another model"),
    "commit": (
        a_run(**OTHER, revision="2" * 40), HERE, "another commit: 1111111111 then, 2222222222 now"
    ),
    "base": (a_run(**OTHER), replace(HERE, base_revision="main"), "base's files"),
    "precision": (a_run("int8", **OTHER), HERE, "fp32 then, int8 now"),
    "versions": (
        a_run(**OTHER), replace(HERE, versions={**HERE.versions, "torch": "2.14"}),
        "torch 2.13.0 then, 2.14 now",
    ),
    "device": (a_run(**OTHER), replace(HERE, device="NVIDIA L4"), "cpu then, NVIDIA L4 now"),
    "template": (a_run(**OTHER), replace(HERE, template_sha256=""), "chat template"),
    "control": (a_run(**OTHER, params=replace(PARAMS, top_k=1)), HERE, "top_k is another: 40"),
    "seed": (a_run(**OTHER, params=replace(PARAMS, seed=8)), HERE, "seed is another: 7 then, 8"),
    "input": (a_run(**OTHER, prompt_ids=(2, 11)), HERE, "given other tokens"),
    "stopped": (
        a_run(token_ids=(20, 21), text="ab", finish_reason="cancelled"), HERE,
        "stopped by hand",
    ),
    "late": (a_run(token_ids=(20, 21), text="ab", finish_reason="time_limit"), HERE, "time was up"),
    "shorter": (
        a_run(token_ids=(20, 21), text="ab", finish_reason="length"), HERE,
        r"4 tokens then \(finish_reason stop\), 2 now \(length\)",
    ),
    "end": (a_run(finish_reason="length"), HERE, "stop then, length now"),
    "text": (a_run(text="abce"), HERE, "capsule was changed"),
    "tokens": (a_run(token_ids=(20, 99)), HERE, "text is the same and its tokens are not"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIKELY)
def test_what_is_likely_comes_first(name: str) -> None:
    run, here, words = LIKELY[name]
    found = compared(a_run(), run, here)
    assert not found.identical
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(found.reasons[0])
    assert NOTHING_KNOWN not in found.reasons


def test_attention_and_a_longer_run_are_told_too() -> None:
    run = a_run(**OTHER)
    run = replace(run, request=replace(run.request, attention=Attention.EAGER))
    assert compared(a_run(), run).reasons == (
        "The attention is another: auto then, eager now.",
    )  # fmt: skip
    early = a_run(token_ids=(20,), text="a", finish_reason="cancelled")
    found = compared(early, a_run())
    assert (found.at, found.then) == (1, None)
    assert found.now is not None
    assert "The capsule's run ended early" in found.reasons[0]


def test_sixteen_bits_are_a_reason_of_their_own_and_the_last() -> None:
    same = compared(a_run("bf16"), a_run("bf16", **OTHER)).reasons
    assert len(same) == 1
    assert "near tie" in same[0]
    other = compared(a_run("bf16"), a_run(**OTHER)).reasons
    assert "bf16 then, fp32 now" in other[0]
    assert other[-1].startswith("In bf16")


def test_a_near_tie_that_was_seen_is_told_with_both_shares() -> None:
    tokens = tuple(
        ScoredPiece(
            id=i, text="x", logprob=-0.7, entropy=1.0,
            top=(Alternative(id=i, text="x", logprob=-0.7), Alternative(id=21, text="y",
                                                                        logprob=-0.71)),
        )
        for i in (20, 99)
    )  # fmt: skip
    run = replace(a_run(**OTHER), tokens=tokens)
    assert "49.2% and 49.7%" in compared(a_run(), run).reasons[0]
    run = replace(a_run(**OTHER, revision="2" * 40), tokens=tokens)
    assert "commit" in compared(a_run(), run).reasons[0]
    assert "almost equally" in compared(a_run(), run).reasons[-1]


def scored(token_id: int, *rivals: tuple[int, float]) -> ScoredPiece:
    top = tuple(Alternative(id=i, text="y", logprob=logprob) for i, logprob in rivals)
    return ScoredPiece(id=token_id, text="x", logprob=-0.01, entropy=0.1, top=top)


@pytest.mark.parametrize("rivals", [((21, -12.0),), ((30, -0.01), (31, -9.0))])
def test_a_token_that_was_hardly_possible_is_no_matter_of_rounding(
    rivals: tuple[tuple[int, float], ...],
) -> None:
    run = replace(a_run("bf16", **OTHER), tokens=(scored(20), scored(99, *rivals)))
    (reason,) = compared(a_run("bf16"), run).reasons
    assert "below 0.1% here, which rounding does not explain" in reason
    run = replace(a_run(**OTHER), tokens=(scored(20), scored(99, *rivals)))
    known = compared(a_run("bf16"), run).reasons
    assert "bf16 then, fp32 now" in known[0]
    assert not any("rounding does not explain" in reason for reason in known)


def test_a_token_that_could_have_come_leaves_rounding_as_a_reason() -> None:
    run = replace(a_run("bf16", **OTHER), tokens=(scored(20), scored(99, (21, -3.0))))
    (reason,) = compared(a_run("bf16"), run).reasons
    assert "near tie" in reason


def test_the_odds_of_a_branch_are_those_of_the_token_that_differs() -> None:
    """A replayed branch has scores for what follows what it began with, and for nothing else."""
    run = replace(a_run(**OTHER), tokens=(scored(99, (21, -0.05)),))
    (reason,) = compared(a_run(), run).reasons
    assert "almost equally likely" in reason


def test_the_seed_of_a_greedy_run_is_no_reason() -> None:
    greedy = replace(PARAMS, temperature=0.0)
    now = a_run(**OTHER, params=replace(greedy, seed=8))
    assert compared(a_run(params=greedy), now).reasons == (NOTHING_KNOWN,)


# --- replaying -------------------------------------------------------------------------------


@pytest.fixture(params=["gemma3", "demo"])
def model(request: pytest.FixtureRequest, checkpoints: Checkpoints) -> Path:
    return checkpoints.demo() if request.param == "demo" else checkpoints.folder(tiny.GEMMA_3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_replay_is_identical_and_a_tampered_capsule_is_found_out(
    playground: Playground, model: Path, precision: str
) -> None:
    asked = CompletionRequest(
        prompt="<bos>The answer<end_of_turn>", model=str(model),
        precision=Precision(precision), logprobs=2,
        controls=Controls(max_new_tokens=12, temperature=1.0, top_k=20, ignore_eos=True),
    )  # fmt: skip
    first = made(playground, asked)
    tokenizer = playground.library.tokenizer(playground.library.find(str(model)), None)
    here = surroundings.present("cpu", tokenizer, precision)
    document = to_json(first, here)
    again = made(playground, read(document).request())
    assert compare(read(document), again, here, tokenizer.convert_ids_to_tokens).identical
    branch = first.branch(3, first.tokens[3].top[1])
    taken = made(playground, branch.request)
    document = to_json(taken, here)
    again = made(playground, read(document).request())
    assert compare(read(document), again, here, tokenizer.convert_ids_to_tokens).identical

    tampered = json.loads(document)
    honest = tampered["output"]["ids"][5]
    tampered["output"]["ids"][5] = honest + 1
    found = compare(
        read(json.dumps(tampered)), again, here, tokenizer.convert_ids_to_tokens
    )  # fmt: skip
    assert found.at == 5
    assert found.then is not None
    assert found.now is not None
    assert (found.then.id, found.now.id) == (honest + 1, honest)
    assert found.now.text == tokenizer.convert_ids_to_tokens(honest)


def made(playground: Playground, request: CompletionRequest) -> Run:
    last = last_of(playground.complete(request))
    return Run(request=request, generation=last, tokens=last.tokens)
