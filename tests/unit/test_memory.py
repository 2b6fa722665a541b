"""Bytes of weights against figures measured apart from the code, and what fits a budget."""

from pathlib import Path
from typing import Any

import pytest

from gemma_space.catalog import Checkpoint, hub_catalog
from gemma_space.memory import (
    find_container,
    fits,
    kv_bytes,
    needs,
    probe_device,
    show_bytes,
    weights_bytes,
)
from gemma_space.types import Precision

GIB = 2**30
# GiB in bf16, fp32, int8 and plain NF4 (one fp32 scale per 64 weights, so 0.5625 bytes each), as
# written down from the architectures instantiated without weights; for Gemma 3n the text half.
MEASURED = {
    "gemma-2b": (4.67, 9.34, 2.82, 2.01),
    "gemma-7b": (15.90, 31.81, 8.68, 5.53),
    "gemma-2-2b": (4.87, 9.74, 2.98, 2.16),
    "gemma-2-9b": (17.21, 34.43, 9.46, 6.07),
    "gemma-2-27b": (50.71, 101.4, 26.46, 15.84),
    "gemma-3-270m": (0.50, 1.00, 0.41, 0.37),
    "gemma-3-1b-it": (1.86, 3.72, 1.21, 0.93),
    "gemma-3-4b-it": (8.01, 16.02, 4.63, 3.15),
    "gemma-3-12b-it": (22.70, 45.40, 12.29, 7.73),
    "gemma-3-27b-it": (51.10, 102.2, 26.86, 16.26),
    "gemma-4-E2B-it": (9.51, 19.01, 7.32, 6.36),
    "gemma-4-E4B-it": (14.79, 29.58, 10.65, 8.83),
    "gemma-4-12B-it": (22.28, 44.55, 12.08, 7.61),
    "gemma-4-26B-A4B-it": (48.07, 96.13, 46.0, 45.1),
    "gemma-4-31B-it": (58.25, 116.5, 30.44, 18.27),
}
TEXT_ONLY = {"gemma-3n-E2B-it": 4_435_182_688, "gemma-3n-E4B-it": 6_835_235_568}
ROWS = {row.repo_id.removeprefix("google/"): row for row in hub_catalog()}


@pytest.mark.parametrize("name", MEASURED)
def test_weights_take_what_was_measured(name: str) -> None:
    row = ROWS[name]
    bf16, fp32, int8, nf4 = MEASURED[name]
    rounding = 0.005 * GIB
    assert weights_bytes(row, Precision.BF16) == 2 * row.parameters
    assert weights_bytes(row, Precision.FP16) == weights_bytes(row, Precision.BF16)
    assert weights_bytes(row, Precision.BF16) == pytest.approx(bf16 * GIB, abs=rounding)
    assert weights_bytes(row, Precision.FP32) == pytest.approx(fp32 * GIB, abs=10 * rounding)
    # The table counts what is quantized a little differently in the towers: under one percent.
    close: dict[str, Any] = {"rel": 0.01, "abs": rounding}
    assert weights_bytes(row, Precision.INT8) == pytest.approx(int8 * GIB, **close)
    # The scales are quantized too here: 8 bits per 64 weights and 32 per 256 of those.
    saved = row.linears.parameters * (4 / 64 - 1 / 64 - 4 / (64 * 256))
    plain = weights_bytes(row, Precision.INT4) + saved
    assert plain == pytest.approx(nf4 * GIB, **close)


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_of_gemma_3n_only_the_text_half_takes_memory(name: str) -> None:
    assert weights_bytes(ROWS[name], Precision.BF16) == 2 * TEXT_ONLY[name]


def test_every_google_row_was_compared() -> None:
    sizes = {ROWS[name].parameters for name in (*MEASURED, *TEXT_ONLY)}
    assert {r.parameters for r in hub_catalog() if r.repo_id.startswith("google/")} == sizes


