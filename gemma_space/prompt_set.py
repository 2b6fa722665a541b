"""The texts that a precision report reads: those that ship, or somebody's own.

Knows how a file divides into texts and how much is too much. Does not know tokens or models.
"""

import unicodedata
from itertools import groupby

from gemma_space.assets import ASSETS
from gemma_space.errors import InvalidRequestError

SHIPPED = ASSETS / "precision-texts.txt"
MAX_CHARACTERS = 100_000
MAX_TEXTS = 64
_LAYOUT = "\n\t"


def shipped() -> str:
    """Prose, code, a table, two other languages, arithmetic and dialogue."""
    return SHIPPED.read_text(encoding="utf-8").strip()


def split(text: str) -> tuple[str, ...]:
    """The texts of a file, which blank lines divide; lines end as any system ends them.

    Raises:
        InvalidRequestError: there is no text, too much of it, or what is no text at all.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequestError(
            f"These texts have {len(text):,} characters; at most {MAX_CHARACTERS:,} are measured.",
            "Keep a part of them: a few thousand characters say nearly as much.",
        )
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in _LAYOUT for c in plain):
        raise InvalidRequestError(
            "This is no plain text: it holds control characters.",
            "Save it as a text file in UTF-8, and open that.",
        )
    blocks = groupby(plain.split("\n"), key=lambda line: bool(line.strip()))
    texts = tuple("\n".join(lines) for is_text, lines in blocks if is_text)
    if not texts:
        raise InvalidRequestError(
            "There are no texts to measure with.", "Write or open some, divided by blank lines."
        )
    if len(texts) > MAX_TEXTS:
        raise InvalidRequestError(
            f"These are {len(texts):,} texts; at most {MAX_TEXTS} are measured.",
            "Texts are what blank lines divide: remove some of the texts or of the lines.",
        )
    return texts
