"""What the published model cards say of the checkpoints, as data: texts, figures, terms.

Knows which card belongs to which checkpoint, and which of its figures are that checkpoint's own.
The data are in `assets/cards/`. Does not know how any of it is shown.
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gemma_space.assets import ASSETS, DEMO_MODEL
from gemma_space.catalog import Checkpoint

FOLDER = ASSETS / "cards"
GEMMA = "gemma"  # the licence, by its name on the Hub
GEMMA_CITATION = "gemma_2024"  # where a Gemma has no card here
Text = Annotated[str, Field(min_length=1)]
Figure = Annotated[float, Field(ge=0, le=100)]


class _Data(BaseModel):
    """What a file may hold: nothing that has no name here."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Link(_Data):
    """An address with a title."""

    title: Text
    url: Annotated[str, Field(pattern=r"^https://[^\s\"'<>]+$")]


class Item(_Data):
    """A point of a list: its heading and a sentence or two."""

    title: Text
    text: Text


class TableRow(_Data):
    """One test.

    Attributes:
        url: the paper or the data; empty for an average.
        shots, metric: the setting as the card names it; empty where the card leaves it out.
        values: one per size of the table, 0 to 100; None where the card's cell is empty.
        notes: keys of the table's footnotes.
    """

    name: Text
    url: str = ""
    shots: str = ""
    metric: str = ""
    values: tuple[Figure | None, ...]
    notes: tuple[str, ...] = ()

    @property
    def setting(self) -> str:
        return ", ".join(filter(None, (self.shots, self.metric)))


class Table(_Data):
    """Figures of one release, one column per model size.

    Attributes:
        measured_on: which models of the release were measured.
        decimals: as the card prints them.
        printed_average: the card's own last row; None where it has none.
        average_notes: keys of footnotes.
        remarks: what has to be known of the table as a whole.
    """

    id: Text
    title: Text
    kind: Literal["benchmarks", "safety"]
    measured_on: Literal["pre-trained", "instruction-tuned"]
    release: Text
    sizes: tuple[Text, ...]
    decimals: Annotated[int, Field(ge=0, le=2)]
    rows: Annotated[tuple[TableRow, ...], Field(min_length=1)]
    printed_average: tuple[Figure, ...] | None = None
    average_notes: tuple[str, ...] = ()
    footnotes: dict[str, Text] = {}
    remarks: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        columns = [row.values for row in self.rows]
        if self.printed_average is not None:
            columns.append(self.printed_average)
        if any(len(values) != len(self.sizes) for values in columns):
            raise ValueError(f"{self.id}: a row has not one value for each size")
        named = [*self.average_notes, *(key for row in self.rows for key in row.notes)]
        if set(named) != set(self.footnotes):
            raise ValueError(f"{self.id}: footnotes and the rows that name them differ")
        return self

    def average(self) -> tuple[float, ...]:
        """The mean of each column's figures; empty cells are left out."""
        columns = zip(*(row.values for row in self.rows), strict=True)
        there = [[value for value in column if value is not None] for column in columns]
        return tuple(sum(values) / len(values) for values in there)

    def lines(self) -> tuple[TableRow, ...]:
        """The rows as they are shown: those of benchmarks end with their average, recomputed."""
        if self.kind != "benchmarks":
            return self.rows
        mean = tuple(round(value, self.decimals) for value in self.average())
        return (*self.rows, TableRow(name="Average", values=mean, notes=self.average_notes))

    def footnotes_used(self) -> tuple[str, ...]:
        """Keys of the footnotes in the order in which the lines name them."""
        return tuple(dict.fromkeys(key for line in self.lines() for key in line.notes))


class Card(_Data):
    """One model card, for the checkpoints it is about.

    Attributes:
        source: `card`: texts and figures are the published card's. `earlier`: there is no copy of
            that card here, only those of earlier generations. `project`: the model is ours.
        family: the generation this card stands for where nothing but that is known of a model.
        checkpoints: repo id -> the column of the tables it belongs to; empty for none.
        tables: ids of the tables of this release and of the models it was made from.
        compared: ids of tables that the card prints for comparison.
        disagreements: where copies of the card differ, or are wrong by now.
        citation: key of a BibTeX entry.
    """

    id: Text
    title: Text
    source: Literal["card", "earlier", "project"]
    family: str = ""
    checkpoints: dict[str, str]
    description: Annotated[tuple[Text, ...], Field(min_length=1)]
    training: tuple[Text, ...] = ()
    tables: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    disagreements: tuple[Text, ...] = ()
    links: tuple[Link, ...] = ()
    citation: str = ""
    citation_note: str = ""


