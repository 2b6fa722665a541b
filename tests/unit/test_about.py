"""The fold about a model: well-formed, escaped, and the same figures in chart, table and file."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from gemma_space import cards, hub
from gemma_space.catalog import DEMO_REPO_ID, Checkpoint, hub_catalog
from gemma_space.shelf import catalogue
from gemma_space.ui import figures
from gemma_space.ui.about import about_model, terms_notice
from tests.browser.fake_library import checkpoint

TABLES = cards.data().tables
BY_NAME = catalogue()
NASTY = "<img src=x onerror=alert(1)>\"'&"


def parsed(html: str) -> ElementTree.Element:
    """The HTML as XML, which forgives nothing: every tag closed, every attribute quoted."""
    plain = re.sub(r" (open|hidden)(?=[ >])", r' \1=""', html)
    return ElementTree.fromstring(f"<root>{plain}</root>")


class Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def words(html: str) -> str:
    reader = Words()
    reader.feed(html)
    return re.sub(r"\s+", " ", "".join(reader.parts)).strip()


def shown(name: str, lends: bool = False) -> str:
    return about_model(BY_NAME[name], lends)


def summaries(html: str) -> list[str]:
    return ["".join(one.itertext()) for one in parsed(html).iter("summary")]


# --- figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_chart_table_and_file_say_the_same(table: cards.Table) -> None:
    expected = [[figures.show_value(table, v) for v in line.values] for line in table.lines()]
    drawn = parsed(figures.chart(table))
    values = [one.text for one in drawn.iter("text") if one.get("class") == "bar-value"]
    assert values == [value for line in expected for value in line]
    widths = [float((bar.get("width") or "").rstrip("%")) for bar in drawn.iter("rect")]
    assert widths == [float(value) for value in values if value and value != "n/a"]
    body = parsed(figures.numbers(table)).findall(".//tbody/tr")
    cells = [[cell.text for cell in row.findall("td")[1:]] for row in body]
    assert cells == expected
    file = list(csv.reader(io.StringIO(figures.as_csv(table))))[1:]
    assert [line[3:] for line in file] == [
        ["" if value == "n/a" else value for value in line] for line in expected
    ]
    assert [line[0] for line in file] == [line.name for line in table.lines()]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_a_screen_reader_finds_its_way(table: cards.Table) -> None:
    drawn = parsed(figures.chart(table))[0]
    assert drawn.get("role") == "img"
    title = drawn[0]
    assert title.tag == "title"
    assert table.title in (title.text or "")
    assert table.measured_on in (title.text or "")
    listed = parsed(figures.numbers(table))
    assert listed.find(".//caption") is not None
    heads = listed.findall(".//thead/tr/th")
    assert [head.get("scope") for head in heads] == ["col"] * (2 + len(table.sizes))
    assert all(row[0].get("scope") == "row" for row in listed.findall(".//tbody/tr"))


def test_each_size_has_a_colour_and_a_place() -> None:
    html = figures.figure(TABLES[0], "Told.")
    assert "2B pre-trained, upper bar" in words(html)
    assert "7B pre-trained, lower bar" in words(html)
    bars = [bar.get("class") for bar in parsed(figures.chart(TABLES[0])).iter("rect")]
    assert bars == ["series-1", "series-2"] * 19


def test_what_is_empty_is_not_zero() -> None:
    (table,) = (one for one in TABLES if one.id == "gemma1.1-safety")
    bold = parsed(figures.numbers(table)).findall(".//tbody/tr")[1]
    assert [cell.text for cell in bold.findall("td")] == ["n/a", "47.76", "n/a"]
    drawn = parsed(figures.chart(table))
    assert len(list(drawn.iter("rect"))) == 2 * len(table.rows) - 1
    assert "BOLD,,,47.76,\r\n" in figures.as_csv(table)


def test_footnotes_are_numbered_as_they_come() -> None:
    html = figures.numbers(TABLES[0])
    assert re.search(r"SocialIQA</a><sup><span[^>]*>footnote </span>1</sup>", html)
    assert re.search(r"Average<sup><span[^>]*>footnote </span>5</sup>", html)
    notes = [one.text for one in parsed(figures.footnotes(TABLES[0])).iter("li")]
    assert len(notes) == 5
    assert "59.7" in (notes[0] or "")
    assert "54.0 and 56.4" in (notes[-1] or "")
    assert "SocialIQA ¹" in figures.chart(TABLES[0])


def test_the_file_is_the_link() -> None:
    html = figures.figure(TABLES[0], "")
    (link,) = (one for one in parsed(html).iter("a") if one.get("download"))
    assert link.get("download") == "gemma1-benchmarks.csv"
    head, _, text = (link.get("href") or "").partition(",")
    assert head == "data:text/csv;charset=utf-8"
    assert unquote(text) == figures.as_csv(TABLES[0])


# --- whole pages --------------------------------------------------------------------------------


@pytest.mark.parametrize("row", BY_NAME.values(), ids=lambda row: row.repo_id)
@pytest.mark.parametrize("lends", [False, True])
def test_every_page_is_well_formed(row: Checkpoint, lends: bool) -> None:
    tree = parsed(about_model(row, lends))
    for link in tree.iter("a"):
        if not link.get("download"):
            assert (link.get("target"), link.get("rel")) == ("_blank", "noopener")
            assert (link.get("href") or "").startswith(("https://", hub.repo_url("")))
    assert not {one.tag for one in tree.iter()} & {"script", "style", "img", "iframe"}
    names = [name for one in tree.iter() for name in one.attrib]
    assert not any(name.startswith("on") for name in names)


@pytest.mark.parametrize(
    "row", [row for row in hub_catalog() if row.license == "gemma"], ids=lambda row: row.repo_id
)
def test_what_every_gemma_licensed_model_has_on_its_page(row: Checkpoint) -> None:
    html = about_model(row)
    assert 'href="https://ai.google.dev/gemma/terms"' in html
    assert 'href="https://ai.google.dev/gemma/prohibited_use_policy"' in html
    assert "@article{gemma" in html
    assert f'href="{hub.repo_url(row.repo_id)}"' in html
    titles = summaries(html)
    for title in ("Intended use", "Limitations", "Risks and what to do about them", "Terms",
                  "Citation"):  # fmt: skip
        assert title in titles
    assert "Gemma Terms of Use" in words(html)


def test_what_was_measured_is_told_for_each_variant() -> None:
    base, instruct = words(shown("google/gemma-7b")), words(shown("google/gemma-7b-it"))
    assert "Measured on the pre-trained models; the 7B one is this." in base
    assert "not on the pre-trained one chosen here." in base
    assert "before instruction tuning" in instruct
    assert "this model was made from the 7B one" in instruct
    assert "Measured on the instruction-tuned models; the 7B one is this." in instruct
    copied = words(shown("RichardErkhov/google_-_gemma-2b-it-8bits"))
    assert "not those of this 8-bit copy" in copied
    assert "8-bit copy" not in instruct
    html = shown("google/gemma-7b-it")
    assert re.search(r"<b>7B pre-trained</b><span[^>]*> \(this model's size\)", html)
    assert "<b>2B pre-trained" not in html


def test_the_order_of_the_folds() -> None:
    assert summaries(shown("google/gemma-1.1-2b-it")) == [
        "Gemma 1 benchmarks, pre-trained models", "The numbers as a table",
        "Gemma 1.1 safety, instruction-tuned models", "The numbers as a table",
        "Gemma 1.0 safety, instruction-tuned models", "The numbers as a table",
        "How safety was evaluated", "Intended use", "Limitations",
        "Risks and what to do about them", "Training data", "Where copies of the card disagree",
        "Terms", "Citation",
    ]  # fmt: skip
    assert "For comparison: Gemma 1.0." in shown("google/gemma-1.1-2b-it")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("google/gemma-2-2b-it", "The card kept here has no figures for this size."),
        ("google/gemma-3-1b-it", "Its own card is not kept here, so there are no figures."),
        ("google/gemma-4-E2B-it", "Its own card is not kept here, so there are no figures."),
    ],
)
def test_without_figures_that_is_said(name: str, sentence: str) -> None:
    html = shown(name)
    assert sentence in words(html)
    assert "<svg" not in html
    assert "<table" not in html
    assert "The whole card on the Hub" in words(html)


def test_what_earlier_cards_say_is_marked_as_such() -> None:
    assert "What the cards of Gemma 1 and 2 say" in shown("google/gemma-3-1b-it")
    assert "What the cards of Gemma 1 and 2 say" not in shown("google/gemma-2-9b-it")


def test_the_demo_is_not_googles() -> None:
    html = shown(DEMO_REPO_ID)
    assert "It is not one of Google's models." in words(html)
    assert summaries(html) == ["Terms"]
    assert "on the Hub" not in html
    assert "gemma/terms" not in html


def test_an_adapter_says_whose_card_it_shows() -> None:
    row = checkpoint("a/b", NASTY, variant="adapter", base=BY_NAME["google/gemma-2-9b-it"])
    html = about_model(row)
    told = words(html)
    assert f"{NASTY} is an adapter; this is about what it attaches to, Gemma 2 9B Instr" in told
    assert "The figures are without the adapter." in told
    assert "<img" not in html


def test_of_a_folder_only_its_architecture_is_told(tmp_path: Path) -> None:
    row = replace(BY_NAME["google/gemma-7b-it"], repo_id="/x/" + NASTY, title=NASTY, path=tmp_path)
    html = about_model(row)
    assert f"The files of {NASTY} have the architecture of Gemma 1." in words(html)
    assert "<img" not in html
    assert "<svg" not in html
    assert "on the Hub" not in html
    assert "Training data" not in summaries(html)
    adapter = checkpoint("a/b", "An adapter", variant="adapter", base=row)
    assert "An adapter is an adapter. The files of" in words(about_model(adapter))


def test_a_licence_that_is_not_known_is_only_named() -> None:
    row = checkpoint("a/b", NASTY, family="codegemma", license=NASTY)
    html = about_model(row)
    parsed(html)
    assert f"Licence: {NASTY}." in words(html)
    assert f"No card for {NASTY} is kept here." in words(html)
    assert summaries(html) == ["Terms"]
    assert "Licence: not named." in words(about_model(replace(row, license="")))


def test_a_gemma_without_a_card_has_all_that_every_gemma_has() -> None:
    html = about_model(checkpoint("a/b", "Code", family="codegemma", license="gemma"))
    parsed(html)
    assert summaries(html) == ["Intended use", "Limitations", "Risks and what to do about them",
                               "Terms", "Citation"]  # fmt: skip
    told = words(html)
    assert "No card for Code is kept here." in told
    assert "What the cards of Gemma 1 and 2 say" in told
    assert "names Gemma as a whole" in told
    assert 'href="https://ai.google.dev/gemma/prohibited_use_policy"' in html


def test_an_adapters_page_has_both_licences() -> None:
    base = BY_NAME["google/gemma-2-9b-it"]
    row = checkpoint("a/b", "A", variant="adapter", base=base, license="mit")
    told = words(about_model(row))
    assert "Licence: mit. What it asks is on the model's own page." in told
    assert "Gemma Terms of Use." in told
    assert 'href="https://ai.google.dev/gemma/terms"' in about_model(row)


# --- the notice ---------------------------------------------------------------------------------

QUOTE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms."
)


def test_the_notice_stands_where_gated_weights_are_lent() -> None:
    gated, open_, copied = (
        BY_NAME[name]
        for name in ("google/gemma-2b-it", "google/gemma-4-E2B-it",
                     "RichardErkhov/google_-_gemma-2b-it-8bits")
    )  # fmt: skip
    told = words(terms_notice([open_, gated]))
    assert QUOTE in told
    assert "Section 3.2" in told
    assert "Gemma Prohibited Use Policy" in told
    addresses = [link.get("href") for link in parsed(terms_notice([gated])).iter("a")]
    assert addresses == ["https://ai.google.dev/gemma/terms",
                         "https://ai.google.dev/gemma/prohibited_use_policy"]  # fmt: skip
    assert terms_notice([open_, copied, BY_NAME[DEMO_REPO_ID]]) == ""
    folder = replace(copied, path=Path("/models/gemma"))
    assert QUOTE in words(terms_notice([folder]))
    adapter = checkpoint("a/b", "A", variant="adapter", base=gated, license="mit")
    assert QUOTE in words(terms_notice([adapter]))
    assert QUOTE in words(about_model(gated, lends=True))
    assert QUOTE not in words(about_model(gated, lends=False))
    assert QUOTE not in words(about_model(open_, lends=True))
