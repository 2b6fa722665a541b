"""Domain values as words, for people. Pure functions; no Gradio, no HTML but what `escape` made.

Knows how a byte count, a load, a reply and a machine read. Does not know where they are shown.
"""

import math
import re
from collections.abc import Sequence
from html import escape

from gemma_space.catalog import DEMO_ADAPTER_ID, DEMO_REPO_ID, Checkpoint
from gemma_space.memory import show_bytes
from gemma_space.reports import LoadProgress, Status
from gemma_space.types import FinishReason, Generation
from gemma_space.ui.transcript import Footer, Turn

REASONS: dict[FinishReason, str] = {
    "stop": "Ended its turn",
    "length": "Reached the token limit",
    "stop_string": "Met a stop string",
    "time_limit": "Reached this server's time limit",
    "cancelled": "Stopped by you",
}
LICENSES = {"gemma": "Gemma Terms of Use", "apache-2.0": "Apache 2.0"}
STOPPED = REASONS["cancelled"]
THOUGHT_AWAY = (
    "Thinking took the whole token limit: raise Max new tokens or switch Thinking off, "
    "then try again"
)
FAILED = "Broken off by an error"
VARIANTS = {
    "base": "Base model: it continues text and was not trained to chat.",
    "adapter": "LoRA adapter: a small file of changes, attached to its base while you use it.",
}
# What ends a sentence does not belong to an address.
_ADDRESS = re.compile(r"https?://[^\s<>\"']*[^\s<>\"'.,;:!?)]")


def format_count(count: int) -> str:
    """A parameter or token count in three digits: 2.61 B, 270 M, 4.0 M, 512."""
    for size, unit in ((1_000_000_000, "B"), (1_000_000, "M")):
        if count >= 0.9995 * size:  # or it would round to 1000 of the smaller unit
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{count:,}"


def format_context(tokens: int) -> str:
    """A context length the way model cards write it: 8K, 128K, 1,000."""
    return f"{tokens // 1024}K" if tokens >= 1024 and tokens % 1024 == 0 else f"{tokens:,}"


def choice_label(row: Checkpoint) -> str:
    """A checkpoint in the model list: its title and what sets it apart."""
    marks = [
        mark
        for mark, applies in (
            ("demo", row.repo_id == DEMO_REPO_ID),
            ("remote", row.is_remote),
            ("local", row.is_local and row.repo_id not in (DEMO_REPO_ID, DEMO_ADAPTER_ID)),
            ("base", row.variant == "base" and "base" not in row.title.lower()),
            ("adapter", row.variant == "adapter"),
            ("gated", row.gated),
        )
        if applies
    ]
    return f"{row.title} · {', '.join(marks)}" if marks else row.title


def model_note(row: Checkpoint) -> str:
    """What a visitor should know about a checkpoint before choosing it, as HTML."""
    facts = (
        f"{format_count(row.parameters)} parameters" * bool(row.parameters),
        f"{format_context(row.context_length)} tokens of context",
        LICENSES.get(row.license, row.license),
    )
    listed = "".join(f"<li>{escape(fact)}</li>" for fact in facts if fact)
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences(row))
    return f'<ul class="facts">{listed}</ul>{told}'


def sentences(row: Checkpoint) -> tuple[str, ...]:
    """What a visitor should know about a checkpoint beside its numbers."""
    return tuple(text for text in (row.note, VARIANTS.get(row.variant, "")) if text)


def looking(name: str) -> str:
    """What stands in for a model that was named, until it is known whether there is one."""
    return f'<p class="hint" role="status">Looking at {escape(name[:100])}…</p>'


def withheld(name: str) -> str:
    """What stands in for a model that this visitor may not look at."""
    return f'<p class="hint">What {escape(name[:100])} is cannot be told without access.</p>'


def found(title: str) -> str:
    """That a model which was named is there."""
    return f'<p class="hint" role="status">{escape(title)} is chosen.</p>'


def load_words(progress: LoadProgress, title: str) -> str:
    """Where a load stands, in one line."""
    if progress.phase == "access":
        return progress.note or f"Asking for access to {title}…"
    if progress.note and not progress.total_bytes and progress.phase == "load":
        return progress.note
    if progress.phase == "ready":
        return f"{title} is ready."
    verb = "Downloading" if progress.phase == "download" else "Loading"
    if not progress.total_bytes:
        return f"{verb} {title}… {progress.note}".rstrip()
    done, total = show_bytes(progress.done_bytes), show_bytes(progress.total_bytes)
    done = done.removesuffix(total[total.rindex(" ") :])  # "7 of 8 MB", "900 KB of 8 MB"
    told = [f"{verb} {title}… {done} of {total}"]
    if progress.note:
        return f"{told[0]}. {progress.note}"
    if progress.bytes_per_second is not None:
        told.append(f"{show_bytes(progress.bytes_per_second)}/s")
    if progress.seconds_left is not None:
        told.append(time_left(progress.seconds_left))
    return ", ".join(told)


def time_left(seconds: float) -> str:
    """How long something will take, no more exactly than anybody knows."""
    if seconds > 90 * 60:
        return f"about {round(seconds / 3600)} h left"
    if seconds > 90:
        return f"about {round(seconds / 60)} min left"
    if seconds > 10:
        return f"about {round(seconds / 10) * 10} s left"
    return f"about {max(1, math.ceil(seconds))} s left"


def load_fraction(progress: LoadProgress) -> float | None:
    """How much of the phase at hand is done; None when nobody knows."""
    if not progress.total_bytes:
        return None
    return min(1.0, progress.done_bytes / progress.total_bytes)


