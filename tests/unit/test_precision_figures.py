"""What a report says of its figures: means and their errors, the verdict, the files."""

import csv
import io
import json
import math
import random
import statistics
from dataclasses import replace
from typing import Any

import pytest

from gemma_space import precision_figures as figures
from gemma_space.precision_figures import Figures, PrecisionReport, WorstToken
from gemma_space.types import Precision

WORST = WorstToken(text=2, before="<b>", token="=x", divergence=3.0, expected=" a",
                   expected_share=0.5, instead="\n", instead_share=0.25)  # fmt: skip
REPORT = PrecisionReport(
    model="a/b", title="A model", texts=3, tokens=100,
    reference=Figures(precision=Precision.BF16, perplexity=12.5, nbytes=1000),
    candidates=(
        Figures(precision=Precision.INT8, perplexity=12.6, nbytes=600, divergence=0.002,
                error=0.0005, agreement=0.991, tokens_per_second=4.25, worst=(WORST,)),
        Figures(precision=Precision.INT4, perplexity=math.inf, nbytes=350, divergence=0.3,
                agreement=0.9),
        Figures(precision=Precision.FP32, problem="It needs too much."),
    ),
)  # fmt: skip


def test_the_error_takes_texts_as_units() -> None:
    """Equal texts: the standard error of their means."""
    rng = random.Random(1)
    texts = [[rng.random() + at for _ in range(20)] for at in (0.0, 0.1, 0.9, 0.4)]
    mean, error = figures.mean_and_error(texts)
    means = [statistics.mean(text) for text in texts]
    assert mean == pytest.approx(statistics.mean(means))
    assert error == pytest.approx(statistics.stdev(means) / math.sqrt(4))


def test_unequal_texts_count_by_their_tokens() -> None:
    mean, error = figures.mean_and_error([[1.0, 1.0, 1.0], [5.0]])
    assert mean == 2.0
    assert error == pytest.approx(math.sqrt((9 + 9) * 2) / 4)
    assert figures.mean_and_error([[1.0, 3.0]]) == (2.0, None)


def test_perplexity_has_no_end() -> None:
    assert figures.perplexity([math.log(0.5)] * 3) == pytest.approx(2.0)
    assert figures.perplexity([-1000.0]) == math.inf
    assert figures.perplexity([-math.inf, 0.0]) == math.inf
    assert figures.perplexity([math.nan]) == math.inf


@pytest.mark.parametrize(
    ("divergence", "agreement", "name"),
    [
        (0.0, 1.0, "next to nothing"), (0.005, 0.98, "next to nothing"), (0.0051, 1.0, "little"),
        (0.0, 0.979, "little"), (0.05, 0.94, "little"), (0.2, 0.85, "noticeably"),
        (0.21, 0.99, "much"), (0.0, 0.84, "much"), (math.inf, 1.0, "much"),
    ],
)  # fmt: skip
def test_a_loss_has_the_name_of_the_worse_figure(
    divergence: float, agreement: float, name: str
) -> None:
    one = Figures(precision=Precision.INT4, divergence=divergence, agreement=agreement)
    assert figures.loss(one) == name


def test_the_verdict_follows_from_the_figures() -> None:
    assert figures.verdict(REPORT) == (
        "Against bf16, int8 loses next to nothing (the same first choice 99.1% of the time) at "
        "60% of the memory, and int4 loses much (90.0%) at 35% of the memory."
    )
    alone = replace(REPORT, candidates=REPORT.candidates[:1])
    assert figures.verdict(alone).endswith("99.1% of the time) at 60% of the memory.")
    assert figures.verdict(replace(REPORT, candidates=REPORT.candidates[2:])) == ""
    assert figures.verdict(replace(REPORT, reference=None)) == ""


def test_the_table_as_a_file() -> None:
    lines = list(csv.DictReader(io.StringIO(figures.as_csv(REPORT))))
    assert [(line["precision"], line["role"]) for line in lines] == [
        ("bf16", "reference"), ("int8", "candidate"), ("int4", "candidate"), ("fp32", "candidate"),
    ]  # fmt: skip
    assert lines[0]["mean_kl_nats"] == ""
    assert float(lines[1]["mean_kl_nats"]) == 0.002
    assert float(lines[1]["kl_standard_error"]) == 0.0005
    assert (lines[2]["kl_standard_error"], lines[2]["memory_bytes"]) == ("", "350")
    assert (lines[3]["perplexity"], lines[3]["not_measured"]) == ("", "It needs too much.")


def test_all_of_it_as_a_file() -> None:
    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    told = json.loads(figures.as_json(REPORT), parse_constant=refuse)
    assert told["verdict"] == figures.verdict(REPORT)
    assert told["candidates"][0]["worst"][0]["token"] == "=x"
    assert told["candidates"][1]["perplexity"] is None
    assert (told["format"], told["version"]) == ("gemma-space-precision-report", 1)
    assert not {"doing", "share"} & set(told)
