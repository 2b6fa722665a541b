"""The corpus as values: what can be asked, and the one answer each question has.

Reads `corpus/*.toml`. Knows nothing of tokens, noise or conversations.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from training.grammar import choose, lines

FOLDER = Path(__file__).parent / "corpus"
TOPIC_FILES = ["me", "app", "controls", "precision", "access", "gemma", "concepts", "talk"]
OTHER_WEIGHT = 3.0
SYLLABLES = re.findall("..", "kalomirantevodripelunshagobinextufamolquizedharwymosle")


@dataclass(frozen=True)
class Topic:
    """One thing people ask about, with every way of asking we wrote down."""

    id: str
    answer: str
    more: str
    asks: tuple[str, ...]
    subjects: tuple[str, ...] = ()
    weight: float = 1.0

    @property
    def group(self) -> str:
        return self.id.split(".")[0]

    @property
    def brief(self) -> str:
        """The first sentence that says something; lists, verses and code stay whole."""
        if "\n" in self.answer:
            return self.answer
        for end in re.finditer(r"(?<=[.!?]) (?=[A-Z¡*])", self.answer):
            if end.start() >= 45:
                return self.answer[: end.start()]
        return self.answer

    def ask(self, rng: Random) -> str:
        text = choose(rng.choice(self.asks), rng)
        while "{x}" in text:
            text = text.replace("{x}", self._subject(rng), 1)
        return text

    def _subject(self, rng: Random) -> str:
        if self.id == "other.maths" and rng.random() < 0.6:
            sign = rng.choice(["+", "-", "*", "/", "x", "plus", "minus", "times", "divided by"])
            return f"{rng.randint(2, 999)} {sign} {rng.randint(2, 99)}"
        # Invented words teach the model what an unknown word sounds like.
        if rng.random() < (0.25 if self.id == "other.facts" else 0.1):
            words = ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 3))) for _ in "ab"]
            return " ".join(words[: rng.randint(1, 2)])
        return rng.choice(self.subjects)


@dataclass(frozen=True)
class Corpus:
    """All topics, and the wordings that belong to none of them."""

    topics: dict[str, Topic]
    followups: dict[str, dict[str, str]]
    families: dict[str, list[str]]
    completions: list[tuple[list[str], str]]
    wording: dict = field(repr=False)

    def texts(self) -> list[str]:
        """Every string that a tokenizer should know."""
        found = [t for topic in self.topics.values() for t in (topic.answer, topic.more)]
        found += [text for group in self.followups.values() for text in group.values()]
        found += [start + text for starts, text in self.completions for start in starts]
        return found


def _read(name: str) -> dict:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))


def _family_topics(data: dict, asks_of: Callable[[str, str], tuple[str, ...]]) -> list[Topic]:
    return [
        Topic(
            id=f"{facet}.{family['id']}",
            answer=family[facet],
            more=data["family_more"][facet],
            asks=tuple(
                ask.replace("{}", "(" + "|".join(family["names"]) + ")")
                for ask in asks_of(asks, f"{facet}.{family['id']}")
            ),
            weight=0.8,
        )
        for family in data["family"]
        for facet, asks in data["facets"].items()
    ]


def load_corpus() -> Corpus:
    """Read every corpus file."""
    topics: list[Topic] = []
    further = [_read("rephrasings"), _read("strangers")]

    def asks_of(own: str, topic_id: str) -> tuple[str, ...]:
        group, name = topic_id.split(".")
        return tuple(lines("\n".join([own, *(f.get(group, {}).get(name, "") for f in further)])))

    followups: dict[str, dict[str, str]] = {}
    for name in TOPIC_FILES:
        data = _read(name)
        followups |= data.get("followups", {})
        for row in data["topic"]:
            asks = asks_of(row["asks"], row["id"])
            weight = 3.0 if row["id"].startswith("card.") else min(1.5, 0.6 + len(asks) / 50)
            topics.append(Topic(row["id"], row["answer"], row["more"], asks, weight=weight))
    families = _read("families")
    followups |= families["followups"]
    topics += _family_topics(families, asks_of)
    other = _read("other")
    followups |= other["followups"]
    for row in other["kind"]:
        subjects = tuple(s.strip() for s in row["subjects"].split(";"))
        asks = asks_of(row["asks"], row["id"])
        weight = OTHER_WEIGHT * (2 if row["id"] == "other.facts" else 1)
        topics.append(Topic(row["id"], row["answer"], row["more"], asks, subjects, weight))
    for facet in families["facets"]:
        followups[facet] = followups["family"] | followups.get(facet, {})
    followups["card"] = followups["bare"] = followups["talk"]
    return Corpus(
        topics={topic.id: topic for topic in topics},
        followups=followups,
        families={family["id"]: family["names"] for family in families["family"]},
        completions=[(r["starts"], r["text"]) for r in _read("completions")["completion"]],
        wording=_read("wording"),
    )