class License(_Data):
    """What a licence asks, in short, and where it stands."""

    name: Text
    summary: tuple[Text, ...]
    links: Annotated[tuple[Link, ...], Field(min_length=1)]


class Notice(_Data):
    """What Gemma's terms want users of a hosted model to be told."""

    quote: Text
    restrictions: Text


class Texts(_Data):
    """What the cards have in common."""

    intended_use: tuple[Item, ...]
    limitations: tuple[Item, ...]
    considerations: tuple[Item, ...]
    risks: tuple[Item, ...]
    safety_evaluation: tuple[Text, ...]
    notice: Notice
    licenses: dict[str, License]
    citations: dict[str, Text]


class CardData(_Data):
    """Everything in `assets/cards/`."""

    cards: tuple[Card, ...]
    tables: tuple[Table, ...]
    texts: Texts

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        tables = {table.id: table for table in self.tables}
        named = [name for card in self.cards for name in card.checkpoints]
        if len(set(named)) != len(named) or len(tables) != len(self.tables):
            raise ValueError("a checkpoint or a table is there twice")
        for card in self.cards:
            if card.citation and card.citation not in self.texts.citations:
                raise ValueError(f"{card.id}: there is no citation {card.citation}")
            columns = {"", *(s for id_ in card.tables for s in _need(tables, card, id_).sizes)}
            for id_ in card.compared:
                _need(tables, card, id_)
            if not set(card.checkpoints.values()) <= columns:
                raise ValueError(f"{card.id}: a checkpoint's size is no column of its tables")
        return self

    def table(self, id_: str) -> Table:
        return next(table for table in self.tables if table.id == id_)


def _need(tables: dict[str, Table], card: Card, id_: str) -> Table:
    if id_ not in tables:
        raise ValueError(f"{card.id}: there is no table {id_}")
    return tables[id_]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of one checkpoint.

    Attributes:
        subject: the checkpoint the card is about: itself, or what an adapter attaches to.
        card: None where not even the generation has one here.
        named: the card names this very checkpoint. Otherwise only its architecture is known, and
            no figure is its own.
        size: its column in the tables; empty for none.
        tables, compared: figures to show; none without a size.
        licenses: its own, then its base's where that is another; each None where it is not
            described here.
        citation: BibTeX; empty where none is known.
    """

    subject: Checkpoint
    card: Card | None
    named: bool
    size: str
    tables: tuple[Table, ...]
    compared: tuple[Table, ...]
    licenses: dict[str, License | None]
    citation: str


@cache
def data() -> CardData:
    """The data, read and checked once.

    Raises:
        pydantic.ValidationError: a file is damaged.
    """
    return check({name: _read(name) for name in CardData.model_fields})


def check(files: dict[str, Any]) -> CardData:
    """Data as read from the files, checked.

    Raises:
        pydantic.ValidationError: something is missing, out of range, or refers to nothing.
    """
    return CardData.model_validate(files)


def _read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def about(row: Checkpoint) -> About:
    """What the cards say of a checkpoint.

    A folder is never taken for a checkpoint of the same name: of its weights nothing is known.
    """
    subject = row
    while subject.base is not None:
        subject = subject.base
    there = data()
    card = _naming(there, subject)
    named = card is not None
    if card is None:
        family = subject.family
        card = next((one for one in there.cards if family and one.family == family), None)
    size = card.checkpoints[subject.repo_id] if card and named else ""
    shown = card if card and size else None
    cited = card.citation if card else GEMMA_CITATION * (subject.license == GEMMA)
    return About(
        subject=subject,
        card=card,
        named=named,
        size=size,
        tables=tuple(map(there.table, shown.tables)) if shown else (),
        compared=tuple(map(there.table, shown.compared)) if shown else (),
        licenses={name: there.texts.licenses.get(name) for name in terms_of(row)},
        citation=there.texts.citations.get(cited, ""),
    )


def terms_of(row: Checkpoint) -> tuple[str, ...]:
    """The licences a checkpoint comes under, by name: its own, and what it attaches to has one."""
    own = (row.license,)
    return own if row.base is None else tuple(dict.fromkeys((*own, *terms_of(row.base))))


def _naming(there: CardData, row: Checkpoint) -> Card | None:
    if row.path not in (None, DEMO_MODEL):
        return None
    return next((card for card in there.cards if row.repo_id in card.checkpoints), None)
