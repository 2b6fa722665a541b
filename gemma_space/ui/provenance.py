"""What a reply was made from, in few enough words to be kept with it.

Knows the record that travels in a reply's footer and in the browser's storage, and how to ask
once more for the prompt it speaks of. It holds no ids, only their hash: that tells whether a
prompt rendered again is the same one. No Gradio, no playground.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from gemma_space.types import ChatRequest, Controls, Generation, Message

SYSTEM_KEPT = 4000  # characters; each reply has a copy
MAX_TEXT = 300
_OPTIONAL = {"system_prompt": str, "thinking": bool}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The record of one reply.

    Attributes:
        model, revision, precision, seed: what wrote it.
        tokens: how many ids the model was given.
        digest: `digest_of` these ids.
        max_new_tokens: the room kept for the reply, which decides what is left out.
        prefix_length: how many characters the reply already had (Continue).
        system_prompt: None where it is too long to be kept with every reply.
        thinking: as in the request; None leaves it to the template.
        edited: whether a person has changed the reply since.
    """

    model: str
    revision: str
    precision: str
    seed: int
    tokens: int
    digest: str
    max_new_tokens: int
    prefix_length: int = 0
    system_prompt: str | None = ""
    thinking: bool | None = None
    edited: bool = False


def digest_of(ids: Sequence[int]) -> str:
    """SHA-256 of ids, in hexadecimal."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def record(request: ChatRequest, generation: Generation) -> Provenance | None:
    """What to keep with the reply to a request; None where its prompt is not known."""
    if not generation.prompt_ids or generation.params is None:
        return None
    system = request.system_prompt
    return Provenance(
        model=generation.model,
        revision=generation.revision,
        precision=generation.precision,
        seed=generation.seed,
        tokens=len(generation.prompt_ids),
        digest=digest_of(generation.prompt_ids),
        max_new_tokens=generation.params.max_new_tokens,
        prefix_length=len(request.reply_prefix),
        system_prompt=system if len(system) <= SYSTEM_KEPT else None,
        thinking=request.thinking,
    )


def asked_again(
    kept: Provenance, messages: tuple[Message, ...], reply: str, now: ChatRequest, limit: int
) -> ChatRequest:
    """The request that a record speaks of, to be rendered once more.

    Args:
        messages: what stands before the reply today.
        reply: its text today.
        now: what would be asked today; it has the system prompt where that was not kept.
        limit: the most new tokens a reply may have today.
    """
    system = now.system_prompt if kept.system_prompt is None else kept.system_prompt
    return replace(
        now,
        messages=messages,
        model=kept.model,
        system_prompt=system,
        reply_prefix=reply[: kept.prefix_length],
        thinking=kept.thinking,
        controls=Controls(max_new_tokens=min(kept.max_new_tokens, limit)),
    )


def to_json(kept: Provenance) -> dict[str, Any]:
    """The record as plain JSON, without what is as usual."""
    usual = {field.name: field.default for field in fields(Provenance)}
    return {name: value for name, value in asdict(kept).items() if value != usual[name]}


def from_json(value: object) -> Provenance | None:
    """A record that was kept; None where it is not one, whoever wrote it."""
    if not isinstance(value, Mapping):
        return None
    known = {field.name: field.type for field in fields(Provenance)}
    given = {name: value[name] for name in known if name in value}
    if not all(_fits(name, known[name], item) for name, item in given.items()):
        return None
    try:
        return Provenance(**given)
    except TypeError:  # something is missing
        return None


def _fits(name: str, kind: Any, item: object) -> bool:
    if name in _OPTIONAL:
        if item is None:
            return True
        kind = _OPTIONAL[name]
    if type(item) is not kind:  # True is no number here
        return False
    if isinstance(item, str):
        return len(item) <= (SYSTEM_KEPT if name == "system_prompt" else MAX_TEXT)
    return not isinstance(item, int) or item >= 0


def to_text(kept: Provenance) -> str:
    """The record on one line."""
    return json.dumps(to_json(kept), separators=(",", ":"))


def from_text(text: object) -> Provenance | None:
    """What `to_text` was given; None where it is something else."""
    if not isinstance(text, str):
        return None
    try:
        return from_json(json.loads(text))
    except (ValueError, RecursionError):
        return None
