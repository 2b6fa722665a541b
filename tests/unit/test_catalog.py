"""The catalogue against figures written down independently of it, one line per checkpoint."""

import re

import pytest

from gemma_space.catalog import Checkpoint, hub_catalog
from gemma_space.types import Precision

# Parameters, context length, fp16 offered; counts of the architectures as published.
FIGURES = {
    "gemma-2b": (2_506_172_416, 8192, True),
    "gemma-2b-it": (2_506_172_416, 8192, True),
    "gemma-1.1-2b-it": (2_506_172_416, 8192, True),
    "gemma-7b": (8_537_680_896, 8192, True),
    "gemma-7b-it": (8_537_680_896, 8192, True),
    "gemma-1.1-7b-it": (8_537_680_896, 8192, True),
    "gemma-2-2b": (2_614_341_888, 8192, True),
    "gemma-2-2b-it": (2_614_341_888, 8192, True),
    "gemma-2-9b": (9_241_705_984, 8192, True),
    "gemma-2-9b-it": (9_241_705_984, 8192, True),
    "gemma-2-27b": (27_227_128_320, 8192, False),
    "gemma-2-27b-it": (27_227_128_320, 8192, False),
    "gemma-3-270m": (268_098_176, 32768, False),
    "gemma-3-270m-it": (268_098_176, 32768, False),
    "gemma-3-1b-pt": (999_885_952, 32768, False),
    "gemma-3-1b-it": (999_885_952, 32768, False),
    "gemma-3-4b-pt": (4_300_079_472, 131072, False),
    "gemma-3-4b-it": (4_300_079_472, 131072, False),
    "gemma-3-12b-pt": (12_187_325_040, 131072, False),
    "gemma-3-12b-it": (12_187_325_040, 131072, False),
    "gemma-3-27b-pt": (27_432_406_640, 131072, False),
    "gemma-3-27b-it": (27_432_406_640, 131072, False),
    "gemma-3n-E2B": (5_439_595_456, 32768, False),
    "gemma-3n-E2B-it": (5_439_595_456, 32768, False),
    "gemma-3n-E4B": (7_850_135_376, 32768, False),
    "gemma-3n-E4B-it": (7_850_135_376, 32768, False),
    "gemma-4-E2B": (5_104_297_504, 131072, False),
    "gemma-4-E2B-it": (5_104_297_504, 131072, False),
    "gemma-4-E4B": (7_941_100_832, 131072, False),
    "gemma-4-E4B-it": (7_941_100_832, 131072, False),
    "gemma-4-12B": (11_959_730_176, 262144, False),
    "gemma-4-12B-it": (11_959_730_176, 262144, False),
    "gemma-4-26B-A4B": (25_805_933_872, 262144, False),
    "gemma-4-26B-A4B-it": (25_805_933_872, 262144, False),
    "gemma-4-31B": (31_273_086_512, 262144, False),
    "gemma-4-31B-it": (31_273_086_512, 262144, False),
}
INSTRUCT_STOP_IDS = {
    "gemma1": (1, 107), "gemma2": (1, 107), "gemma3": (1, 106), "gemma3n": (1, 106),
    "gemma4": (1, 106, 50),
}  # fmt: skip
ROWS = {row.repo_id.removeprefix("google/"): row for row in hub_catalog()}
GOOGLE = pytest.mark.parametrize("row", [ROWS[name] for name in FIGURES], ids=list(FIGURES))


def test_every_core_checkpoint_is_there_once() -> None:
    ids = [row.repo_id for row in hub_catalog()]
    assert len(ids) == len(set(ids))
    assert {i for i in ids if i.startswith("google/")} == {f"google/{name}" for name in FIGURES}
    assert len({row.title for row in hub_catalog()}) == len(ids)


@GOOGLE
def test_figures(row: Checkpoint) -> None:
    parameters, context_length, fp16 = FIGURES[row.repo_id.removeprefix("google/")]
    assert row.parameters == parameters
    assert row.context_length == context_length
    assert (Precision.FP16 in row.precisions) is fp16
    assert {Precision.FP32, Precision.BF16, Precision.INT8, Precision.INT4} <= set(row.precisions)
    assert Precision.AUTO not in row.precisions
    assert 0 < row.linears.parameters < row.parameters - row.left_out


@GOOGLE
def test_licence_gate_sampling_and_stop_ids_follow_the_generation(row: Checkpoint) -> None:
    name = row.repo_id.removeprefix("google/")
    generation = re.match(r"gemma-(1\.1|2|3n|3|4)-[^b]", f"{name} ")
    wanted = {"2": "gemma2", "3": "gemma3", "3n": "gemma3n", "4": "gemma4"}.get(
        generation[1] if generation else "", "gemma1"
    )
    assert row.family == wanted
    open_weights = row.family == "gemma4"
    assert row.license == ("apache-2.0" if open_weights else "gemma")
    assert row.gated is not open_weights
    instruct = name.endswith("-it")
    assert row.variant == ("instruct" if instruct else "base")
    assert row.title.endswith("Instruct" if instruct else "Base")
    assert row.stop_ids == (INSTRUCT_STOP_IDS[row.family] if instruct else (1,))
    if row.family in ("gemma1", "gemma2"):
        assert row.sampling == {"temperature": 0.0}
    else:
        assert row.sampling == {"temperature": 1.0, "top_k": 64, "top_p": 0.95}
    assert not row.is_local


def test_the_prequantized_copy_has_one_precision_and_keeps_gemmas_terms() -> None:
    row = ROWS["RichardErkhov/google_-_gemma-2b-it-8bits"]
    assert row.precisions == (Precision.INT8,)
    assert row.quantization == "int8"
    assert row.license == "gemma"
    assert row.gated is False
    assert row.stop_ids == (1, 107)
