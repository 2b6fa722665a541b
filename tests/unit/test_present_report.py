"""A precision report as HTML: well-formed, escaped, the same figures in charts, table and files."""

import math
from dataclasses import replace
from urllib.parse import unquote

import pytest

from gemma_space import precision_figures
from gemma_space.precision_figures import Figures, PrecisionReport
from gemma_space.types import Precision
from gemma_space.ui import figures, present_report
from gemma_space.ui.figures import Bar
from tests.unit.test_about import NASTY, parsed, words
from tests.unit.test_precision_figures import REPORT, WORST

FULL = replace(REPORT, title=NASTY, device="CPU", model=NASTY)


def test_it_is_well_formed_and_nothing_in_it_runs() -> None:
    worst = replace(WORST, before=NASTY, token=NASTY, expected=NASTY, instead="\n")
    candidate = replace(FULL.candidates[0], worst=(worst,), notes=(NASTY,))
    html = present_report.result(replace(FULL, candidates=(candidate, *FULL.candidates[1:])))
    tree = parsed(html)
    assert not {one.tag for one in tree.iter()} & {"script", "style", "img", "iframe"}
    assert not any(name.startswith("on") for one in tree.iter() for name in one.attrib)
    assert NASTY in "".join(tree.itertext())


def test_charts_and_table_say_the_same() -> None:
    tree = parsed(present_report.result(FULL))
    charts = [
        [one.text for one in chart.iter("text") if one.get("class") == "bar-value"]
        for chart in tree.iter("svg")
    ]
    assert charts == [
        ["0.002", "0.3"], ["99.1%", "90.0%"], ["12.5", "12.6", "∞"], ["n/a", "4.25", "n/a"],
        ["1 KiB", "1 KiB", "0 KiB"],
    ]  # fmt: skip
    table = tree.findall(".//table")[0]
    rows = [[cell.text for cell in row.findall("td")] for row in table.findall("tbody/tr")]
    assert rows[:4] == [
        ["–", "0.002 ± 0.0005", "0.3", "n/a"], ["–", "99.1%", "90.0%", "n/a"],
        ["12.5", "12.6", "∞", "n/a"], ["n/a", "4.25", "n/a", "n/a"],
    ]  # fmt: skip
    heads = ["".join(head.itertext()) for head in table.findall("thead/tr/th")]
    assert heads == ["Measure", "bf16 (reference)", "int8", "int4", "fp32"]


def test_bars_are_as_long_as_their_values_are_large() -> None:
    tree = parsed(present_report.result(FULL))
    lengths = [
        [float((bar.get("width") or "").rstrip("%")) for bar in chart.iter("rect")]
        for chart in tree.iter("svg")
    ]
    assert lengths[0] == pytest.approx([100 * 0.002 / 0.3, 100], abs=0.01)
    assert lengths[1] == pytest.approx([99.1, 90], abs=0.01)
    assert lengths[2][2] == 100
    assert lengths[4] == pytest.approx([100, 60, 35], abs=0.01)
    (whisker,) = [one for one in tree.iter("line") if one.get("class") == "spread"]
    ends = [float((whisker.get(name) or "").rstrip("%")) for name in ("x1", "x2")]
    assert ends == pytest.approx([100 * 0.0015 / 0.3, 100 * 0.0025 / 0.3], abs=0.01)


def test_a_screen_reader_hears_each_chart() -> None:
    tree = parsed(present_report.result(FULL))
    titles = [chart[0].text for chart in tree.iter("svg")]
    assert titles[0] == "Mean KL divergence: int8 0.002; int4 0.3"
    assert all(chart.get("role") == "img" for chart in tree.iter("svg"))
    assert figures.bars("<b>", [Bar(name="&", length=0, shown="<")]).count("<b>") == 0


def test_the_files_are_links() -> None:
    tree = parsed(present_report.result(FULL))
    links = {link.get("download"): link.get("href") or "" for link in tree.iter("a")}
    (csv, json) = links.values()
    assert [name.rpartition(".")[2] for name in links if name] == ["csv", "json"]
    assert not any(set(name or "") & set('/<>"') for name in links)
    assert unquote(csv.partition(",")[2]) == precision_figures.as_csv(FULL)
    assert unquote(json.partition(",")[2]) == precision_figures.as_json(FULL)


def test_what_is_not_as_it_should_be_is_said() -> None:
    busy = replace(FULL.candidates[1], beside_others=True, notes=("It runs on the CPU.",) * 2)
    told = words(present_report.result(replace(FULL, candidates=(busy, FULL.candidates[2]))))
    assert "fp32 was not measured: It needs too much." in told
    assert "Others were served while int4 wrote" in told
    assert told.count("It runs on the CPU.") == 1
    assert "Only 100 tokens were read" in told
    assert "“next to nothing” up to 0.005 nats and from 98% of equal choices" in told


def test_before_the_reference_there_is_nothing() -> None:
    assert present_report.result(replace(FULL, reference=None, candidates=())) == ""
    alone = present_report.result(replace(FULL, candidates=()))
    assert 'class="verdict"' not in alone
    assert len(list(parsed(alone).iter("svg"))) == 3


def test_infinite_divergence_has_a_bar() -> None:
    one = Figures(precision=Precision.INT4, divergence=math.inf, agreement=0.0, nbytes=1)
    html = present_report.result(replace(FULL, candidates=(one,)))
    assert parsed(html).findall(".//svg")[0].findall("rect")[0].get("width") == "100.00%"


# --- while it is measured -----------------------------------------------------------------------


def test_progress_names_the_precision() -> None:
    report = PrecisionReport(model="a", title="A", texts=2, doing="int4: text 1 of 2", share=0.25)
    assert "int4: text 1 of 2…" in words(present_report.progress(report))
    assert 'value="0.250"' in present_report.progress(report)
    loading = present_report.progress(report, "Loading <A>…")
    assert words(loading) == "int4: Loading <A>…"
    parsed(loading)
    assert words(present_report.progress(None, "Getting ready…")) == "Getting ready…"


def test_a_bar_that_was_left_behind_was_stopped() -> None:
    bar = present_report.progress(None, "Loading…")
    assert words(present_report.settled(bar, False)) == "Stopped."
    assert "What was measured by then is below." in words(present_report.settled(bar, True))
    assert present_report.settled("", True) == ""
    assert present_report.settled('<p class="problem">x</p>', True) == '<p class="problem">x</p>'
