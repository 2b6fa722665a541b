"""A precision report as words, charts and a table: HTML, no Gradio.

Knows how its figures read, and which are better. How they came about is in `precision_report`.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from gemma_space import precision_figures
from gemma_space.memory import show_bytes
from gemma_space.precision_figures import LOSSES, Figures, PrecisionReport, WorstToken
from gemma_space.ui import figures
from gemma_space.ui.figures import NOT_THERE, Bar
from gemma_space.ui.token_text import spoken

FEW_TOKENS = 300
BAR = '<div class="load report-progress"'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """One row of the table and one chart.

    Attributes:
        better: which way is better, in a few words.
        unit: for the table, where values do not name it.
        value: None where there is none.
        full: what the chart's width stands for; None: the largest value.
        compared: the reference has no value of its own.
    """

    title: str
    better: str
    value: Callable[[Figures], float | None]
    show: Callable[[float], str]
    unit: str = ""
    full: float | None = None
    compared: bool = False


def _number(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}"


MEASURES = (
    _Measure(
        title="Mean KL divergence", better="nats per token; 0 is the same", unit="nats per token",
        value=lambda one: one.divergence, show=lambda v: "∞" if math.isinf(v) else f"{v:.3g}",
        compared=True,
    ),
    _Measure(
        title="Same first choice", better="of all tokens; more is better",
        value=lambda one: None if one.agreement is None else 100 * one.agreement,
        show=lambda v: f"{v:.1f}%", full=100, compared=True,
    ),
    _Measure(
        title="Perplexity", better="of these texts; less is better",
        value=lambda one: one.perplexity, show=_number,
    ),
    _Measure(
        title="Speed", better="tokens written per second", unit="tokens per second",
        value=lambda one: one.tokens_per_second, show=lambda v: f"{v:.3g}",
    ),
    _Measure(
        title="Memory", better="of the weights",
        value=lambda one: one.nbytes or None, show=show_bytes,
    ),
)  # fmt: skip
READING = (
    "<dt>KL divergence</dt><dd>How far a precision's predictions are from the reference's, for "
    "each token over the whole vocabulary: D(reference || precision), in nats. What stands behind "
    "± is the standard error of the mean, with each text taken as one observation, since the "
    "tokens of a text depend on each other. It says how much the figure would change with other "
    "texts of this kind.</dd>"
    "<dt>Same first choice</dt><dd>How often both hold the same token likeliest, which is what "
    "greedy decoding would write.</dd>"
    "<dt>Perplexity</dt><dd>exp of the mean negative log-probability of the tokens that came. It "
    "can fall although the model changed for the worse; the divergence cannot.</dd>"
    "<dt>Speed</dt><dd>Of a reply of 32 tokens, once. Short, so take it as a first "
    "impression.</dd>"
    "<dt>The verdict</dt><dd>{}</dd>"
)


# --- while it is measured -----------------------------------------------------------------------


def progress(report: PrecisionReport | None, loading: str = "") -> str:
    """How far it is, as a line and a bar.

    Args:
        loading: what a load says of itself, while one is under way.
    """
    doing = report.doing if report is not None else ""
    if loading:
        precision = doing.partition(":")[0] if ":" in doing else ""
        doing = f"{precision}: {loading}" if precision else loading
    words = escape(doing if doing.endswith("…") or loading else f"{doing}…")
    share = f"{report.share:.3f}" if report is not None else "0"
    bar = f'<progress value="{share}" aria-label="{words}"></progress>'
    return f'{BAR} role="status">{words}{bar}</div>'


def settled(shown: str | None, has_result: bool) -> str:
    """What stands there once nothing is under way: a bar that was left behind was stopped."""
    if BAR not in (shown or ""):
        return shown or ""
    kept = " What was measured by then is below." if has_result else ""
    return f'<p class="hint" role="status">Stopped.{kept}</p>'


# --- the result ---------------------------------------------------------------------------------


def result(report: PrecisionReport) -> str:
    """All that a report says; empty while there is nothing."""
    if report.reference is None:
        return ""
    verdict = precision_figures.verdict(report)
    told = f'<p class="verdict">{escape(verdict)}</p>' if verdict else ""
    worst = "".join(_worst(report, one) for one in report.candidates if one.worst)
    names = "".join(f"<li>{escape(sentence)}</li>" for sentence in _remarks(report))
    remarks = f'<ul class="remarks">{names}</ul>' if names else ""
    return (
        f'<div class="about-card precision-report">{told}{_what(report)}{_charts(report)}'
        f'{remarks}<div class="numbers">{_table(report)}</div>{_downloads(report)}{worst}'
        f"<details><summary>How to read this</summary><dl>{READING.format(_thresholds())}</dl>"
        "</details></div>"
    )


def _what(report: PrecisionReport) -> str:
    texts = "1 text" if report.texts == 1 else f"{report.texts:,} texts"
    told = f"{report.title}, {texts} with {report.tokens:,} tokens, on {report.device}."
    return f'<p class="figure-told">{escape(told)}</p>'


def _remarks(report: PrecisionReport) -> list[str]:
    """What was not measured, or not quite, and where it ran."""
    told = [f"{one.precision} was not measured: {one.problem}" for one in report.candidates
            if one.problem]  # fmt: skip
    if report.tokens < FEW_TOKENS:
        told.append(
            f"Only {report.tokens:,} tokens were read: other texts may well give other figures."
        )
    told += [
        f"Others were served while {one.precision} wrote: its speed alone is higher."
        for one in report.measured
        if one.beside_others
    ]
    told += [note for one in report.measured for note in one.notes]
    return list(dict.fromkeys(told))


def _thresholds() -> str:
    steps = [
        f"“{name}” up to {most:g} nats and from {least:.0%} of equal choices"
        for most, least, name in LOSSES
    ]
    return f"It calls a loss {', '.join(steps)}; more is “{precision_figures.LARGE_LOSS}”."


def _charts(report: PrecisionReport) -> str:
    reference = report.reference.precision if report.reference else ""
    key = (
        f'<ul class="bars-key"><li><i class="series-2"></i> {reference}, the reference</li>'
        '<li><i class="series-1"></i> compared with it</li></ul>'
    )
    drawn = "".join(_chart(report, measure) for measure in MEASURES)
    return f'{key}<div class="measures">{drawn}</div>'


def _chart(report: PrecisionReport, measure: _Measure) -> str:
    shown = [one for one in report.measured if not (measure.compared and one is report.reference)]
    values = {one.precision: measure.value(one) for one in shown}
    errors = {one.precision: one.error or 0.0 for one in shown} if measure.compared else {}
    if measure.full is not None:
        errors = {}
    ends = [v + errors.get(p, 0.0) for p, v in values.items() if v is not None and math.isfinite(v)]
    full = measure.full or max(ends, default=0.0) or 1.0
    lines = [
        _line(one, values[one.precision], errors.get(one.precision, 0.0), full, measure,
              2 if one is report.reference else 1)
        for one in shown
    ]  # fmt: skip
    if not lines:
        return ""
    return (
        f'<figure class="measure"><figcaption><b>{measure.title}</b> {measure.better}'
        f"</figcaption>{figures.bars(measure.title, lines)}</figure>"
    )


def _line(
    one: Figures, value: float | None, error: float, full: float, measure: _Measure, series: int
) -> Bar:
    if value is None:
        return Bar(name=str(one.precision), length=0, shown=NOT_THERE, series=series)
    length = 100.0 if math.isinf(value) else 100 * value / full
    spread = (max(0.0, length - 100 * error / full), length + 100 * error / full)
    return Bar(name=str(one.precision), length=length, shown=measure.show(value), series=series,
               spread=spread if error else None)  # fmt: skip


def _table(report: PrecisionReport) -> str:
    shown = [*([report.reference] if report.reference else []), *report.candidates]
    heads = "".join(
        f'<th scope="col" class="number">{one.precision}'
        f"{' (reference)' if one is report.reference else ''}</th>"
        for one in shown
    )
    lines = "".join(
        f'<tr><th scope="row">{measure.title}{measure.unit and ", " + measure.unit}</th>'
        f"{_cells(report, measure, shown)}</tr>"
        for measure in MEASURES
    )
    return (
        "<table><caption>The numbers as a table</caption>"
        f'<thead><tr><th scope="col">Measure</th>{heads}</tr></thead><tbody>{lines}</tbody></table>'
    )


def _cells(report: PrecisionReport, measure: _Measure, shown: Sequence[Figures]) -> str:
    cells = []
    for one in shown:
        value = measure.value(one)
        text = NOT_THERE if value is None else measure.show(value)
        if measure.compared and one is report.reference:
            text = "–"
        elif value is not None and one.error is not None and measure is MEASURES[0]:
            text += f" ± {one.error:.1g}"
        cells.append(f'<td class="number">{escape(text)}</td>')
    return "".join(cells)


def _downloads(report: PrecisionReport) -> str:
    name = re.sub(r"[^\w.]+", "-", report.model).strip("-") + "-precision"
    links = (
        figures.download(precision_figures.as_csv(report), f"{name}.csv", "text/csv", "CSV"),
        figures.download(
            precision_figures.as_json(report), f"{name}.json", "application/json", "JSON"
        ),
    )
    return f'<p class="downloads">{" ".join(links)}</p>'


# --- the worst tokens ---------------------------------------------------------------------------


def _worst(report: PrecisionReport, one: Figures) -> str:
    reference = report.reference.precision if report.reference else ""
    lines = "".join(_token(token) for token in one.worst)
    return (
        f"<details><summary>Where {one.precision} strays most</summary>"
        f'<div class="numbers worst"><table><caption>Of what {reference} and {one.precision} '
        "would have written next, the likeliest; largest divergence first</caption>"
        f'<thead><tr><th scope="col">Text</th><th scope="col">{reference}</th>'
        f'<th scope="col">{one.precision}</th><th scope="col" class="number">KL</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div></details>"
    )


def _token(token: WorstToken) -> str:
    before = " ".join(token.before.split())
    return (
        f'<tr><td><span class="before">{token.text}: …{escape(before)}</span>'
        f"<mark>{escape(spoken(token.token))}</mark></td>"
        f"<td>{_guess(token.expected, token.expected_share)}</td>"
        f"<td>{_guess(token.instead, token.instead_share)}</td>"
        f'<td class="number">{"∞" if math.isinf(token.divergence) else f"{token.divergence:.3g}"}'
        "</td></tr>"
    )


def _guess(text: str, share: float) -> str:
    return f"<code>{escape(spoken(text))}</code> {share:.0%}"
