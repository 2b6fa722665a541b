"""Votes and what they add up to."""

import csv
import io
import json

import pytest
from pydantic import ValidationError

from gemma_space import votes
from gemma_space.votes import Contender, Tally, Vote

BF16, INT8 = Contender(model="m", precision="bf16"), Contender(model="m", precision="int8")
OTHER = Contender(model="=cmd", precision="bf16")
CAST = (
    Vote(contenders=(BF16, INT8), verdict="better", better=0, blind=True),
    Vote(contenders=(INT8, BF16), verdict="better", better=1, blind=False),
    Vote(contenders=(BF16, INT8, OTHER), verdict="tie", blind=True),
    Vote(contenders=(BF16, INT8), verdict="all_bad", blind=False),
)


def test_votes_add_up_by_model_and_precision() -> None:
    first, tied, last = votes.tally(CAST)
    assert first == Tally(model="m", precision="bf16", comparisons=4, better=2, worse=0, ties=1,
                          all_bad=1, blind=2)  # fmt: skip
    assert first.share == 2.5 / 3, "nothing was decided where all were bad"
    assert (tied.model, tied.share) == ("=cmd", 0.5)
    assert last.share == 0.5 / 3
    assert votes.tally(CAST[3:])[0].share is None


def test_votes_are_read_as_they_were_written() -> None:
    assert votes.read(votes.write(CAST)) == CAST
    assert votes.read("") == votes.read(None) == ()
    many = CAST[:1] * (votes.MAX_VOTES + 5)
    assert len(votes.read(votes.write(many))) == votes.MAX_VOTES


@pytest.mark.parametrize("text", [
    "x", "{}", "[1]", '[{"contenders": [], "verdict": "tie", "blind": true}]',
    votes.write(CAST).replace('"better":0', '"better":2'),
    votes.write(CAST).replace('"better":0', '"better":null'),
    votes.write(CAST).replace('"tie"', '"won"'),
])  # fmt: skip
def test_what_is_no_vote_counts_for_nothing(text: str) -> None:
    assert votes.read(text) == ()


def test_a_tie_names_nobody() -> None:
    with pytest.raises(ValidationError):
        Vote(contenders=(BF16, INT8), verdict="tie", better=0, blind=True)


def test_tables_and_documents() -> None:
    rows = list(csv.DictReader(io.StringIO(votes.as_csv(CAST))))
    assert [row["precision"] for row in rows] == ["bf16", "bf16", "int8"]
    assert (rows[0]["better"], rows[0]["share"]) == ("2", "0.8333")
    assert rows[1]["model"] == "'=cmd", "no formula for a spreadsheet"
    document = json.loads(votes.as_json(CAST))
    assert len(document["votes"]) == len(CAST)
    assert document["tally"][0]["comparisons"] == 4
