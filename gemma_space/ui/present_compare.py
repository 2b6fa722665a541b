"""Columns that stand side by side, and votes about them, as HTML. Pure functions; no Gradio.

Knows how a column reads: its text with the differences marked, and what it cost beside the
others. What is hidden it does not get to see.
"""

from collections.abc import Sequence
from html import escape

from gemma_space.comparison import ColumnState, Comparison, Parted, parted
from gemma_space.comparison_file import LETTERS
from gemma_space.divergence import Parting
from gemma_space.memory import show_bytes
from gemma_space.side_by_side import Plan
from gemma_space.types import Generation
from gemma_space.ui import present
from gemma_space.ui.token_text import marked
from gemma_space.votes import Tally

HIDDEN_PROBLEM = "This column could not answer. Why is told once it is shown which is which."
STOPPED_EARLY = "Stopped before the first token."


def columns(comparison: Comparison) -> tuple[str, ...]:
    """Each place of the page, from what it may show."""
    shown = [
        (exchange.text, states, parted(states))
        for exchange in comparison.exchanges
        for states in [comparison.places(exchange)]
    ]
    return tuple(_column(comparison, at, shown) for at in range(len(comparison.columns)))


def _column(
    comparison: Comparison, at: int, shown: Sequence[tuple[str, tuple[ColumnState, ...], Parted]]
) -> str:
    bodies = []
    for number, (text, states, found) in enumerate(shown, start=1):
        asked = f'<p class="compared-asked">{escape(text)}</p>' if comparison.kind == "chat" else ""
        last = number == len(shown)
        body = _reply(comparison, at, states, found, last)
        bodies.append(f'<div class="compared-exchange">{asked}{body}</div>')
    letter, state = LETTERS[at], shown[-1][1][at]
    has_text = state.generation is not None and bool(state.generation.text)
    copy = '<button type="button" class="pill" data-copy>Copy</button>' if has_text else ""
    return (
        f'<article class="compared" aria-label="Column {letter}"><header><b>{letter}</b>'
        f'<span class="compared-who">{_who(comparison, at, state)}</span>{copy}</header>'
        f"{''.join(bodies)}</article>"
    )


def _who(comparison: Comparison, at: int, state: ColumnState) -> str:
    if comparison.hidden:
        return "hidden until you vote"
    number = comparison.order[at]
    column = comparison.columns[number]
    precision = state.generation.precision if state.generation else str(column.precision)
    words = [state.title or column.model or "no model", precision]
    if column.own:
        words.append("own settings")
    if comparison.blind:
        words.insert(0, f"Model {number + 1}")
    return escape(" · ".join(words))


def _reply(
    comparison: Comparison, at: int, states: Sequence[ColumnState], found: Parted, last: bool
) -> str:
    state, reply = states[at], states[at].generation
    parts = []
    if reply is not None and reply.thinking:
        parts.append(f'<details class="compared-thoughts"><summary>Thoughts</summary>'
                     f"<p>{escape(reply.thinking)}</p></details>")  # fmt: skip
    if reply is not None and reply.text:
        parts.append(_text(reply.text, found.at[at]))
        parts.append(_where(found, at))
    if state.problem:
        words = HIDDEN_PROBLEM if comparison.hidden else state.problem
        parts.append(present.problem(words))
    elif not state.done:
        parts.append(_going(comparison, state, states))
    elif reply is None:
        parts.append(f'<p class="hint">{STOPPED_EARLY}</p>')
    if reply is not None:
        parts.append(_footer(comparison, at, states, last))
    return "".join(parts)


def _text(text: str, at: int | None) -> str:
    same, other = (text, "") if at is None else (text[:at], text[at:])
    marks = f"<mark>{escape(other)}</mark>" if other else ""
    return f'<div class="compared-text" dir="auto">{escape(same)}{marks}</div>'


def _where(found: Parted, at: int) -> str:
    one, reference = found.partings[at], found.reference
    if one is None or reference is None:
        return ""
    words = parting_words(one, LETTERS[reference])
    return f'<p class="compared-parting">{words}</p>' if words else ""


def parting_words(found: Parting, other: str) -> str:
    """How a text differs from that of column `other`, as HTML; empty where there is no saying."""
    same = f"{found.count:,} {found.unit}{'' if found.count == 1 else 's'}"
    match found.kind:
        case "same":
            return f"The same as {other}: all {same}."
        case "so_far":
            return f"The same as {other} so far: {same}." if found.count else ""
        case "shorter":
            return f"Same as {other} for {same}, where it ends and {other} goes on."
        case "longer":
            return f"Same as {other} for {same}, where {other} ends."
    then = f"Same as {other} for {same}, then" if found.count else f"Unlike {other} from the first"
    if not found.here or not found.there:
        return f"{then} different." if found.count else f"{then} {found.unit} on."
    here, there = (f"<code>{marked(text)}</code>" for text in (found.here, found.there))
    named = f"{here} in place of {there}"
    return f"{then} {named}." if found.count else f"{then} token on: {named}."