# Bytes per token of global and of sliding layers in 16 bits, the window, and MiB at 2, 8, 32 and
# 128 thousand tokens, as far as the context goes.
KV_CACHE = {
    "gemma-2b": (18_432, 0, 0, 36, 144),
    "gemma-7b": (458_752, 0, 0, 896, 3584),
    "gemma-2-2b": (53_248, 53_248, 4096, 208, 624),
    "gemma-2-9b": (172_032, 172_032, 4096, 672, 2016),
    "gemma-2-27b": (188_416, 188_416, 4096, 736, 2208),
    "gemma-3-270m": (3072, 15_360, 512, 14, 32, 104),
    "gemma-3-1b-it": (4096, 22_528, 512, 19, 43, 139),
    "gemma-3-4b-it": (20_480, 118_784, 1024, 156, 276, 756, 2676),
    "gemma-3-12b-it": (65_536, 327_680, 1024, 448, 832, 2368, 8512),
    "gemma-3-27b-it": (81_920, 425_984, 1024, 576, 1056, 2976, 10_656),
    "gemma-3n-E2B-it": (8192, 32_768, 512, 32, 80, 272),
    "gemma-3n-E4B-it": (8192, 32_768, 512, 32, 80, 272),
    "gemma-4-E2B-it": (6144, 12_288, 512, 18, 54, 198, 774),
    "gemma-4-E4B-it": (16_384, 40_960, 512, 52, 148, 532, 2068),
    "gemma-4-12B-it": (16_384, 327_680, 1024, 352, 448, 832, 2368),
    "gemma-4-26B-A4B-it": (20_480, 204_800, 1024, 240, 360, 840, 2760),
    "gemma-4-31B-it": (81_920, 819_200, 1024, 960, 1440, 3360, 11_040),
}


@pytest.mark.parametrize("name", KV_CACHE)
def test_a_conversations_cache_is_what_was_measured(name: str) -> None:
    layout = ROWS[name].kv
    whole, sliding, window, *figures = KV_CACHE[name]
    assert kv_bytes(layout, 1) == whole + sliding
    assert kv_bytes(layout, window + 1) - kv_bytes(layout, window) == whole
    for thousands, figure in zip((2, 8, 32, 128), figures, strict=False):
        assert kv_bytes(layout, thousands * 1024) / 2**20 == pytest.approx(figure, abs=0.51)


@pytest.mark.parametrize("row", hub_catalog(), ids=lambda row: row.repo_id)
def test_every_google_row_has_a_cache_layout(row: Checkpoint) -> None:
    assert row.kv or not row.repo_id.startswith("google/")


def test_what_fits_says_why_not() -> None:
    row = ROWS["gemma-3-4b-it"]
    rows = fits(row, 6 * GIB)
    assert list(rows) == ["fp32", "bf16", "fp16", "int8", "int4"]
    assert {name for name, fit in rows.items() if fit.fits} == {"int8", "int4"}
    assert rows["int8"].reason == ""
    assert rows["bf16"].reason == (
        "Needs 8.0 GiB and 276.0 MiB for a conversation of 8,192 tokens; the budget is 6.0 GiB."
    )
    assert "overflows" in rows["fp16"].reason
    assert rows["bf16"].weights_bytes == weights_bytes(row, Precision.BF16)
    exactly = rows["bf16"].weights_bytes + rows["bf16"].kv_bytes
    assert fits(row, exactly)["bf16"].fits
    assert not fits(row, exactly - 1)["bf16"].fits


def test_a_longer_conversation_needs_more_and_fp32_twice_as_much() -> None:
    row = ROWS["gemma-3-4b-it"]
    short, long = (needs(row, Precision.INT4, tokens) for tokens in (2048, 131_072))
    assert short.weights_bytes == long.weights_bytes
    assert (short.kv_bytes, long.kv_bytes) == (156 * 2**20, 2676 * 2**20)
    assert needs(row, Precision.FP32, 2048).kv_bytes == 2 * short.kv_bytes
    assert needs(row, Precision.INT4, 10**9).tokens == row.context_length


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 KiB"), (999_499, "976 KiB"), (7_162_696, "6.8 MiB"), (1020 * 2**20, "1.0 GiB"),
     (2**30, "1.0 GiB"), (5_012_344_832, "4.7 GiB")],
)  # fmt: skip
def test_bytes_for_people(count: int, shown: str) -> None:
    assert show_bytes(count) == shown


def test_the_device_is_there() -> None:
    device = probe_device()
    assert device.kind in ("cpu", "cuda")
    assert 0 < device.free_bytes() < device.total_bytes


@pytest.mark.parametrize(
    ("limit", "usage"),
    [("memory.max", "memory.current"),
     ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")],
)  # fmt: skip
def test_a_containers_limit_is_found(tmp_path: Path, limit: str, usage: str) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / limit).write_text("16000\n")
    (tmp_path / usage).write_text("4000\n")
    container = find_container(tmp_path)
    assert container is not None
    assert (container.limit, container.left()) == (16_000, 12_000)


@pytest.mark.parametrize("limit", ["max\n", str(2**63 - 4096), "nonsense"])
def test_no_limit_is_no_container(tmp_path: Path, limit: str) -> None:
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("4000")
    assert find_container(tmp_path) is None
    assert find_container(tmp_path / "absent") is None
