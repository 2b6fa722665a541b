"""The prompt behind a reply, as HTML: every token where it stood, control tokens in colour.

Knows how ids read. What is drawn comes from the tokens, not from their text: a control token and
a text that looks like one are not the same. Pure functions; no Gradio.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from gemma_space.types import PromptPiece, RenderedChat
from gemma_space.ui.provenance import Provenance, digest_of

MAX_CHIPS = 2000  # more tokens than that are listed by their ids alone
MAX_QUOTE = 60
UNKNOWN = (
    "Nothing was kept about how this reply was made. This is what it would be with the model and "
    "the settings chosen now."
)
LEGEND = "Green marks are control tokens. Text that only looks like one has no mark."
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Xray:
    """A reply's prompt, rendered again.

    Attributes:
        number, replies: which of how many replies of the conversation it is about.
        reply: the reply's text.
        kept: what was kept with the reply.
        model: whose template rendered it.
        rendered, pieces: the prompt, and its ids as tokens.
    """

    number: int
    replies: int
    reply: str
    kept: Provenance | None
    model: str
    rendered: RenderedChat
    pieces: tuple[PromptPiece, ...]


def view(xray: Xray) -> str:
    """Everything about it."""
    kind, sentence = verdict(xray.kept, xray.rendered)
    told = "".join(f"<li>{escape(fact)}</li>" for fact in facts(xray))
    notes = "".join(f'<p class="reply-note">{escape(note)}</p>' for note in notes_of(xray))
    return (
        f'<section class="xray" aria-labelledby="xray-title">{_title(xray)}'
        f'<p class="xray-verdict xray-{kind}">{escape(sentence)}</p>'
        f'<ul class="facts">{told}</ul>{notes}'
        '<pre class="xray-text" tabindex="0" role="region" aria-label="The prompt">'
        f"{prompt_html(xray.pieces)}</pre>"
        f'<p class="hint">{LEGEND}</p>'
        f"<details><summary>Token by token, with ids</summary>{tokens_html(xray.pieces)}</details>"
        "</section>"
    )


def verdict(kept: Provenance | None, rendered: RenderedChat) -> tuple[str, str]:
    """Whether this is what the reply was made from: one word for the look, and a sentence."""
    count = len(rendered.token_ids)
    if kept is None:
        return "unknown", UNKNOWN
    if kept.digest == digest_of(rendered.token_ids):
        edited = ", which you have edited since" if kept.edited else ""
        return "same", f"These are the {count:,} tokens that produced this reply{edited}."
    return "changed", (
        f"The conversation or the model has changed since this reply was written from "
        f"{kept.tokens:,} tokens. This is what it would be given now: {count:,} tokens."
    )


def facts(xray: Xray) -> list[str]:
    """The prompt in numbers, and what it was given to."""
    bos = xray.rendered.bos_count
    found = [f"{len(xray.rendered.token_ids):,} tokens", f"{bos} BOS", xray.model]
    if (kept := xray.kept) is not None:
        found += [kept.precision, f"seed {kept.seed}"]
        found += [] if kept.thinking is None else [f"thinking {'on' if kept.thinking else 'off'}"]
    return found


def notes_of(xray: Xray) -> tuple[str, ...]:
    """What was folded, mended, left out or went on from."""
    if xray.kept is not None and xray.kept.prefix_length:
        continued = "The reply was continued: what it said before stands at the end of the prompt."
        return (*xray.rendered.notes, continued)
    return xray.rendered.notes


def _title(xray: Xray) -> str:
    words = " ".join(xray.reply.split())
    quote = words[:MAX_QUOTE].rstrip() + ("…" if len(words) > MAX_QUOTE else "")
    which = f"Reply {xray.number} of {xray.replies}" + (f": “{quote}”" if quote else "")
    return (
        '<h2 id="xray-title" tabindex="-1">What the model was given'
        f' <span class="hint">{escape(which)}</span></h2>'
    )


def prompt_html(pieces: Sequence[PromptPiece]) -> str:
    """The prompt's text with its white space; a line's end is marked where it can be seen."""
    runs = []
    for control, run in groupby(pieces, key=lambda piece: piece.control):
        if control:
            runs += [f'<b class="control">{_shown(piece.text)}</b>' for piece in run]
        else:
            runs.append(_shown(text_of(list(run))))
    return "".join(runs)


def text_of(pieces: Sequence[PromptPiece]) -> str:
    """The text that tokens stand for together; bytes in a row are read as UTF-8."""
    parts: list[str] = []
    for is_byte, run in groupby(pieces, key=lambda p: _BYTE.fullmatch(p.text) is not None):
        texts = [piece.text for piece in run]
        if is_byte:
            parts.append(bytes(int(text[3:5], 16) for text in texts).decode(errors="replace"))
        else:
            parts += texts
    return "".join(parts)


def tokens_html(pieces: Sequence[PromptPiece]) -> str:
    """Each token with its id below it; of a very long prompt, the ids."""
    if len(pieces) > MAX_CHIPS:
        ids = " ".join(str(piece.id) for piece in pieces)
        return f'<pre class="xray-text" tabindex="0">{ids}</pre>'
    chips = (
        f"<li{' class=control' if piece.control else ''}>"
        f"<span>{_shown(piece.text)}</span><small>{piece.id}</small></li>"
        for piece in pieces
    )
    return f'<ol class="xray-tokens">{"".join(chips)}</ol>'


def _shown(text: str) -> str:
    return escape(text).replace("\n", '<i class="line-end">\n</i>')