def _going(comparison: Comparison, state: ColumnState, states: Sequence[ColumnState]) -> str:
    """What a column does that has not ended."""
    if state.generation is not None:
        busy = "Writing…" if state.generation.text else "Reading…"
        if state.generation.thinking and not state.generation.text:
            busy = "Thinking…"
        return f'<p class="hint" role="status">{busy}</p>'
    if comparison.hidden:
        return '<p class="hint" role="status">Waiting until all columns can write…</p>'
    before = [LETTERS[at] for at, other in enumerate(states) if other.wave < state.wave]
    if before and any(not o.done for o in states if o.wave < state.wave):
        return (
            f'<p class="hint" role="status">Waits for {" and ".join(before)}: together they do not '
            "fit in memory.</p>"
        )
    if state.progress is not None:
        return present.load_bar(state.progress, state.title)
    return '<p class="hint" role="status">Waiting for the model…</p>'


# --- what it cost -------------------------------------------------------------------------------


def _footer(comparison: Comparison, at: int, states: Sequence[ColumnState], last: bool) -> str:
    """Why it ended and, unless that is hidden, what it cost beside the others."""
    state, reply = states[at], states[at].generation
    assert reply is not None
    reason = reply.finish_reason
    ended = (
        f'<span class="reason reason-{reason}">{present.REASONS[reason]}</span>' if reason else ""
    )
    if comparison.hidden:
        return f'<p class="reply-line">{ended}</p>' if ended else ""
    if not last:  # of what was asked before, in one line
        words = "".join(f'<span class="stat">{escape(w)}</span>' for w in present.stats(reply))
        return f'<p class="reply-line">{ended}{words}</p>'
    others = [other.generation for other in states if other.generation is not None]
    rows = [
        _bar("First token", _seconds(reply.ttft_seconds),
             reply.ttft_seconds, [o.ttft_seconds for o in others]),
        _bar("Speed", _speed(reply), reply.tokens_per_second,
             [o.tokens_per_second for o in others]),
        _bar("Memory", show_bytes(state.weights_bytes) if state.weights_bytes else "",
             state.weights_bytes, [s.weights_bytes for s in states]),
        _fact("Prompt", _prompt(reply)),
        _fact("Completion", _tokens(reply.completion_tokens)),
    ]  # fmt: skip
    told = [*reply.notes, *([state.note] if state.note else []), f"Seed {reply.seed}"]
    notes = "".join(f'<p class="reply-note">{escape(note)}</p>' for note in told)
    line = f'<p class="reply-line">{ended}</p>' if ended else ""
    more = f'<div class="compared-notes">{notes}</div>' if reason else ""
    return f'{line}<dl class="compared-figures">{"".join(rows)}</dl>{more}'


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _speed(reply: Generation) -> str:
    return "" if reply.tokens_per_second is None else f"{reply.tokens_per_second:.3g} tokens/s"


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"


def _prompt(reply: Generation) -> str:
    cached = f" ({reply.cached_tokens:,} cached)" if reply.cached_tokens else ""
    return f"{_tokens(reply.prompt_tokens)}{cached}"


def _fact(name: str, value: str) -> str:
    return f"<dt>{name}</dt><dd>{value}</dd>"


def _bar(name: str, words: str, value: float | None, all_values: Sequence[float | None]) -> str:
    """A figure, and how long it is beside the longest of all columns."""
    longest = max((v for v in all_values if v is not None), default=0)
    if not words or not value or not longest:
        return _fact(name, words or "–")
    return _fact(name, f'{words}<span class="compared-bar"><i style="width:{value / longest:.0%}">'
                       "</i></span>")  # fmt: skip


# --- what is said around them -------------------------------------------------------------------


def fit_note(plan: Plan, at: int) -> str:
    """What running one column would take, as HTML."""
    row, fit = plan.rows[at], plan.fits[at]
    if row is None or fit is None:
        return ""
    if not fit.fits:
        return present.problem(f"{row.title} in {fit.precision}: {fit.reason}")
    there = "in memory" if fit.loaded else f"{show_bytes(fit.weights_bytes)} to load"
    adapter = " onto its base" if row.base is not None and not fit.loaded else ""
    return f'<p class="hint">{fit.precision}, {there}{adapter}</p>'


def together(plan: Plan) -> str:
    """Whether the columns can run at the same time, as HTML; empty where they can."""
    if plan.together:
        return ""
    waves = [" and ".join(str(at + 1) for at in wave) for wave in plan.waves]
    return (
        '<p class="compared-order" role="status">These models do not fit in memory together, so '
        f"they run one after another: {', then '.join(waves)}.</p>"
    )


HEADS = ("Better", "Worse", "Ties", "All bad", "Blind", "Share")


def votes_table(rows: Sequence[Tally]) -> str:
    """The votes of this visit, as HTML."""
    if not rows:
        return '<p class="hint">No votes yet.</p>'
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Model", *HEADS))
    body = "".join(_votes_row(row) for row in rows)
    return (
        f'<table class="votes"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        '<p class="hint">Share: better, with ties counted half, of all that was decided.</p>'
    )


def _votes_row(row: Tally) -> str:
    share = "–" if row.share is None else f"{row.share:.0%}"
    bar = f'<span class="compared-bar"><i style="width:{row.share or 0:.0%}"></i></span>'
    counts = (row.better, row.worse, row.ties, row.all_bad, f"{row.blind} of {row.comparisons}")
    cells = zip(HEADS, (*counts, f"{share}{bar}"), strict=True)
    told = "".join(f'<td data-label="{name}">{words}</td>' for name, words in cells)
    named = f"{escape(row.model)} <span>{escape(row.precision)}</span>"
    return f'<tr><th scope="row">{named}</th>{told}</tr>'
