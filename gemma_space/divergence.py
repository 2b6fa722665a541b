"""Where two texts part: by their tokens where both count in the same ones, else by characters.

Pure functions of texts. Knows no model and no page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# `same`: both ended alike. `so_far`: no difference as far as both are, and more may come.
# `shorter`, `longer`: one is the beginning of the other. `apart`: both go on, differently.
Kind = Literal["same", "so_far", "shorter", "longer", "apart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A text as far as it is.

    Attributes:
        ids: its tokens.
        ends: for each of them, how many characters of the text there were once it was written.
        vocabulary: equal ones give ids the same meaning; None where nobody knows.
        done: nothing more comes.
    """

    text: str
    ids: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    vocabulary: int | None = None
    done: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """How a text differs from another one.

    Attributes:
        count: how many tokens, or characters, both begin with.
        unit: which of the two were counted.
        at: index of the character from which on this text is another; None where it is not.
        there: what comes next in the other text, one token of it; empty where it had ended,
            and where characters were counted.
        here: the same of this text.
    """

    kind: Kind
    count: int
    unit: Literal["token", "character"]
    at: int | None = None
    there: str = ""
    here: str = ""


def parting(other: Written, this: Written) -> Parting:
    """How `this` differs from `other`."""
    if other.vocabulary is None or other.vocabulary != this.vocabulary:
        return _by_characters(other, this)
    count = _common(other.ids, this.ids)
    kind = _kind(count, (len(other.ids), other.done), (len(this.ids), this.done))
    differs = kind in ("longer", "apart")
    return Parting(
        kind=kind,
        count=count,
        unit="token",
        at=_begin(this, count) if differs else None,
        there=_token(other, count),
        here=_token(this, count),
    )


def _by_characters(other: Written, this: Written) -> Parting:
    count = _common(other.text, this.text)
    kind = _kind(count, (len(other.text), other.done), (len(this.text), this.done))
    differs = kind in ("longer", "apart")
    return Parting(kind=kind, count=count, unit="character", at=count if differs else None)


def _common(there: Sequence[object], here: Sequence[object]) -> int:
    """How many items both begin with."""
    pairs = zip(there, here, strict=False)
    shorter = min(len(there), len(here))
    return next((at for at, (a, b) in enumerate(pairs) if a != b), shorter)


def _kind(count: int, other: tuple[int, bool], this: tuple[int, bool]) -> Kind:
    """From the length of what is common, and the length and end of either."""
    (there, other_done), (here, this_done) = other, this
    if count < min(there, here):
        return "apart"
    if there == here:
        return "same" if other_done and this_done else "so_far"
    if here < there:
        return "shorter" if this_done else "so_far"
    return "longer" if other_done else "so_far"


def _begin(text: Written, count: int) -> int:
    """Where the text of the token after the first `count` begins."""
    return text.ends[count - 1] if count else 0


def _token(text: Written, at: int) -> str:
    return text.text[_begin(text, at) : text.ends[at]] if at < len(text.ids) else ""
