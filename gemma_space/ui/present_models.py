"""Models as words and HTML: the fit meter, the catalogue's list, what is chosen.

Pure functions; no Gradio. Knows how a checkpoint, its sizes and its fit read. Does not know where
they are shown, nor what a click on one of their buttons does: those carry `data-model` and
`data-precision` for whoever listens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from gemma_space import hub
from gemma_space import precision as rules
from gemma_space.catalog import DEMO_ADAPTER_ID, DEMO_REPO_ID, Checkpoint
from gemma_space.memory import show_bytes
from gemma_space.precision import FAMILY_TITLES
from gemma_space.reports import Fit, PrecisionFit
from gemma_space.types import Precision
from gemma_space.ui import present_access
from gemma_space.ui.present import LICENSES, format_context, format_count, sentences

YOURS, DEMO, HERE, OTHER = "Yours", "Demo", "On this machine", "Other"
# Groups of the list, as the catalogue orders the families.
GROUPS = (
    YOURS, DEMO, HERE,
    *(FAMILY_TITLES[family] for family in ("gemma3", "gemma4", "gemma3n", "gemma2", "gemma1")),
    OTHER,
)  # fmt: skip
KINDS = {"base": "Base", "instruct": "Instruct", "adapter": "Adapter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A checkpoint in the list: what each precision takes, and those it is in memory in.

    `has_token`: some token acts for the visitor, so that the Hub is asked about access.
    """

    row: Checkpoint
    fits: dict[str, PrecisionFit]
    loaded: tuple[str, ...] = ()
    typed: bool = False
    has_token: bool = False


# --- the fit meter ------------------------------------------------------------------------------


def fit_meter(fit: Fit, wanted: Precision, alone: bool = False) -> str:
    """What loading the chosen model would mean, as HTML.

    Args:
        wanted: what was chosen; `auto` is explained.
        alone: no other model is in memory.
    """
    if fit.precision is Precision.AS_SERVED:
        return _served(fit)
    told = [_verdict(fit)]
    if wanted is Precision.AUTO:
        told.append(escape(fit.note) or f"auto means {fit.precision} here.")
    shown = "".join(f"<p>{sentence}</p>" for sentence in told if sentence)
    return (
        f'<div class="fit fit-{_state(fit)}" role="group" aria-label="Memory">'
        f"{_head(fit)}{_bar(fit, alone)}{shown}{_instead(fit)}</div>"
    )


def _served(fit: Fit) -> str:
    """Another server's model: whether it can be used, and what cannot be had there."""
    mark = "● Ready" if fit.fits else "✕ Not there"
    lacks = "".join(f"<li>{escape(sentence)}</li>" for sentence in fit.lacks)
    listed = (
        f'<details class="lacks"><summary>Not available here</summary><ul>{lacks}</ul></details>'
    )
    return (
        f'<div class="fit fit-{_state(fit)}" role="group" aria-label="Server">'
        f'<p class="fit-head"><b>{mark}</b> <span>{fit.precision}</span></p>'
        f"<p>{escape(fit.reason)}</p>{listed * bool(lacks)}</div>"
    )


def _state(fit: Fit) -> str:
    return "loaded" if fit.loaded else "fits" if fit.fits else "too-large"


def _total(fit: Fit) -> int:
    return fit.weights_bytes + fit.kv_bytes


def _head(fit: Fit) -> str:
    mark = {"loaded": "● In memory", "fits": "✓ Fits", "too-large": "✕ Does not fit"}[_state(fit)]
    there = show_bytes(fit.budget_bytes)
    needs = show_bytes(_total(fit)).removesuffix(there[there.rindex(" ") :])  # "8.3 of 18.8 GiB"
    return (
        f'<p class="fit-head"><b>{mark}</b> <span>{fit.precision}</span>'
        f'<span class="fit-needs">{needs} of {there}</span></p>'
    )


def _verdict(fit: Fit) -> str:
    if fit.evicts:
        *most, last = fit.evicts
        return escape(f"{', '.join(most)} and {last}" if most else last) + " would leave."
    return escape(fit.reason)


def _instead(fit: Fit) -> str:
    if fit.fits:
        return ""
    if not fit.instead:
        return "<p>No other precision of it fits right now.</p>"
    buttons = "".join(
        f'<button type="button" class="pill" data-precision="{name}">Use {name}</button>'
        for name in fit.instead
    )
    return f'<p class="fit-instead"><span>These fit:</span>{buttons}</p>'


def _bar(fit: Fit, alone: bool) -> str:
    """The memory there is, with what stays, the weights and the cache in it, and a key."""
    others = fit.taken_bytes
    if fit.loaded:  # what is taken counts this model too; sizes are estimates
        others = 0 if alone else max(0, others - _total(fit))
    parts = (
        ("kept", "Stays in memory", others),
        ("weights", "Weights", fit.weights_bytes),
        ("kv", f"KV cache, {format_context(fit.tokens)} tokens", fit.kv_bytes),
    )
    shown = [part for part in parts if part[2]]
    end = max(fit.budget_bytes, others + _total(fit), 1)
    segments = "".join(
        f'<span class="{name}" style="width:{size / end:.2%}"></span>' for name, _, size in shown
    )
    if end > fit.budget_bytes:  # drawn over the end of the others
        left = fit.budget_bytes / end
        segments += f'<span class="beyond" style="left:{left:.2%}"></span>'
        shown.append(("beyond", "Beyond what there is", end - fit.budget_bytes))
    key = "".join(
        f'<li><i class="{name}"></i>{words} <b>{show_bytes(size)}</b></li>'
        for name, words, size in shown
    )
    spoken = ", ".join(f"{words} {show_bytes(size)}" for _, words, size in shown)
    label = f"Of {show_bytes(fit.budget_bytes)} for models: {spoken}"
    return (
        f'<div class="fit-bar" role="img" aria-label="{label}">{segments}</div>'
        f'<ul class="fit-key">{key}</ul>'
    )