def load_bar(progress: LoadProgress, title: str) -> str:
    """A load as HTML: a line and a bar."""
    words = escape(load_words(progress, title))
    fraction = load_fraction(progress)
    value = "" if fraction is None else f' value="{fraction:.3f}"'
    bar = f'<progress{value} aria-label="{words}"></progress>'
    return f'{LOAD} role="status">{words}{bar}</div>'


def problem(text: str) -> str:
    """An error's sentence as HTML."""
    return f'{_PROBLEM} role="alert">{linked(text)}</p>'


def aside(text: str) -> str:
    """A sentence about what is missing and not in the way, as HTML."""
    return f'<p class="hint" role="status">{linked(text)}</p>'


def is_problem(shown: str | None) -> bool:
    """Whether this is what `problem` made."""
    return _PROBLEM in (shown or "")


def linked(text: str) -> str:
    """A text as HTML in which each address is a link that shows where it leads."""

    def link(found: re.Match[str]) -> str:
        address = found.group()
        shown = address.partition("://")[2].partition("?")[0]
        return f'<a href="{escape(address)}" target="_blank" rel="noopener">{escape(shown)}</a>'

    parts, at = [], 0
    for found in _ADDRESS.finditer(text):
        parts += [escape(text[at : found.start()]), link(found)]
        at = found.end()
    return "".join((*parts, escape(text[at:])))


def stats(generation: Generation) -> list[str]:
    """What a reply cost, as short phrases."""
    prompt = f"{generation.prompt_tokens:,} prompt"
    if generation.cached_tokens:
        prompt += f" ({generation.cached_tokens:,} cached)"
    read = f"{prompt} + " * bool(generation.prompt_tokens)  # a server counts when it is done
    words = [f"{read}{generation.completion_tokens:,} new tokens"]
    if generation.ttft_seconds is not None:
        words.append(f"first after {generation.ttft_seconds:.2f} s")
    if generation.tokens_per_second is not None:
        words.append(f"{generation.tokens_per_second:.3g} tokens/s")
    return words


def waiting() -> Footer:
    """What stands in for a reply of which nothing is known yet."""
    return Footer(title="Waiting for the model…", pending=True)


def queue_words(place: int) -> str:
    """Where a request stands among those that wait, in words; 1 is the next."""
    return f"Waiting: {place - 1} before you…" if place > 1 else "Waiting: you are next…"


def reply(generation: Generation) -> Turn:
    """A reply so far, with what it cost and, at its end, why it ended."""
    reason = generation.finish_reason
    busy = "Writing…" if generation.text else "Thinking…" if generation.thinking else "Reading…"
    if generation.place:
        busy = queue_words(generation.place)
    thought_away = reason == "length" and generation.thinking and not generation.text
    title = THOUGHT_AWAY if thought_away else REASONS[reason] if reason else busy
    made_by = f"{generation.model} · {generation.precision} · seed {generation.seed}"
    return Turn(
        role="assistant",
        text=generation.text,
        thinking=generation.thinking,
        footer=Footer(
            title=title,
            log=" · ".join(stats(generation)),
            # Gradio unfolds a note that is pending; what it hides comes with the end.
            detail="\n\n".join((*generation.notes, made_by)) if reason else "",
            pending=reason is None,
        ),
    )


def was_cut(footer: Footer | None) -> bool:
    """Whether the reply ended before the model meant it to, so that it can be continued."""
    return footer is None or footer.title in (
        REASONS["length"],
        REASONS["time_limit"],
        STOPPED,
        FAILED,
    )


def context_meter(used: int, limit: int) -> str:
    """How much of the context window the conversation takes, as HTML."""
    return meter(used, limit, f"{used:,} of {limit:,} tokens of context", used >= 0.9 * limit)


LOAD = '<div class="load"'
_PROBLEM = '<p class="problem"'


def status_lines(status: Status, titles: dict[str, str]) -> str:
    """The machine and what is in its memory, as HTML."""
    total, free = show_bytes(status.memory_total_bytes), ""
    if status.memory_total_bytes:  # of another server's memory nothing is known
        free = f" · {show_bytes(status.memory_free_bytes)} of {total} free"
    rows = "".join(
        f"<li><b>{escape(titles.get(row.repo_id, row.repo_id))}</b> "
        f"{escape(row.precision)}{f' · {show_bytes(row.nbytes)}' * bool(row.nbytes)}</li>"
        for row in status.loaded
    )
    loaded = (
        f"<ul>{rows}</ul>" if rows else "<p>No model in memory. The first message loads one.</p>"
    )
    waiting = f" · {status.queue} running or waiting" if status.queue else ""
    return (
        f'<div class="status-card" role="status">{loaded}'
        f'<p class="machine">{escape(status.device)}{free}{waiting}</p></div>'
    )


def meter(count: int, limit: int, words: str, tight: bool) -> str:
    """How much of a limit is used, as HTML: a bar and words."""
    share = min(1.0, count / limit) if limit else 0.0
    return (
        f'<div class="context-meter{" nearly-full" if tight else ""}">'
        f'<span class="meter-bar"><span style="width:{share:.1%}"></span></span>'
        f'<span class="meter-text">{words}</span></div>'
    )


def precision_choices(names: Sequence[str]) -> list[tuple[str, str]]:
    """Precision names with what they mean."""
    meanings = {
        "auto": "auto · the best that fits",
        "fp32": "fp32 · 4 bytes per weight",
        "bf16": "bf16 · 2 bytes per weight",
        "fp16": "fp16 · 2 bytes per weight",
        "int8": "int8 · 1 byte per weight",
        "int4": "int4 · half a byte per weight",
    }
    return [(meanings.get(name, name), name) for name in names]
