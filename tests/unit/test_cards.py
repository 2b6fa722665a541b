"""What the model cards say, as data: complete, in range, and given to the right checkpoints."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gemma_space import cards
from gemma_space.catalog import DEMO_REPO_ID, Checkpoint, hub_catalog
from gemma_space.shelf import catalogue
from tests.browser.fake_library import checkpoint

DATA = cards.data()
TABLES = {table.id: table for table in DATA.tables}
BY_NAME = catalogue()


def rows(table: str) -> dict[str, cards.TableRow]:
    return {row.name: row for row in TABLES[table].rows}


def damaged() -> dict[str, Any]:
    files = {
        name: json.loads((cards.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("cards", "tables", "texts")
    }
    return copy.deepcopy(files)


# --- the figures --------------------------------------------------------------------------------


@pytest.mark.parametrize("table", DATA.tables, ids=lambda table: table.id)
def test_every_table_is_whole(table: cards.Table) -> None:
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names)
    figures = [value for row in table.rows for value in row.values if value is not None]
    assert all(0 < value < 100 for value in figures)
    assert all(round(value, table.decimals) == value for value in figures)
    assert all(row.url.startswith("https://") for row in table.rows)
    assert (table.measured_on == "pre-trained") == (table.kind == "benchmarks")


def test_how_much_there_is() -> None:
    assert {name: len(table.rows) for name, table in TABLES.items()} == {
        "gemma1-benchmarks": 18, "gemma1-safety": 10, "gemma1.1-safety": 10,
        "gemma2-benchmarks": 16, "gemma2-safety": 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("table", "means"),
    [("gemma1-benchmarks", (44.98, 56.86)), ("gemma2-benchmarks", (64.63, 69.12))],
)
def test_averages_are_recomputed(table: str, means: tuple[float, ...]) -> None:
    shown = TABLES[table]
    assert tuple(round(mean, 2) for mean in shown.average()) == means
    last = shown.lines()[-1]
    assert (last.name, last.values) == ("Average", tuple(round(mean, 1) for mean in means))
    assert shown.printed_average in (None, last.values)


def test_the_footnote_on_the_other_average_is_right() -> None:
    """The adapter's page: SocialIQA 59.7 and no Natural Questions for the 2B model."""
    table = TABLES["gemma1-benchmarks"]
    other = {row.name: list(row.values) for row in table.rows}
    other["SocialIQA"][0], other["Natural Questions"][0] = 59.7, None
    small = [value for value, _ in other.values() if value is not None]
    large = [value for _, value in other.values() if value is not None]
    note = table.footnotes["average"]
    for figure in (54.0, 56.4, 44.98, 56.86, *table.average()):
        assert re.search(rf"\b{round(figure, 2)}\b", note)
    assert f"{sum(small) / len(small):.1f} ({len(small)} rows)" in note
    assert f"{sum(large) / len(large):.1f} ({len(large)} rows)" in note
    assert "59.7" in table.footnotes["socialiqa"]


def test_where_copies_disagree_the_majority_is_taken() -> None:
    there = rows("gemma1-benchmarks")
    assert there["SocialIQA"].values == (49.7, 51.8)
    assert there["Natural Questions"].values == (12.5, 23.0)
    noted = {name for name, row in there.items() if row.notes}
    assert noted == {"SocialIQA", "BoolQ", "Natural Questions", "MATH", "ARC-e", "ARC-c"}


def test_what_the_card_leaves_empty_is_empty() -> None:
    blanks = [
        (table.id, row.name, size)
        for table in DATA.tables
        for row in table.rows
        for size, value in zip(table.sizes, row.values, strict=True)
        if value is None
    ]
    assert blanks == [("gemma1.1-safety", "BOLD", "7B")]
    assert "BOLD" not in rows("gemma2-safety")
    assert not {"CommonsenseQA", "OpenBookQA"} & set(rows("gemma2-benchmarks"))
    assert TABLES["gemma1-safety"].lines() == TABLES["gemma1-safety"].rows  # no average of these


# --- the checks ---------------------------------------------------------------------------------


def first_row(files: dict[str, Any]) -> dict[str, Any]:
    return files["tables"][0]["rows"][0]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda files: first_row(files).update(values=[42.3]), "one value for each size"),
        (lambda files: first_row(files).update(values=[42.3, 643]), "less than or equal to 100"),
        (lambda files: first_row(files).update(shot="5"), "Extra inputs"),
        (lambda files: first_row(files).update(notes=["nobody"]), "footnotes"),
        (lambda files: files["tables"][0].update(kind="guesses"), "kind"),
        (lambda files: files["tables"][0].pop("measured_on"), "measured_on"),
        (lambda files: files["tables"].append(files["tables"][0]), "there twice"),
        (lambda files: files["cards"].append(files["cards"][0]), "there twice"),
        (lambda files: files["cards"][0].update(citation="none"), "no citation none"),
        (lambda files: files["cards"][0].update(tables=["none"]), "no table none"),
        (lambda files: files["cards"][0].update(compared=["none"]), "no table none"),
        (lambda files: files["cards"][0].update(checkpoints={"a/b": "9B"}), "no column"),
        (lambda files: files["cards"][0].update(links=[{"title": "x", "url": "javascript:"}]),
         "url"),
    ],
)  # fmt: skip
def test_damage_is_found(break_it: Any, words: str) -> None:
    files = damaged()
    break_it(files)
    with pytest.raises(ValidationError, match=words):
        cards.check(files)


