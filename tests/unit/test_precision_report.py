"""A precision report, held against the same figures from plain transformers."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from gemma_space import lease, memory, precision_reader, precision_report
from gemma_space.access import Access
from gemma_space.assets import DEMO_ADAPTER, DEMO_MODEL
from gemma_space.engine import steps
from gemma_space.errors import (
    AccessDeniedError,
    ContextLengthError,
    GemmaSpaceError,
    GenerationError,
    InvalidRequestError,
    ModelTooLargeError,
    PrecisionUnsupportedError,
)
from gemma_space.hub import Answer
from gemma_space.library import Library
from gemma_space.playground import Playground
from gemma_space.precision_figures import Figures, PrecisionReport, mean_and_error
from gemma_space.precision_report import PrecisionReports, ReportRequest
from gemma_space.reports import LoadProgress
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.types import Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub

BF16, INT8, INT4, FP32 = Precision.BF16, Precision.INT8, Precision.INT4, Precision.FP32
TEXTS = (*(text.strip() * 2 for text in tiny.CORPUS[:3]), *tiny.CORPUS[3:5])
QUANTIZATION = {
    INT8: BitsAndBytesConfig(load_in_8bit=True),
    INT4: BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                             bnb_4bit_use_double_quant=True,
                             bnb_4bit_compute_dtype=torch.bfloat16),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(checkpoints: Checkpoints) -> str:
    return str(checkpoints.folder(tiny.GEMMA_3))


def library(folder: str, **settings: Any) -> Library:
    return Playground(
        served_checkpoints([folder]), Access(probe=no_hub), Settings(**settings)
    ).library


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(precision_reader._GREEDY, max_new_tokens=4)
    monkeypatch.setattr(precision_reader, "_GREEDY", short)
    monkeypatch.setattr(precision_reader, "SPEED_TOKENS", 4)


@pytest.fixture
def shelf(folder: str) -> Library:
    return library(folder)


def ask(folder: str, texts: tuple[str, ...] = TEXTS, **more: Any) -> ReportRequest:
    return ReportRequest(model=folder, texts=texts, **more)


def measured(shelf: Library, request: ReportRequest) -> PrecisionReport:
    *_, last = PrecisionReports(shelf).measure(request)
    assert isinstance(last, PrecisionReport)
    assert (last.doing, last.share) == ("", 1.0)
    return last


# --- the numbers --------------------------------------------------------------------------------


def logprobs(folder: str, ids: list[list[int]], precision: Precision) -> list[torch.Tensor]:
    """Of every token of the vocabulary after every token but the last, with transformers alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32 if precision is FP32 else torch.bfloat16,
        quantization_config=QUANTIZATION.get(precision),
    ).eval()  # fmt: skip
    with torch.inference_mode():
        return [model(torch.tensor([one])).logits[0, :-1].double().log_softmax(-1) for one in ids]


