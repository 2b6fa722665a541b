"""How the text of one token reads: what it is, its blanks made visible, its name in words.

Pure functions; no Gradio. Knows Gemma's control tokens by name and Unicode's blanks, invisible and
direction-changing characters, none of which is ever let through as it is. Does not know
probabilities.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from itertools import groupby
from typing import Literal

Kind = Literal["control", "byte", "text"]

# By name, not by shape: Gemma's vocabulary also holds <table>, <b> and other markup as text.
_CONTROL = re.compile(
    r"<(?:pad|bos|eos|unk|mask|escape|2mass|unused\d+|\w+_of_\w+|\w+_soft_token"
    r"|(?:start|end)_function_\w+|\|[^\s<>|]+\|?|[^\s<>|]+\|)>|\[@BOS@\]|\[multimodal\]"
)
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_NAMES = {
    "\u00a0": "NBSP", "\u00ad": "SHY", "\u061c": "ALM", "\u200b": "ZWSP", "\u200c": "ZWNJ",
    "\u200d": "ZWJ", "\u200e": "LRM", "\u200f": "RLM", "\u202a": "LRE", "\u202b": "RLE",
    "\u202c": "PDF", "\u202d": "LRO", "\u202e": "RLO", "\u202f": "NNBSP", "\u2028": "LSEP",
    "\u2029": "PSEP", "\u2060": "WJ", "\u2066": "LRI", "\u2067": "RLI", "\u2068": "FSI",
    "\u2069": "PDI", "\ufeff": "BOM", "\r": "CR", "\x00": "NUL", "\x1b": "ESC",
}  # fmt: skip
# Unassigned ones are not among these: a newer character than Python's is no invisible one.
_UNSEEN = frozenset(("Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"))
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_MARKS = {" ": "<u> </u>", "\n": "<u class=n>\n</u>", "\t": "<u class=t>\t</u>"}
_SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥"}
_BLANKS = {" ": "space", "\n": "newline", "\t": "tab"}


@lru_cache(maxsize=16_384)
def kind(text: str) -> Kind:
    """What a token is: a control token, a lone byte, or text."""
    if text[:1] not in ("<", "["):
        return "text"
    if _BYTE.fullmatch(text):
        return "byte"
    return "control" if _CONTROL.fullmatch(text) else "text"


@lru_cache(maxsize=16_384)
def ends_line(text: str) -> bool:
    """Whether a line ends with this token."""
    return text.endswith("\n") or text == "<0x0A>"


@lru_cache(maxsize=16_384)
def marked(text: str) -> str:
    """A token's text as HTML, every blank marked; what cannot be seen is there by its name.

    A space, newline or tab is a `<u>` around the character itself: styles draw its sign.
    """
    what = kind(text)
    if what != "text":
        return escape(text[1:-1] if what == "byte" else text)
    if not text:
        return '<abbr title="A token without text">∅</abbr>'
    is_lone = unicodedata.category(text[0]).startswith("M") and not _is_unseen(text[0])
    return "◌" * is_lone + "".join(_MARKS.get(char) or _shown(char) for char in _characters(text))


@lru_cache(maxsize=16_384)
def running(text: str) -> str:
    """A token's text as HTML inside running text: as `marked`, but spaces beside words are plain.

    What a reader copies is the text, except for what cannot be seen.
    """
    if kind(text) != "text" or not text.strip(" \n\t"):
        return marked(text)
    if text.isprintable() and not _is_odd(text):
        return escape(text)
    return "".join(
        char if char == " " else _MARKS.get(char) or _shown(char) for char in _characters(text)
    )


@lru_cache(maxsize=16_384)
def spoken(text: str) -> str:
    """A token's text in one line of plain text, for a tip or a screen reader."""
    byte = _BYTE.fullmatch(text)
    if byte:
        char = chr(int(byte[1], 16))
        stands_for = f" (“{char}”)" if "!" <= char <= "~" else ""
        return f"byte 0x{byte[1]}{stands_for}"
    if not text:
        return "no text"
    if not text.strip(" \n\t"):
        return ", ".join(_counted(blank, len([*run])) for blank, run in groupby(text))
    return "".join(
        _SIGNS.get(char) or (f"‹{_name(char)}›" if _is_unseen(char) else char)
        for char in _characters(text)
    )


def _counted(blank: str, count: int) -> str:
    return _BLANKS[blank] if count == 1 else f"{count} {_BLANKS[blank]}s"


def _characters(text: str) -> Iterator[str]:
    """Character by character; a variation selector stays with what it varies."""
    held = ""
    for char in text:
        if held and _varies(char) and not _is_unseen(held):
            held += char
            continue
        if held:
            yield held
        held = char
    yield held


def _shown(char: str) -> str:
    if not _is_unseen(char):
        return escape(char)
    full = unicodedata.name(char[0], "").lower()
    return f'<abbr title="{f"U+{ord(char[0]):04X} {full}".strip()}">{_name(char)}</abbr>'


def _name(char: str) -> str:
    return _NAMES.get(char, f"U+{ord(char[0]):04X}")


def _is_odd(text: str) -> bool:
    return any(char in _BLANK_LETTERS or _varies(char) for char in text)


def _varies(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _is_unseen(char: str) -> bool:
    return len(char) == 1 and (
        (char != " " and unicodedata.category(char) in _UNSEEN)
        or char in _BLANK_LETTERS
        or _varies(char)
    )