# --- whose card ---------------------------------------------------------------------------------


def test_every_checkpoint_of_the_catalogue_has_a_card_and_no_other() -> None:
    named = {name for card in DATA.cards for name in card.checkpoints}
    assert named == {row.repo_id for row in hub_catalog()} | {DEMO_REPO_ID}


@pytest.mark.parametrize("row", hub_catalog(), ids=lambda row: row.repo_id)
def test_cards_fit_their_checkpoints(row: Checkpoint) -> None:
    about = cards.about(row)
    assert about.card is not None
    assert about.named
    assert list(about.licenses) == [row.license]
    license_ = about.licenses[row.license]
    assert license_ is not None
    if about.card.family:
        assert about.card.family == row.family
    if about.size:
        assert re.search(rf"-{about.size}\b", row.repo_id, re.IGNORECASE)
        assert {about.size} <= set(about.tables[0].sizes)
    assert bool(about.tables) == bool(about.size)
    if row.license == "gemma":
        assert about.citation.startswith("@article{")
        addresses = {link.url for link in license_.links}
        assert "https://ai.google.dev/gemma/terms" in addresses
        assert "https://ai.google.dev/gemma/prohibited_use_policy" in addresses


@pytest.mark.parametrize(
    ("name", "tables", "compared"),
    [
        ("google/gemma-7b", ["gemma1-benchmarks", "gemma1-safety"], []),
        ("google/gemma-1.1-7b-it", ["gemma1-benchmarks", "gemma1.1-safety"], ["gemma1-safety"]),
        ("google/gemma-2-9b-it", ["gemma2-benchmarks", "gemma2-safety"], []),
        ("google/gemma-2-2b-it", [], []),
        ("google/gemma-3-1b-it", [], []),
        (DEMO_REPO_ID, [], []),
    ],
)
def test_which_figures_are_whose(name: str, tables: list[str], compared: list[str]) -> None:
    about = cards.about(BY_NAME[name])
    assert [table.id for table in about.tables] == tables
    assert [table.id for table in about.compared] == compared


def test_an_adapter_has_the_card_of_what_it_attaches_to() -> None:
    base = BY_NAME["google/gemma-7b-it"]
    adapter = checkpoint("someone/adapter", "Adapter", variant="adapter", base=base)
    twice = checkpoint("someone/twice", "Twice", variant="adapter", base=adapter)
    for row in (adapter, twice):
        about = cards.about(row)
        assert about.subject is base
        assert (about.named, about.size) == (True, "7B")


def test_of_a_folder_only_the_generation_is_known(tmp_path: Path) -> None:
    """Even one that is called as the checkpoint is: its weights may be anybody's."""
    google = BY_NAME["google/gemma-2b-it"]
    about = cards.about(replace(google, path=tmp_path))
    assert about.card is not None
    assert (about.card.id, about.named, about.size) == ("gemma1", False, "")
    assert about.tables == about.compared == ()
    typed = cards.about(checkpoint("someone/tuned", "Tuned", family="gemma3"))
    assert typed.card is not None
    assert (typed.card.id, typed.named) == ("gemma3", False)


def test_an_adapter_comes_under_its_bases_terms_too() -> None:
    base = BY_NAME["google/gemma-7b-it"]
    own = cards.about(checkpoint("a/own", "Own", variant="adapter", base=base, license="mit"))
    same = cards.about(checkpoint("a/same", "Same", variant="adapter", base=base))
    assert list(own.licenses) == ["mit", "gemma"]
    assert list(same.licenses) == ["gemma"]


def test_a_gemma_without_a_card_is_cited_all_the_same() -> None:
    about = cards.about(checkpoint("a/b", "B", family="codegemma", license="gemma"))
    assert about.card is None
    assert about.citation.startswith("@article{gemma")


def test_of_an_unknown_generation_and_licence_nothing_is_said() -> None:
    about = cards.about(checkpoint("a/b", "B", family="codegemma", license="cc-by-4.0"))
    assert (about.card, about.citation, about.tables) == (None, "", ())
    assert about.licenses == {"cc-by-4.0": None}
