"""The values as public JSON: field names and shapes that clients rely on."""

import dataclasses
from typing import Any

from gemma_space.types import Generation, Scoring

# Fields that the page shows and the wire does not carry.
UPDATE_ONLY = {
    "notes",
    "tokens",
    "prompt_ids",
    "token_ids",
    "params",
    "base_revision",
    "place",
}  # of a Generation
PAGE_ONLY = {"lacks", "kv_bytes", "seconds_left", "bytes_per_second", "note"}


def as_json(value: Any) -> dict[str, Any]:
    """A frozen value as plain JSON: dataclasses to objects, tuples to lists."""
    return dataclasses.asdict(
        value,
        dict_factory=lambda pairs: {k: _told_id(k, v) for k, v in pairs if k not in PAGE_ONLY},
    )


def _told_id(name: str, value: Any) -> Any:
    """An id that a remote server did not tell is none."""
    return None if name == "id" and isinstance(value, int) and value < 0 else _plain(value)


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def generation_json(update: Generation, with_tokens: bool = False) -> dict[str, Any]:
    """A reply so far, as the public shape has it; `tokens` only where scores were asked for."""
    wire = {
        field.name: getattr(update, field.name)
        for field in dataclasses.fields(update)
        if field.name not in UPDATE_ONLY
    }
    if with_tokens:
        wire["tokens"] = [as_json(piece) for piece in update.tokens]
    return wire


def scoring_json(scoring: Scoring) -> dict[str, Any]:
    """The scores of a text, as the public shape has them."""
    wire = as_json(scoring)
    del wire["notes"], wire["total_tokens"]
    return wire
