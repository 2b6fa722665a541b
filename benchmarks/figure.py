"""What a benchmark says: figures, each with its baseline and the pairs it is the median of.

Knows how pairs become figures, and the options that every benchmark's command has. Does not know
what is measured.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One measurement and, where there is a baseline, the same of it taken right beside.

    `ours` and `theirs` are in `unit`; `baseline` says in words what `theirs` is of.
    """

    name: str
    unit: str
    ours: float
    baseline: str = ""
    theirs: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A claim.

    Attributes:
        name: what was measured.
        baseline: what it is compared with; empty where it stands for itself.
        value: the median of the pairs' ratios, ours to the baseline's; without a baseline the
            median, in `unit`.
        unit: of the values in `pairs`.
        pairs: each pair's values, ours first; of one value each without a baseline.
    """

    name: str
    baseline: str
    value: float
    unit: str
    pairs: tuple[tuple[float, ...], ...]

    @property
    def ours(self) -> float:
        """The median of our own values, in `unit`."""
        return statistics.median(pair[0] for pair in self.pairs)

    @property
    def theirs(self) -> float:
        """The median of the baseline's values, in `unit`."""
        return statistics.median(pair[1] for pair in self.pairs)


def figures_of(pairs: Iterable[Pair]) -> list[Figure]:
    """One figure for each name and baseline, in the order in which they first came."""
    found: dict[tuple[str, str, str], list[tuple[float, ...]]] = {}
    for pair in pairs:
        values = (pair.ours,) if pair.theirs is None else (pair.ours, pair.theirs)
        found.setdefault((pair.name, pair.baseline, pair.unit), []).append(values)
    return [
        Figure(name=name, baseline=baseline, value=_median(values), unit=unit, pairs=tuple(values))
        for (name, baseline, unit), values in found.items()
    ]


def _median(values: list[tuple[float, ...]]) -> float:
    return statistics.median(_ratio(*one) if len(one) == 2 else one[0] for one in values)


def _ratio(ours: float, theirs: float) -> float:
    if theirs:
        return ours / theirs
    return 1.0 if ours == theirs else float("inf")


def read(text: str) -> list[Figure]:
    """Figures from the JSON that `tell` wrote."""
    return [Figure(**one | {"pairs": tuple(map(tuple, one["pairs"]))}) for one in json.loads(text)]


def in_words(figure: Figure) -> tuple[str, str]:
    """The value as people read it, and the medians behind a ratio, if it is one."""
    if not figure.baseline:
        return _quantity(figure.value, figure.unit), ""
    value = f"{figure.value:.3g} times" if figure.value < 100 else f"{figure.value:,.0f} times"
    ours, theirs = (_quantity(one, figure.unit) for one in (figure.ours, figure.theirs))
    return value, f"{ours.rpartition(' ')[0]} against {theirs}"


def _quantity(value: float, unit: str) -> str:
    if unit == "bytes":
        value, unit = value / 2**20, "MiB"
    if unit == "%":
        return f"{value:.2f} %"
    number = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{number} {unit}".strip()


def options_of(doc: str | None, pairs: int) -> argparse.ArgumentParser:
    """The options that all benchmarks have; `pairs` is how many are usual."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=pairs, help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes: does it work?")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser


def tell(figures: list[Figure], file: Path | None) -> None:
    """Print the figures, and write them to a file if there is one."""
    for figure in figures:
        value, behind = in_words(figure)
        against = f" against {figure.baseline}" if figure.baseline else ""
        print(f"{value:>14}  {figure.name}{against}  {behind and f'({behind})'}".rstrip())
    if file:
        text = json.dumps([asdict(figure) for figure in figures], indent=1, ensure_ascii=False)
        file.write_text(text + "\n", encoding="utf-8")


def main(doc: str | None, measure: Callable[[int, bool], list[Figure]], pairs: int) -> None:
    """The command of a benchmark that has no options of its own."""
    options = options_of(doc, pairs).parse_args()
    tell(measure(options.pairs, options.quick), options.json)
