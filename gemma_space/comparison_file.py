"""A comparison as a file: JSON for programs, Markdown for people.

Knows what is worth keeping of it: what was asked, what came, what it was made with, where replies
part. Columns are named as on the page. Holds nothing that the visitor did not see.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from gemma_space.comparison import ColumnState, Comparison, Exchange, parted
from gemma_space.divergence import Parting
from gemma_space.memory import show_bytes

FORMAT = "gemma-space/comparison"
VERSION = 1
LETTERS = "ABCD"


def as_json(comparison: Comparison) -> str:
    """Everything, token ids and resolved controls included."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "kind": comparison.kind,
        "blind": comparison.blind,
        "system_prompt": comparison.system_prompt,
        "add_bos": comparison.add_bos,
        "parse_special": comparison.parse_special,
        "exchanges": [_exchange(comparison, one) for one in comparison.exchanges],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _exchange(comparison: Comparison, exchange: Exchange) -> dict[str, Any]:
    states = comparison.places(exchange)
    found = parted(states)
    replies = [
        {
            "column": LETTERS[at],
            **_reply(state),
            "own_settings": comparison.columns[comparison.order[at]].own,
            "parts_from": _parting(found.reference, found.partings[at]),
        }
        for at, state in enumerate(states)
    ]
    return {"text": exchange.text, "replies": replies}


def _reply(state: ColumnState) -> dict[str, Any]:
    found = state.generation
    if found is None:
        return {"title": state.title, "problem": state.problem}
    return {
        "title": state.title,
        "model": found.model,
        "revision": found.revision,
        "base_revision": found.base_revision,
        "precision": found.precision,
        "text": found.text,
        "thinking": found.thinking,
        "finish_reason": found.finish_reason,
        "problem": state.problem,
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "cached_tokens": found.cached_tokens,
        "ttft_seconds": found.ttft_seconds,
        "tokens_per_second": found.tokens_per_second,
        "weights_bytes": state.weights_bytes,
        "controls": asdict(found.params) if found.params else None,
        "notes": [*found.notes, *([state.note] if state.note else [])],
        "token_ids": found.token_ids,
    }


def _parting(reference: int | None, found: Parting | None) -> dict[str, Any] | None:
    if reference is None or found is None:
        return None
    return {"column": LETTERS[reference], "how": found.kind, "same": found.count,
            "unit": found.unit}  # fmt: skip


def as_markdown(comparison: Comparison) -> str:
    """The texts and a table of what they cost."""
    parts = ["# Comparison"]
    if comparison.system_prompt:
        parts.append(f"## System prompt\n\n{_quoted(comparison.system_prompt)}")
    for exchange in comparison.exchanges:
        parts.append(f"## Prompt\n\n{_quoted(exchange.text)}")
        states = comparison.places(exchange)
        for letter, state in zip(LETTERS, states, strict=False):
            parts.append(f"### {letter}: {_name(state)}\n\n{_text(state)}")
        parts.append("\n".join(_table(states)))
    return "\n\n".join(parts) + "\n"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _name(state: ColumnState) -> str:
    found = state.generation
    return f"{state.title or 'no model'}, {found.precision}" if found else state.title or "no model"


def _text(state: ColumnState) -> str:
    text = state.generation.text if state.generation else ""
    return "\n\n".join(part for part in (text, f"*{state.problem}*" if state.problem else "")
                       if part)  # fmt: skip


def _table(states: tuple[ColumnState, ...]) -> Iterator[str]:
    yield "| | model | first token | tokens/s | memory | prompt | completion | ended |"
    yield "|---|---|---|---|---|---|---|---|"
    for letter, state in zip(LETTERS, states, strict=False):
        found = state.generation
        if found is None:
            yield f"| {letter} | {_cell(state.title)} | | | | | | no reply |"
            continue
        first = "" if found.ttft_seconds is None else f"{found.ttft_seconds:.2f} s"
        speed = "" if found.tokens_per_second is None else f"{found.tokens_per_second:.3g}"
        yield (
            f"| {letter} | {_cell(found.model)}, {found.precision} | {first} | {speed} | "
            f"{show_bytes(state.weights_bytes)} | {found.prompt_tokens:,} | "
            f"{found.completion_tokens:,} | {found.finish_reason or 'broken off'} |"
        )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