# --- what is chosen -----------------------------------------------------------------------------


def headline(row: Checkpoint) -> str:
    """The chosen model's title and what a visitor should know about it, as HTML."""
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences(row))
    return f'<h3>{escape(row.title)}</h3><div class="headline-notes">{told}</div>'


def only_precision(row: Checkpoint) -> str:
    """Why there is nothing to choose, one sentence; empty where there is."""
    if len(row.precisions) != 1:
        return ""
    served = (Precision.AUTO, Precision.AS_SERVED)
    refused = next(p for p in Precision if p not in (*served, *row.precisions))
    return rules.refusal(row, refused)


# --- the list -----------------------------------------------------------------------------------


def group(row: Checkpoint, typed: bool = False) -> str:
    """The heading a checkpoint stands under."""
    if typed:
        return YOURS
    if row.repo_id in (DEMO_REPO_ID, DEMO_ADAPTER_ID):
        return DEMO
    if row.is_local:
        return HERE
    return FAMILY_TITLES.get(row.family, OTHER)


def model_list(lines: Sequence[Line], tokens: int) -> str:
    """The catalogue as HTML, grouped; every row carries what the page's filter looks at."""
    groups = []
    for title in GROUPS:
        rows = "".join(
            _line(line, tokens) for line in lines if group(line.row, line.typed) == title
        )
        if rows:
            groups.append(
                f'<section data-group="{title}"><h3>{title}</h3><ul class="models">{rows}</ul>'
                "</section>"
            )
    return (
        '<p class="hint models-keys">Arrow keys move through the list.</p>'
        f'<p class="models-count" role="status">{_count(len(lines))}</p>{"".join(groups)}'
        '<p class="models-none" hidden>No model matches. Clear the search or choose another '
        "family.</p>"
    )


def _count(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _line(line: Line, tokens: int) -> str:
    row = line.row
    fitting = any(fit.fits for fit in line.fits.values())
    buttons = "".join(
        _precision_button(line, Precision(name), fit, tokens) for name, fit in line.fits.items()
    )
    return (
        f'<li class="model" data-model="{escape(row.repo_id)}" data-fits="{int(fitting)}">'
        f'<div class="model-about"><p class="model-title">{escape(row.title)}'
        f"{_in_memory(line)}</p>"
        f'<p class="model-id">{_identity(row)}</p>{_facts(row, line.has_token)}</div>'
        f'<div class="precisions" role="group" aria-label="{escape(row.title)}">{buttons}</div>'
        "</li>"
    )


def _in_memory(line: Line) -> str:
    if not line.loaded or line.row.is_remote:
        return ""
    return f' <span class="in-memory">in memory: {escape(", ".join(line.loaded))}</span>'


def _identity(row: Checkpoint) -> str:
    name = escape(row.repo_id)
    if row.is_local or row.is_remote:
        return f"<span>{name}</span>"
    page = escape(hub.repo_url(row.repo_id))
    return f'<a href="{page}" target="_blank" rel="noopener">{name}</a>'


def _facts(row: Checkpoint, has_token: bool) -> str:
    kind = f"Adapter of {row.base.title}" if row.base is not None else KINDS[row.variant]
    numbers = (f"{format_count(row.parameters)} parameters" * bool(row.parameters),
               f"{format_context(row.context_length)} tokens of context")  # fmt: skip
    access = f"<span data-access>{present_access.unasked(row, has_token)}</span>"
    terms = (escape(LICENSES.get(row.license, row.license)), access, escape(kind))
    return "".join(
        f'<p class="model-facts">{" · ".join(filter(None, facts))}</p>'
        for facts in (numbers, terms)
    )


def _precision_button(line: Line, name: Precision, fit: PrecisionFit, tokens: int) -> str:
    refused = bool(rules.refusal(line.row, name))
    state, words = (
        ("loaded", "ready") if name is Precision.AS_SERVED and fit.fits
        else ("too-large", "not there") if name is Precision.AS_SERVED
        else ("loaded", "in memory") if name in line.loaded
        else ("refused", "not offered") if refused
        else ("fits", "fits") if fit.fits
        else ("too-large", "too large")
    )  # fmt: skip
    title = fit.reason or f"{_parts(line.row, fit, tokens)}."
    size = "–" if refused else show_bytes(fit.weights_bytes + fit.kv_bytes)
    if name is Precision.AS_SERVED:
        size, title = "", fit.reason or "It is on another server."
    return (
        f'<button type="button" class="precision {state}" data-precision="{name}" '
        f'title="{escape(title)}"><b>{name}</b> <span>{size}</span> '
        f"<small>{words}</small></button>"
    )


def _parts(row: Checkpoint, fit: PrecisionFit, tokens: int) -> str:
    weights = f"{show_bytes(fit.weights_bytes)} of weights"
    if not fit.kv_bytes:
        return weights
    length = format_context(min(tokens, row.context_length))
    return f"{weights} and {show_bytes(fit.kv_bytes)} for a conversation of {length} tokens"
