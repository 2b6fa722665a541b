"""The corpus' notation for wordings: `(a|b|)` is a choice, choices nest, one wording per line.

Knows strings and a random source, nothing about topics.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from random import Random

Part = str | tuple["Sequence", ...]
Sequence = tuple[Part, ...]


@cache
def parse(pattern: str) -> Sequence:
    """Turn a pattern into literal strings and tuples of alternatives."""
    sequence, rest = _sequence(pattern, depth=0)
    if rest:
        raise ValueError(f"unbalanced parenthesis in {pattern!r}")
    return sequence


def _sequence(text: str, depth: int) -> tuple[Sequence, str]:
    parts: list[Part] = []
    while text:
        if depth and text[0] in "|)":
            break
        if text[0] == "(" and (choice := _choice(text)):
            part, text = choice
            parts.append(part)
            continue
        literal = re.match(r"\(?[^()|]*" if depth else r"\(?[^(]*", text)
        assert literal
        parts.append(literal.group())
        text = text[literal.end() :]
    return tuple(parts), text


def _choice(text: str) -> tuple[Part, str] | None:
    options: list[Sequence] = []
    rest = text
    while rest and rest[0] in "(|":
        option, rest = _sequence(rest[1:], depth=1)
        options.append(option)
    if not rest or len(options) < 2:  # a bare parenthesis is ordinary text
        return None
    return tuple(options), rest[1:]


def choose(pattern: str, rng: Random) -> str:
    """One random wording of the pattern."""
    return _tidy(_pick(parse(pattern), rng))


def _pick(sequence: Sequence, rng: Random) -> str:
    return "".join(p if isinstance(p, str) else _pick(rng.choice(p), rng) for p in sequence)


def expand(pattern: str) -> Iterator[str]:
    """Every wording of the pattern."""
    return (_tidy(text) for text in _all(parse(pattern)))


def _all(sequence: Sequence) -> Iterator[str]:
    spread = [[p] if isinstance(p, str) else [t for o in p for t in _all(o)] for p in sequence]
    return ("".join(texts) for texts in product(*spread))


def _tidy(text: str) -> str:
    return re.sub(r" {2,}", " ", text).strip()


def lines(block: str) -> list[str]:
    """The wordings of a block, without empty lines."""
    return [line.strip() for line in block.splitlines() if line.strip()]


def normalise(text: str) -> str:
    """Lower case, letters and digits only: how two wordings are compared."""
    return " ".join(re.findall(r"\w+", text.lower()))
