"""Which precision a checkpoint runs in, and what `auto` becomes."""

from collections.abc import Callable

import pytest

from gemma_space.catalog import Checkpoint, hub_catalog
from gemma_space.errors import InvalidRequestError, PrecisionUnsupportedError
from gemma_space.memory import weights_bytes
from gemma_space.precision import choose, parse, refusal
from gemma_space.types import Precision


def roomless(row: Checkpoint, budget: int) -> Callable[[Precision], str]:
    """Obstacles of a machine that has so many bytes for weights and nothing in memory."""
    return lambda p: "" if weights_bytes(row, p) <= budget else "the budget is small."


ROWS = {row.repo_id.removeprefix("google/"): row for row in hub_catalog()}
HUGE = 2**50


@pytest.mark.parametrize("name", ["auto", "fp32", "bf16", "fp16", "int8", "int4"])
def test_the_six_names_are_read(name: str) -> None:
    assert parse(name) == name


@pytest.mark.parametrize("name", ["", "BF16", "fp8", "float16", None, 16, ["bf16"], "x" * 10_000])
def test_other_names_are_refused_with_the_list(name: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(name)
    assert caught.value.hint == "Choose one of auto, fp32, bf16, fp16, int8, int4."
    assert len(caught.value.message) < 100


@pytest.mark.parametrize(
    ("name", "why"),
    [("gemma-3-270m-it", "Gemma 3 overflows"), ("gemma-3n-E2B-it", "Gemma 3n overflows"),
     ("gemma-4-E2B-it", "Gemma 4 overflows"), ("gemma-2-27b-it", "27B gives erratic")],
)  # fmt: skip
def test_fp16_is_refused_where_it_breaks(name: str, why: str) -> None:
    row = ROWS[name]
    with pytest.raises(PrecisionUnsupportedError, match=why) as caught:
        choose(row, Precision.FP16, roomless(row, HUGE))
    assert "fp16" not in caught.value.hint
    assert row.title in caught.value.message


@pytest.mark.parametrize("name", ["gemma-2b-it", "gemma-7b-it", "gemma-2-2b-it", "gemma-2-9b-it"])
def test_fp16_is_offered_where_it_works(name: str) -> None:
    assert refusal(ROWS[name], Precision.FP16) == ""
    assert choose(ROWS[name], Precision.FP16, roomless(ROWS[name], HUGE)) == (Precision.FP16, "")


def test_auto_is_the_best_that_fits_and_says_when_it_had_to_step_down() -> None:
    row = ROWS["gemma-2-9b-it"]
    needs = {p: weights_bytes(row, p) for p in (Precision.BF16, Precision.INT8, Precision.INT4)}
    assert choose(row, Precision.AUTO, roomless(row, HUGE)) == (Precision.BF16, "")
    assert choose(row, Precision.AUTO, roomless(row, needs[Precision.BF16])) == (Precision.BF16, "")
    chosen, why = choose(row, Precision.AUTO, roomless(row, needs[Precision.BF16] - 1))
    assert chosen is Precision.INT8
    assert "bf16 does not fit" in why
    assert (
        choose(row, Precision.AUTO, roomless(row, needs[Precision.INT8] - 1))[0] is Precision.INT4
    )
    assert choose(row, Precision.AUTO, roomless(row, 1))[0] is Precision.INT4


def test_a_prequantized_checkpoint_is_what_it_is() -> None:
    row = ROWS["RichardErkhov/google_-_gemma-2b-it-8bits"]
    assert choose(row, Precision.AUTO, roomless(row, HUGE)) == (Precision.INT8, "")
    with pytest.raises(PrecisionUnsupportedError, match="quantized to int8"):
        choose(row, Precision.BF16, roomless(row, HUGE))
