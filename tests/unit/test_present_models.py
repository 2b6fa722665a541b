"""How models, their sizes and their fit read."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from gemma_space import hub
from gemma_space.catalog import (
    ALL_PRECISIONS,
    DEMO_ADAPTER_ID,
    DEMO_REPO_ID,
    NO_FP16,
    Checkpoint,
    hub_catalog,
)
from gemma_space.memory import fits
from gemma_space.reports import Fit
from gemma_space.types import Precision
from gemma_space.ui import present_models
from gemma_space.ui.present_models import Line
from tests.browser.fake_library import checkpoint

GIB = 1 << 30
FIT = Fit(
    precision=Precision.BF16, weights_bytes=8 * GIB, kv_bytes=GIB, tokens=8192,
    budget_bytes=20 * GIB, taken_bytes=4 * GIB, loaded=False, fits=True,
)  # fmt: skip
ROW = checkpoint("google/gemma-x", "Gemma X", gated=True, precisions=NO_FP16, context_length=8192)


def words(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", " ", html))).strip()


def widths(html: str) -> list[str]:
    return re.findall(r'<span class="(\w+)" style="(?:width|left):([\d.]+)%"', html)


def listed(*lines: Line, tokens: int = 8192) -> str:
    return present_models.model_list(lines, tokens)


def line(row: Checkpoint = ROW, budget: int = 20 * GIB, **fields: Any) -> Line:
    return Line(row=row, fits=fits(row, budget), **fields)


# --- the fit meter ------------------------------------------------------------------------------


def test_what_fits_says_what_it_takes() -> None:
    html = present_models.fit_meter(FIT, Precision.BF16)
    assert words(html) == (
        "✓ Fits bf16 9.0 of 20.0 GiB Stays in memory 4.0 GiB Weights 8.0 GiB "
        "KV cache, 8K tokens 1.0 GiB"
    )
    assert widths(html) == [("kept", "20.00"), ("weights", "40.00"), ("kv", "5.00")]
    assert 'aria-label="Of 20.0 GiB for models: Stays in memory 4.0 GiB, Weights' in html


def test_units_are_named_twice_where_they_differ() -> None:
    small = replace(FIT, weights_bytes=7_000_000, kv_bytes=1_000_000)
    assert "7.6 MiB of 20.0 GiB" in words(present_models.fit_meter(small, Precision.BF16))


def test_auto_says_what_it_means_and_why() -> None:
    assert "auto means bf16 here." in present_models.fit_meter(FIT, Precision.AUTO)
    assert "auto means" not in present_models.fit_meter(FIT, Precision.BF16)
    noted = replace(FIT, precision=Precision.INT8, note="auto chose int8, because <x>.")
    html = present_models.fit_meter(noted, Precision.AUTO)
    assert "auto chose int8, because &lt;x&gt;." in html
    assert "auto means" not in html


@pytest.mark.parametrize(
    ("evicts", "sentence"),
    [
        (("A in bf16",), "A in bf16 would leave."),
        (("A in bf16", "B in int8"), "A in bf16 and B in int8 would leave."),
        (("A", "B", "C"), "A, B and C would leave."),
    ],
)
def test_who_would_leave(evicts: tuple[str, ...], sentence: str) -> None:
    html = present_models.fit_meter(replace(FIT, evicts=evicts), Precision.BF16)
    assert sentence in words(html)


def test_too_large_says_why_how_far_and_what_fits_instead() -> None:
    fit = replace(FIT, fits=False, weights_bytes=35 * GIB, reason="It needs more.",
                  instead=(Precision.INT8, Precision.INT4))  # fmt: skip
    html = present_models.fit_meter(fit, Precision.BF16)
    assert "✕ Does not fit" in html
    assert "It needs more." in html
    assert "Beyond what there is 20.0 GiB" in words(html)
    assert widths(html)[-1] == ("beyond", "50.00")
    assert re.findall(r'data-precision="(\w+)"', html) == ["int8", "int4"]
    nothing = present_models.fit_meter(replace(fit, instead=()), Precision.BF16)
    assert "No other precision of it fits right now." in nothing


def test_what_is_loaded_is_not_counted_twice() -> None:
    loaded = replace(FIT, loaded=True, taken_bytes=13 * GIB)  # itself, and 4 GiB of others
    html = present_models.fit_meter(loaded, Precision.BF16)
    assert "● In memory" in html
    assert widths(html)[0] == ("kept", "20.00")
    alone = present_models.fit_meter(replace(loaded, taken_bytes=9 * GIB + 5), Precision.BF16, True)
    assert "Stays in memory" not in alone


def test_a_model_without_a_known_cache_has_no_such_part() -> None:
    html = present_models.fit_meter(replace(FIT, kv_bytes=0), Precision.BF16)
    assert "KV cache" not in html


# --- the list -----------------------------------------------------------------------------------


def test_every_precision_has_a_button_that_says_how_it_stands() -> None:
    html = listed(line(loaded=("int8",)))
    assert re.findall(r'data-precision="(\w+)"', html) == list(map(str, ALL_PRECISIONS))
    assert re.search(r'class="precision loaded" data-precision="int8"', html)
    assert re.search(r'class="precision refused" data-precision="fp16" title="[^"]*use bf16', html)
    assert "in memory: int8" in words(html)
    tight = words(listed(line(budget=38_200_000)))
    assert re.search(r"fp32 [\d.]+ MiB too large", tight)
    assert re.search(r"fp16 – not offered", tight)
    assert re.search(r"int4 [\d.]+ MiB fits", tight)


def test_what_fits_in_no_precision_is_marked_for_the_filter() -> None:
    assert 'data-fits="1"' in listed(line())
    assert 'data-fits="0"' in listed(line(budget=1000))


def test_the_conversation_is_no_longer_than_the_context() -> None:
    assert "for a conversation of 8K tokens." in listed(line(), tokens=131_072)
    assert "for a conversation of 2K tokens." in listed(line(), tokens=2048)


def test_facts_and_links(tmp_path: Path) -> None:
    html = listed(line())
    page = hub.repo_url(ROW.repo_id)
    assert f'<a href="{page}" target="_blank" rel="noopener">google/gemma-x</a>' in html
    assert "Gemma Terms of Use · Gated: needs a token · Instruct" in words(html)
    assert "Gemma Terms of Use · Gated · Instruct" in words(listed(line(has_token=True)))
    adapter = replace(ROW, repo_id="/my/<adapter>", variant="adapter", base=ROW, path=tmp_path)
    local = listed(Line(row=adapter, fits={}))
    assert "<a " not in local
    assert "/my/&lt;adapter&gt;" in local
    assert "On this machine · Adapter of Gemma X" in words(local)
    assert "Open · Instruct" in words(listed(line(replace(ROW, gated=False))))


@pytest.mark.parametrize(
    ("row", "typed", "title"),
    [
        (ROW, False, "Gemma 3"),
        (ROW, True, "Yours"),
        (checkpoint(DEMO_REPO_ID, "Demo"), False, "Demo"),
        (checkpoint(DEMO_ADAPTER_ID, "Pirate"), False, "Demo"),
        (checkpoint("a/b", "B", family="codegemma"), False, "Other"),
    ],
)
def test_groups(row: Checkpoint, typed: bool, title: str) -> None:
    assert present_models.group(row, typed) == title
    assert f'data-group="{title}"' in listed(line(row, typed=typed))


def test_the_whole_catalogue_is_listed_once_and_stays_light() -> None:
    rows = hub_catalog()
    html = listed(*(line(row) for row in rows))
    assert html.count("<li ") == len(rows)
    assert f"{len(rows)} models" in html
    assert len(html) < 100_000


# --- what is chosen -----------------------------------------------------------------------------


def test_only_one_precision_is_explained() -> None:
    fixed = checkpoint("a/b", "B", precisions=(Precision.INT8,), quantization="int8")
    assert "quantized to int8" in present_models.only_precision(fixed)
    assert present_models.only_precision(ROW) == ""


def test_the_headline_escapes_and_tells() -> None:
    html = present_models.headline(replace(ROW, title="<b>", note="<i>"))
    assert "<h3>&lt;b&gt;</h3>" in html
    assert "<p>&lt;i&gt;</p>" in html
