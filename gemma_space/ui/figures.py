"""A table of figures as a chart, as a real table and as a file: HTML and SVG, no Gradio.

The chart is drawn in percent across and in ems down, so that it is as wide as its place and its
words never shrink. What is left and right of the bars stands in margins that `assets/about.css`
leaves, like the colours. Which figures belong to whom is in `cards`.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from gemma_space.cards import Table, TableRow

NOT_THERE = "n/a"
NAMES_AT = "-0.6em"  # their end, left of the bars
BAR_EM, GAP_EM = 1.3, 0.75  # from one bar to the next, and between two tests
TICKS = (0, 50, 100)
POSITIONS = ("upper", "lower")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def figure(table: Table, told: str, own: str = "", *, unfolded: bool = True) -> str:
    """One table in full, in a fold of its own.

    Args:
        told: a sentence on what was measured.
        own: the size that the chosen model has; its column is marked.
    """
    return (
        f'<details class="figure"{" open" if unfolded else ""}>'
        f"<summary>{escape(table.title)}, {table.measured_on} models</summary>"
        f'<p class="figure-told">{escape(told)}</p>{_key(table)}{chart(table)}'
        f"{footnotes(table)}"
        '<details class="numbers"><summary>The numbers as a table</summary>'
        f"{numbers(table, own)}{_download(table)}</details></details>"
    )


def show_value(table: Table, value: float | None) -> str:
    """A figure with the decimals of its table, or `n/a`."""
    return NOT_THERE if value is None else f"{value:.{table.decimals}f}"


# --- the chart ----------------------------------------------------------------------------------


def chart(table: Table) -> str:
    """The figures as grouped horizontal bars from 0 to 100, each with its value."""
    lines = table.lines()
    step = max(2, len(table.sizes)) * BAR_EM + GAP_EM  # a test's name takes two lines
    bottom = len(lines) * step
    bars = "".join(_bars(table, line, at * step) for at, line in enumerate(lines))
    title = f"{table.title}, {table.measured_on} models, {' and '.join(table.sizes)}: bar chart"
    return (
        f'<svg class="bars" role="img" height="{_em(bottom + 1.6)}">'
        f"<title>{escape(title)}</title>{_scale(bottom)}{bars}</svg>"
    )


def _bars(table: Table, line: TableRow, top: float) -> str:
    marks = "".join(str(number) for number in _numbers(table, line)).translate(_RAISED)
    height = len(table.sizes) * BAR_EM
    first = top + height / 2 + (0.35 if not line.setting else -0.15)
    parts = [
        f'<text class="bar-name" x="{NAMES_AT}" y="{_em(first)}">'
        f"{escape(line.name)}{marks and ' ' + marks}</text>"
    ]
    if line.setting:
        parts.append(
            f'<text class="bar-setting" x="{NAMES_AT}" y="{_em(first + 1.1)}">'
            f"{escape(line.setting)}</text>"
        )
    for at, value in enumerate(line.values):
        y = top + at * BAR_EM
        if value is not None:
            parts.append(
                f'<rect class="series-{at + 1}" x="0" y="{_em(y + 0.12)}" '
                f'width="{value}%" height="{_em(BAR_EM - 0.24)}"/>'
            )
        parts.append(
            f'<text class="bar-value" x="{value or 0}%" dx="0.35em" '
            f'y="{_em(y + 1)}">{show_value(table, value)}</text>'
        )
    return "".join(parts)


def _scale(bottom: float) -> str:
    return "".join(
        f'<line x1="{tick}%" x2="{tick}%" y1="0" y2="{_em(bottom)}"/>'
        f'<text class="bar-tick" x="{tick}%" y="{_em(bottom + 1.2)}">{tick}</text>'
        for tick in TICKS
    )


def _em(length: float) -> str:
    return f"{length:.2f}em"


def _key(table: Table) -> str:
    """Which bar is which: told by colour and by place."""
    items = "".join(
        f'<li><i class="series-{at}"></i> {escape(size)} {table.measured_on}, {place} bar</li>'
        for at, (size, place) in enumerate(_placed(table.sizes), start=1)
    )
    return f'<ul class="bars-key">{items}</ul>'


def _placed(sizes: Sequence[str]) -> Iterable[tuple[str, str]]:
    if len(sizes) == len(POSITIONS):
        return zip(sizes, POSITIONS, strict=True)
    return ((size, f"{at}.") for at, size in enumerate(sizes, start=1))


# --- bars of one measure -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a chart with a scale of its own.

    Attributes:
        length: in percent of the chart's width.
        shown: the value, in words.
        series: its colour, 1 or 2.
        spread: from where to where the value may be, in percent; None where that is unknown.
    """

    name: str
    length: float
    shown: str
    series: int = 1
    spread: tuple[float, float] | None = None


