"""How one question turns into the thousand ways people type it.

Synonyms, polite wrappers, dropped and swapped words, typos, casing, punctuation. Knows English
surface forms and nothing about topics.
"""

import re
from collections.abc import Callable
from random import Random

from training.grammar import choose, lines

PROPER = ["gemma", "google", "hugging face", "gemini", "python", "i", "gpu", "api", "german"]
NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj",
    "i": "uo", "j": "hk", "k": "jl", "l": "k", "m": "n", "n": "mb", "o": "ip", "p": "o",
    "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc",
    "y": "tu", "z": "x",
}  # fmt: skip


class Noise:
    """The surface variation of questions, driven by `corpus/wording.toml`."""

    def __init__(self, wording: dict) -> None:
        self.before = lines(wording["before"])
        self.after = lines(wording["after"])
        self.doubt = lines(wording["doubt"])
        self.stopwords = set(wording["stopwords"].split())
        self.fillers = wording["fillers"].split()
        self.synonyms = [
            (re.compile(rf"\b{re.escape(row[0])}\b"), row[1:]) for row in wording["synonyms"]
        ]

    def vary(self, question: str, rng: Random, strength: float = 1.0) -> str:
        """One way of typing the question; strength scales how far it may drift."""
        text = question
        for change, chance in self._changes():
            if rng.random() < chance * strength:
                text = change(text, rng)
        return self._finish(text.strip(), rng, strength) or question

    def _changes(self) -> list[tuple[Callable[[str, Random], str], float]]:
        return [
            (self._swap_synonyms, 0.6),
            (self._keywords, 0.06),
            (self._drop_word, 0.12),
            (self._swap_words, 0.05),
            (self._add_filler, 0.08),
            (self._wrap_before, 0.22),
            (self._wrap_after, 0.13),
            (self._add_doubt, 0.08),
            (self._typo, 0.18),
            (self._typo, 0.06),
        ]

    def _swap_synonyms(self, text: str, rng: Random) -> str:
        for pattern, others in self.synonyms:
            if rng.random() < 0.25:
                text = pattern.sub(rng.choice(others), text, count=1)
        return text

    def _keywords(self, text: str, rng: Random) -> str:
        kept = [word for word in text.split() if word not in self.stopwords]
        if rng.random() < 0.4:
            rng.shuffle(kept)
        return " ".join(kept) if len(kept) >= 2 else text

    def _drop_word(self, text: str, rng: Random) -> str:
        words = text.split()
        small = [i for i, word in enumerate(words) if word in self.stopwords]
        if len(words) < 4 or not small:
            return text
        del words[rng.choice(small)]
        return " ".join(words)

    def _swap_words(self, text: str, rng: Random) -> str:
        words = text.split()
        if len(words) < 4:
            return text
        i = rng.randrange(len(words) - 1)
        words[i], words[i + 1] = words[i + 1], words[i]
        return " ".join(words)

    def _add_filler(self, text: str, rng: Random) -> str:
        words = text.split()
        if len(words) < 3:
            return text
        words.insert(rng.randint(1, len(words)), rng.choice(self.fillers))
        return " ".join(words)

    def _wrap_before(self, text: str, rng: Random) -> str:
        return f"{choose(rng.choice(self.before), rng)} {text}"

    def _wrap_after(self, text: str, rng: Random) -> str:
        comma = rng.choice([",", "", ""])
        return f"{text}{comma} {choose(rng.choice(self.after), rng)}"

    def _add_doubt(self, text: str, rng: Random) -> str:
        doubt = choose(rng.choice(self.doubt), rng)
        return f"{doubt} {text}" if rng.random() < 0.7 else f"{text}? {doubt}"

    def _typo(self, text: str, rng: Random) -> str:
        places = [i for i, char in enumerate(text) if char in NEIGHBOURS]
        if len(text) < 6 or not places:
            return text
        i = rng.choice(places)
        match rng.randrange(4):
            case 0:
                return text[:i] + text[i + 1 :]
            case 1:
                return text[:i] + text[i] + text[i:]
            case 2:
                return text[:i] + text[i + 1 : i + 2] + text[i] + text[i + 2 :]
            case _:
                return text[:i] + rng.choice(NEIGHBOURS[text[i]]) + text[i + 1 :]

    def _finish(self, text: str, rng: Random, strength: float) -> str:
        style = rng.random()
        if style < 0.5:
            text = _proper_nouns(text)
            text = text[:1].upper() + text[1:]
        elif style < 0.5 + 0.03 * strength:
            text = text.upper()
        elif style < 0.6:
            text = text[:1].upper() + text[1:]
        if text[-1:].isalnum():
            text += rng.choices(["", "?", ".", "!", "??", " ?", "..."], [46, 40, 5, 2, 2, 3, 2])[0]
        return text


def _proper_nouns(text: str) -> str:
    for word in PROPER:
        cased = word.upper() if word in ("gpu", "api") else word.title()
        text = re.sub(rf"\b{word}\b", cased, text)
    return text
