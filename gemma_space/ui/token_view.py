"""Tokens as HTML: a list with ids, a text coloured by probability, what else could have come.

Pure functions; no Gradio. A token of `probability_view` and a button of `alternatives` tell their
component's `select` event which they are (`assets/js/tokens.js`); `read_pick` reads that. Does not
know what is done about it, nor where the tokens are kept.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from gemma_space.precision_figures import perplexity
from gemma_space.types import Alternative, ScoredPiece, TokenPiece
from gemma_space.ui import token_scale as scale
from gemma_space.ui.token_text import ends_line, kind, marked, running, spoken

# What `gr.HTML(js_on_load=…)` runs for the component that holds each of the two.
VIEW_JS = "watch('value', GemmaSpace.tokens.mount(element, trigger));"
ALTERNATIVES_JS = "GemmaSpace.tokens.offer(element, trigger);"

EDGE_TOKENS = 300  # of a long list, shown at each end
LISTED_TOKENS = 8192  # a browser opens as many at once; the middle of more is not listed
_KINDS = {"control": " class=control", "byte": " class=byte", "text": ""}
_KEY = {
    "control": '<span class="token-key control">control token</span>',
    "byte": '<span class="token-key byte">byte of a character</span>',
}


@dataclass(frozen=True, slots=True)
class Pick:
    """What was pressed: a token by its index, and the id to continue with, if one was asked for."""

    token: int
    alternative: int | None = None


def read_pick(data: object, tokens: Sequence[ScoredPiece]) -> Pick | None:
    """What an event of `select` says about `tokens`; None where it fits none of them.

    An alternative is only ever one of those that were offered.
    """
    told = data if isinstance(data, Mapping) else {}
    index, wanted = told.get("token"), told.get("alternative")
    if type(index) is not int or not 0 <= index < len(tokens):
        return None
    if wanted is None:
        return Pick(index)
    piece = tokens[index]
    offered = {other.id for other in piece.top} - {piece.id}
    return Pick(index, wanted) if type(wanted) is int and wanted in offered else None


# --- a list with ids --------------------------------------------------------------------------


def token_list(pieces: Sequence[TokenPiece | ScoredPiece], *, title: str = "Tokens") -> str:
    """Tokens with their ids, a line of the text being a line of the list, and how many they are.

    Of a long list the middle is folded; of a very long one part of it is left out.
    """
    count = len(pieces)
    middle = ""
    first: Sequence[TokenPiece | ScoredPiece] = pieces
    last: Sequence[TokenPiece | ScoredPiece] = ()
    if count > 2 * EDGE_TOKENS:
        first, last = pieces[:EDGE_TOKENS], pieces[-EDGE_TOKENS:]
        middle = _folded(pieces[EDGE_TOKENS:-EDGE_TOKENS])
    seen = {kind(piece.text) for piece in pieces}
    key = "".join(words for name, words in _KEY.items() if name in seen)
    return (
        f'<section class="tokens token-list" aria-label="{escape(title)}"><p class="token-count">'
        f"<b>{escape(title)}</b> <span>{_tokens(count)}</span>{key}</p>"
        f"{_lines(first)}{middle}{_lines(last)}</section>"
    )


def _folded(pieces: Sequence[TokenPiece | ScoredPiece]) -> str:
    listed = pieces[: LISTED_TOKENS - 2 * EDGE_TOKENS]
    left_out = len(pieces) - len(listed)
    note = f'<p class="hint">{left_out:,} more are not listed.</p>' if left_out else ""
    return (
        f"<details><summary>{len(pieces):,} more tokens</summary>{_lines(listed)}{note}</details>"
    )


def _lines(pieces: Sequence[TokenPiece | ScoredPiece]) -> str:
    # HTML lets `</li>` and quotes be left out, which halves a list of thousands.
    parts, is_open = [], False
    for piece in pieces:
        if not is_open:
            parts.append("<ol>")
            is_open = True
        text = piece.text
        parts.append(f"<li{_KINDS[kind(text)]}>{marked(text)}{_numbered(piece.id)}")
        if ends_line(text):
            parts.append("</ol>")
            is_open = False
    return "".join(parts) + "</ol>" * is_open


def _numbered(token_id: int) -> str:
    return f"<i>{token_id}</i>" if token_id >= 0 else ""


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"


# --- a text, coloured -------------------------------------------------------------------------


def probability_view(
    tokens: Sequence[ScoredPiece], *, label: str = "Completion", own: Collection[int] = ()
) -> str:
    """A text in which each token has the colour of its probability, or of the entropy there.

    While the text grows the HTML of what was there before stays the same. Alternatives are not
    part of it.

    Args:
        label: what the text is, for screen readers.
        own: indices of tokens that a person chose, not the model.
    """
    if not tokens:
        return ""
    text = "".join(_token(piece, at in own) for at, piece in enumerate(tokens))
    by_entropy = (
        '<button type="button" data-colouring="entropy" aria-pressed="false">Entropy</button>'
    )
    return (
        f'<div class="token-view">{_summary(tokens)}<div class="token-colours">'
        '<div class="token-switch" role="group" aria-label="Colour by">'
        '<button type="button" data-colouring="probability" aria-pressed="true">Probability'
        f"</button>{by_entropy if tokens[0].entropy is not None else ''}"
        f"</div>{_legend('p', scale.probability_legend())}"
        f"{_legend('e', scale.entropy_legend())}</div>"
        f'<div class="tokens token-text" role="listbox" dir="auto" '
        f'aria-label="{escape(label)}, token by token">{text}</div>'
        '<p class="hint">Press a token to see what else was likely. Arrow keys move from token '
        "to token.</p></div>"
    )


def _token(piece: ScoredPiece, is_own: bool) -> str:
    share, text = scale.probability(piece.logprob), piece.text
    what = kind(text)
    classes = f"p{scale.probability_step(share)}"
    if piece.entropy is not None:
        classes += f" e{scale.entropy_step(piece.entropy)}"
    if what != "text":
        classes += f" {what}"
    words = f"{spoken(text)} · {_odds(piece, share)}"
    if is_own:
        classes, words = f"{classes} own", f"{words} · your choice"
    return (  # a focused token that could not be focused for a moment would lose the focus
        f'<b role=option tabindex=-1 class="{classes}" aria-label="{escape(words)}">'
        f"{running(text)}</b>"
    )


def _odds(piece: ScoredPiece, share: float) -> str:
    odds = scale.format_percent(share)
    if piece.entropy is None:
        return odds
    return f"{odds} · entropy {scale.format_nats(piece.entropy)}"


def _legend(scheme: str, words: Iterable[str]) -> str:
    steps = "".join(
        f"<li><span class={scheme}{at}>{escape(said)}</span>" for at, said in enumerate(words)
    )
    return f'<ul class="token-legend legend-{scheme}">{steps}</ul>'


def _summary(tokens: Sequence[ScoredPiece]) -> str:
    count = len(tokens)
    likely = sum(scale.probability(piece.logprob) for piece in tokens) / count
    told = [piece.entropy for piece in tokens if piece.entropy is not None]
    found = perplexity([piece.logprob for piece in tokens])
    facts = [
        ("perplexity", scale.format_perplexity(found)),
        ("mean probability", scale.format_percent(likely)),
    ]
    if told:
        facts.append(("mean entropy", scale.format_nats(sum(told) / len(told))))
    shown = "".join(f"<span>{name} <b>{value}</b></span>" for name, value in facts)
    return f'<p class="token-summary"><span><b>{_tokens(count)}</b></span>{shown}</p>'


# --- what else could have come ----------------------------------------------------------------


def alternatives(piece: ScoredPiece, index: int, *, branches: bool = True) -> str:
    """What was likely at a token's place, as a table, and how much is left for all else.

    Args:
        index: the token's, counted from 0.
        branches: offer to continue from each other alternative; else the text is one that was
            given, not written by the model.
    """
    ids = [other.id for other in piece.top]
    head = _head(piece, index, ids)
    if not ids:
        none = '<p class="hint">No alternatives were kept for this token.</p>'
        return f'<div class="tokens alternatives">{head}{none}</div>'
    rows, shares = [], []
    for other in piece.top:
        share, before = scale.probability(other.logprob), sum(shares)
        shares.append(share)
        rows.append(_row(other, share, before, other.id == piece.id, branches))
    if piece.id not in ids:
        itself = Alternative(id=piece.id, text=piece.text, logprob=piece.logprob)
        shares.append(scale.probability(piece.logprob))
        rows.append(_row(itself, shares[-1], None, True, branches))
    return (
        f'<div class="tokens alternatives" data-token="{index}">{head}<table><thead><tr>'
        '<th scope="col">Token</th><th scope="col" class="id">Id</th><th scope="col" class="share">'
        'Probability</th><td class="bar"></td><th scope="col" class="share">Together</th><td></td>'
        "</tr></thead><tbody>"
        f'{"".join(rows)}<tr class="rest"><th scope="row">others</th><td></td>'
        f'<td class="share">{scale.others(shares)}</td><td class="bar"></td><td></td><td></td></tr>'
        "</tbody></table></div>"
    )


def _head(piece: ScoredPiece, index: int, ids: Sequence[int]) -> str:
    facts = [_odds(piece, scale.probability(piece.logprob))]
    if ids:
        known = piece.id in ids
        facts.append(f"rank {ids.index(piece.id) + 1}" if known else f"not in the top {len(ids)}")
    return (
        f'<p class="alternatives-head" role="status"><b>Token {index + 1:,}</b> '
        f"<code>{marked(piece.text)}</code> <span>{' · '.join(facts)}</span></p>"
    )


def _row(
    other: Alternative, share: float, before: float | None, is_it: bool, branches: bool
) -> str:
    """One alternative; `before` is what the likelier ones have together, if that is known."""
    together, bar = "–", ""
    if before is not None:
        together = scale.format_percent(min(1.0, before + share))
        bar = f'<span style="left:{before:.1%};width:{share:.1%}"></span>'
    mark, last = "", ""
    if is_it:
        mark, last = ' class="it"', "chosen" if branches else "in the text"
    elif branches:
        named = escape(f"Continue from here with {spoken(other.text)}")
        last = (
            f'<button type="button" class="pill" data-alternative="{other.id}" '
            f'aria-label="{named}">Continue from here</button>'
        )
    what = kind(other.text)
    return (
        f'<tr{mark}><th scope="row"><code{_KINDS[what]}>{marked(other.text)}</code></th>'
        f'<td class="id">{other.id if other.id >= 0 else "–"}</td>'
        f'<td class="share">{scale.format_percent(share)}</td>'
        f'<td class="bar">{bar}</td>'
        f'<td class="share">{together}</td><td class="do">{last}</td></tr>'
    )