def bars(title: str, lines: Sequence[Bar]) -> str:
    """One bar below the other, each with its value and how sure that is."""
    told = "; ".join(f"{bar.name} {bar.shown}" for bar in lines)
    drawn = "".join(_bar(bar, at * (BAR_EM + 0.3)) for at, bar in enumerate(lines))
    height = _em(len(lines) * (BAR_EM + 0.3))
    return (
        f'<svg class="bars" role="img" height="{height}">'
        f"<title>{escape(title)}: {escape(told)}</title>{drawn}</svg>"
    )


def _bar(bar: Bar, top: float) -> str:
    middle, baseline = _em(top + BAR_EM / 2), _em(top + 1)
    low, high = bar.spread or (bar.length, bar.length)
    whisker = (
        f'<line class="spread" x1="{low:.2f}%" x2="{high:.2f}%" y1="{middle}" y2="{middle}"/>'
        if bar.spread
        else ""
    )
    return (
        f'<text class="bar-name" x="{NAMES_AT}" y="{baseline}">{escape(bar.name)}</text>'
        f'<rect class="series-{bar.series}" x="0" y="{_em(top + 0.12)}" '
        f'width="{bar.length:.2f}%" height="{_em(BAR_EM - 0.24)}"/>{whisker}'
        f'<text class="bar-value" x="{max(high, bar.length):.2f}%" dx="0.35em" y="{baseline}">'
        f"{escape(bar.shown)}</text>"
    )


# --- the table ----------------------------------------------------------------------------------


def numbers(table: Table, own: str = "") -> str:
    """The same figures as a table."""
    heads = "".join(
        f'<th scope="col" class="number">{_column(table, size, own)}</th>' for size in table.sizes
    )
    lines = "".join(_line(table, line) for line in table.lines())
    return (
        f"<table><caption>{escape(table.title)}, {table.measured_on} models</caption>"
        f'<thead><tr><th scope="col">Test</th><th scope="col">Setting</th>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )


def _column(table: Table, size: str, own: str) -> str:
    title = escape(f"{size} {table.measured_on}")
    if size != own:
        return title
    return f'<b>{title}</b><span class="visually-hidden"> (this model\'s size)</span>'


def _line(table: Table, line: TableRow) -> str:
    name = escape(line.name)
    if line.url:
        name = f'<a href="{escape(line.url)}" target="_blank" rel="noopener">{name}</a>'
    marks = "".join(
        f'<sup><span class="visually-hidden">footnote </span>{number}</sup>'
        for number in _numbers(table, line)
    )
    setting = escape(line.setting) or ("" if line.name == "Average" else NOT_THERE)
    cells = "".join(f'<td class="number">{show_value(table, v)}</td>' for v in line.values)
    return f'<tr><th scope="row">{name}{marks}</th><td>{setting}</td>{cells}</tr>'


def _numbers(table: Table, line: TableRow) -> list[int]:
    used = table.footnotes_used()
    return [used.index(key) + 1 for key in line.notes]


def footnotes(table: Table) -> str:
    """The footnotes by number, then what holds for the whole table."""
    noted = "".join(f"<li>{escape(table.footnotes[key])}</li>" for key in table.footnotes_used())
    remarks = "".join(f"<p>{escape(remark)}</p>" for remark in table.remarks)
    listed = f'<ol aria-label="Footnotes">{noted}</ol>' if noted else ""
    return f'<div class="footnotes">{listed}{remarks}</div>'


# --- the file -----------------------------------------------------------------------------------


def as_csv(table: Table) -> str:
    """The figures as CSV; an empty cell is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    columns = (f"{table.release} {size} {table.measured_on}" for size in table.sizes)
    writer.writerow(["test", "shots", "metric", *columns])
    for line in table.lines():
        values = ("" if v is None else show_value(table, v) for v in line.values)
        writer.writerow([line.name, line.shots, line.metric, *values])
    return text.getvalue()


def _download(table: Table) -> str:
    return f"<p>{download(as_csv(table), f'{table.id}.csv', 'text/csv', 'CSV')}</p>"


def download(text: str, name: str, kind: str, title: str) -> str:
    """A link that saves a text as a file, which the page holds already."""
    address = f"data:{kind};charset=utf-8,{quote(text)}"
    return (
        f'<a class="download" href="{address}" download="{escape(name)}">'
        f"Download as {escape(title)}</a>"
    )