def test_the_figures_are_those_of_plain_transformers(
    folder: str, shelf: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read in several chunks here and at once there: bf16 rounds a little differently."""
    monkeypatch.setitem(steps.SCORE_TOKENS, "cpu", 48)
    report = measured(shelf, ask(folder, candidates=(FP32, INT8, INT4)))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer.encode(text) for text in TEXTS]
    assert report.tokens == sum(map(len, ids)) - len(ids)
    assert max(map(len, ids)) > 2 * 48
    reference = logprobs(folder, ids, BF16)
    assert report.reference is not None
    assert report.reference.perplexity == pytest.approx(own_perplexity(reference, ids), rel=5e-3)
    assert [one.precision for one in report.candidates] == [FP32, INT8, INT4]
    for found in report.candidates:
        other = logprobs(folder, ids, found.precision)
        apart = [
            torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
            for p, q in zip(reference, other, strict=True)
        ]
        same = [p.argmax(-1) == q.argmax(-1) for p, q in zip(reference, other, strict=True)]
        mean, error = mean_and_error([one.tolist() for one in apart])
        assert found.divergence == pytest.approx(mean, rel=0.03)
        # Of int8 and fp32 the divergence is little more than the rounding of either way to read.
        assert found.error == pytest.approx(error, rel=0.05 if found.precision is INT4 else 0.5)
        assert found.agreement == pytest.approx(float(torch.cat(same).double().mean()), abs=0.02)
        assert found.perplexity == pytest.approx(own_perplexity(other, ids), rel=5e-3)
        check_worst(found, apart, ids, tokenizer)
        assert found.tokens_per_second is not None
        assert found.tokens_per_second > 0
    sizes = {one.precision: one.nbytes for one in report.measured}
    assert sizes[INT4] < sizes[INT8] < sizes[BF16] < sizes[FP32]


def own_perplexity(found: list[torch.Tensor], ids: list[list[int]]) -> float:
    own = [
        row.gather(-1, torch.tensor(one[1:])[:, None]) for row, one in zip(found, ids, strict=True)
    ]
    return float((-torch.cat(own).mean()).exp())


def check_worst(
    found: Figures, apart: list[torch.Tensor], ids: list[list[int]], tokenizer: Any
) -> None:
    """The token that stands first among the worst has, there too, about the largest divergence."""
    first = found.worst[0]
    assert len(found.worst) == 10
    assert first.divergence == max(one.divergence for one in found.worst)
    assert first.divergence == pytest.approx(float(torch.cat(apart).max()), rel=0.2)
    text = tokenizer.decode(ids[first.text - 1][1:])
    assert first.before + first.token in text


# --- on its way ---------------------------------------------------------------------------------


def test_it_says_how_far_it_is(
    folder: str, shelf: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "TICK_SECONDS", 0.001)  # what loads sooner is not told of
    states = list(PrecisionReports(shelf).measure(ask(folder, candidates=(INT4,))))
    assert any(isinstance(state, LoadProgress) for state in states)
    reports = [state for state in states if isinstance(state, PrecisionReport)]
    shares = [report.share for report in reports]
    assert shares == sorted(shares)
    told = list(dict.fromkeys(report.doing for report in reports))
    assert told[:3] == ["bf16: getting it ready", "bf16: text 1 of 5", "bf16: text 2 of 5"]
    assert told[-2:] == ["int4: writing a few tokens", ""]
    assert reports[-2].reference is not None, "what is measured is there before the end"


def open_files(folder: Path) -> list[str]:
    """What this process holds open there, names that are gone included."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return [link for link in links if link.startswith(str(folder))]


@pytest.mark.parametrize("at", ["bf16: text 3 of 5", "bf16: writing a few tokens",
                                "int4: text 2 of 5"])  # fmt: skip
def test_closing_leaves_nothing_behind(
    at: str, folder: str, shelf: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reports = PrecisionReports(shelf)
    steps = reports.measure(ask(folder, candidates=(INT4,)))
    for state in steps:
        if isinstance(state, PrecisionReport) and state.doing == at:
            break
    assert open_files(tmp_path)
    assert os.listdir(tmp_path) == [], "it has no name"
    steps.close()  # type: ignore[attr-defined]
    assert open_files(tmp_path) == []
    status = shelf.status()
    assert (status.queue, [row.leases for row in status.loaded if row.leases]) == (0, [])
    again = reports.measure(ask(folder, TEXTS[:1], candidates=(INT4,)))
    state = next(again)
    assert isinstance(state, PrecisionReport)
    assert state.doing == "bf16: getting it ready", "nobody waits for who left"


def test_a_second_report_waits_for_the_first(folder: str, shelf: Library) -> None:
    reports = PrecisionReports(shelf)
    first, second = (reports.measure(ask(folder, TEXTS[:1], candidates=(INT4,))) for _ in range(2))
    next(first)
    state = next(second)
    assert isinstance(state, PrecisionReport)
    assert state.doing == precision_report.WAITING
    first.close()  # type: ignore[attr-defined]
    *_, last = second
    assert isinstance(last, PrecisionReport)
    assert len(last.measured) == 2


# --- memory -------------------------------------------------------------------------------------


def needs(shelf: Library, folder: str, precision: Precision) -> int:
    return memory.needs(shelf.find(folder), precision).total_bytes


def test_what_does_not_fit_together_is_measured_one_after_another(folder: str) -> None:
    roomy = library(folder)
    budget = needs(roomy, folder, BF16)
    tight = library(folder, memory_budget=budget)
    request = ask(folder, TEXTS[:1], candidates=(INT4,))
    narrow, wide = measured(tight, request), measured(roomy, request)
    assert [row.precision for row in tight.status().loaded] == ["int4"]
    assert [row.precision for row in roomy.status().loaded] == ["bf16", "int4"]
    assert narrow.candidates[0].divergence == wide.candidates[0].divergence
    assert narrow.candidates[0].divergence is not None


def test_a_candidate_that_cannot_be_loaded_leaves_the_others(folder: str) -> None:
    tight = library(folder, memory_budget=needs(library(folder), folder, BF16))
    report = measured(tight, ask(folder, TEXTS[:1], candidates=(FP32, INT4)))
    large, small = report.candidates
    assert "the memory budget is" in large.problem
    assert (large.divergence, large.perplexity) == (None, None)
    assert small.divergence is not None
    assert [one.precision for one in report.measured] == [BF16, INT4]


def test_a_reference_that_cannot_be_loaded_is_an_error(folder: str) -> None:
    tight = library(folder, memory_budget=needs(library(folder), folder, INT4))
    with pytest.raises(ModelTooLargeError, match="in bf16 needs"):
        measured(tight, ask(folder))


def test_numbers_that_overflow_are_a_reason(checkpoints: Checkpoints) -> None:
    folder = str(checkpoints.poisoned())
    with pytest.raises(GenerationError, match="overflowed"):
        measured(library(folder), ask(folder, (f"One {tiny.POISON} too many",)))


def test_an_adapter_is_measured_with_its_base() -> None:
    shelf = Playground(
        served_checkpoints([str(DEMO_ADAPTER), str(DEMO_MODEL)]), Access(probe=no_hub), Settings()
    ).library
    found = {
        row.variant: measured(shelf, ask(row.repo_id, TEXTS[:1], candidates=(INT4,)))
        for row in shelf.choices()
    }
    adapted, alone = (found[name].reference for name in ("adapter", "instruct"))
    assert adapted is not None
    assert alone is not None
    assert adapted.perplexity != pytest.approx(alone.perplexity, rel=1e-3)
    assert adapted.nbytes > alone.nbytes


# --- requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        ({"candidates": ()}, InvalidRequestError, "nothing to compare"),
        ({"candidates": (INT4, BF16)}, InvalidRequestError, "with itself"),
        ({"candidates": (Precision.AUTO,)}, InvalidRequestError, "auto is no precision"),
        ({"candidates": (Precision.FP16,)}, PrecisionUnsupportedError, "not offered in fp16"),
        ({"texts": ()}, InvalidRequestError, "no texts"),
        ({"texts": ("a\x00",)}, InvalidRequestError, "control characters"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_before_anything_is_loaded(
    request_: dict[str, Any], error: type[GemmaSpaceError], words: str, folder: str, shelf: Library
) -> None:
    with pytest.raises(error, match=words):
        next(PrecisionReports(shelf).measure(ask(folder, **request_)))
    assert shelf.status().loaded == ()


def test_too_many_tokens_are_refused(
    folder: str, shelf: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ContextLengthError, match="only 8,192 fit"):
        measured(shelf, ask(folder, ("word " * 9000,)))
    with pytest.raises(InvalidRequestError, match="at most 4,096"):
        measured(shelf, ask(folder, ("word " * 1000,) * 6))
    monkeypatch.setattr(precision_report, "DISK_SHARE", 0)
    with pytest.raises(InvalidRequestError, match="on the disk for these texts; 0 KiB"):
        measured(shelf, ask(folder))


def test_a_time_limit_is_an_error_of_the_reference(folder: str, shelf: Library) -> None:
    with pytest.raises(GenerationError, match="time limit"):
        list(PrecisionReports(shelf, max_time=1e-9).measure(ask(folder)))


def test_a_gated_model_needs_the_visitors_token() -> None:
    gated = "google/gemma-3-270m-it"
    rows = served_checkpoints([gated])
    shelf = Playground(rows, Access(probe=lambda *_: Answer("no_token")), Settings()).library
    with pytest.raises(AccessDeniedError) as error:
        next(PrecisionReports(shelf).measure(ask(gated)))
    assert error.value.verdict == "no_token"
