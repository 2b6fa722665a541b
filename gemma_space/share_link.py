"""A prompt with its settings as the fragment of this page's address.

Knows what a link carries, how it is written, and how little of a link can be trusted. A browser
never sends a fragment to a server, so no log holds it. Does not know the page's address, and
carries no token and nothing that a server keeps.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from gemma_space import controls, limits, redaction
from gemma_space.errors import InvalidRequestError
from gemma_space.types import Controls, Precision, SamplingParams

VERSION = 1
PREFIX = "run="
MAX_CHARACTERS = 8000  # mail programs and chats cut longer addresses
MAX_NAME = 300
TOKEN_STARTS = ("hf_", "api_org_")
QUOTED = 40  # characters of an odd field's name


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrompt:
    """What a link carries.

    `controls` has only what differs from the checkpoint's defaults; see `differing`. The switches
    are those of `CompletionRequest`.
    """

    prompt: str
    model: str
    precision: Precision = Precision.AUTO
    add_bos: bool = True
    parse_special: bool = True
    controls: Controls = field(default_factory=Controls)


class _Link(BaseModel):
    """The JSON in a link; whatever is at its default is left out.

    The configuration holds for the controls inside, too.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    v: int
    prompt: str
    model: str = Field(min_length=1, max_length=MAX_NAME)
    precision: Precision = Precision.AUTO
    add_bos: bool = True
    parse_special: bool = True
    controls: Controls = Controls()


def differing(chosen: Controls, defaults: SamplingParams) -> Controls:
    """The controls without those that are the checkpoint's defaults anyway.

    A seed has no default: one that was given stays.
    """
    same = {
        name: None
        for name, value in asdict(chosen).items()
        if name not in ("seed", "stop", "ignore_eos") and value == getattr(defaults, name)
    }
    return replace(chosen, **same)


def encode(state: SharedPrompt) -> str:
    """A link's fragment, with its `#`: letters, digits, `-`, `_` and `=` only.

    Raises:
        InvalidRequestError: it would be too long for an address, holds what looks like a token of
            the Hub or is no Unicode text, or `read` would refuse it.
    """
    limits.check_size(state.prompt, state.model)
    given: dict[str, Any] = {"v": VERSION, "prompt": state.prompt, "model": state.model}
    for name in ("precision", "add_bos", "parse_special"):
        if getattr(state, name) != _Link.model_fields[name].default:
            given[name] = getattr(state, name)
    if told := _told(state.controls):
        given["controls"] = told
    text = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
    if any(_holds_token(part) for part in (state.prompt, state.model, *state.controls.stop)):
        raise InvalidRequestError(
            "The prompt holds what looks like a token of the Hub, which must not go into a link.",
            "Remove the token, then share the prompt.",
        )
    packed = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    fragment = f"#{PREFIX}{packed}"
    if len(fragment) > MAX_CHARACTERS:
        raise InvalidRequestError(
            f"The prompt is too long for a link: it would have {len(fragment):,} characters, and "
            f"at most {MAX_CHARACTERS:,} arrive everywhere.",
            "Save a capsule file and send that instead.",
        )
    read(fragment)  # what could not be read is not written
    return fragment


def _holds_token(text: str) -> bool:
    return any(f.group().startswith(TOKEN_STARTS) for f in redaction.SECRETS.finditer(text))


def _told(chosen: Controls) -> dict[str, Any]:
    """The controls that say something, by name."""
    silent = asdict(Controls())
    return {name: value for name, value in asdict(chosen).items() if value != silent[name]}


def read(text: object) -> SharedPrompt:
    """What a link carries, every part checked; whether the model is served here is not.

    Args:
        text: the fragment, with or without its `#` and `run=`.

    Raises:
        InvalidRequestError: it is damaged, of another version, or holds what no link of this app
            does.
        InvalidControlError: a control in it is out of its range.
    """
    link = _parse(_unpack(text))
    # Only for its checks: what a model and a deployer allow is known when it runs.
    longest = next(c for c in controls.CONTROLS if c.name == "max_new_tokens")
    controls.resolve(link.controls, controls.default_params({}, 1), int(longest.maximum))
    return SharedPrompt(
        prompt=link.prompt,
        model=link.model,
        precision=link.precision,
        add_bos=link.add_bos,
        parse_special=link.parse_special,
        controls=link.controls,
    )


def _unpack(text: object) -> bytes:
    if not isinstance(text, str):
        raise _damaged()
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequestError(
            f"This link is too long: at most {MAX_CHARACTERS:,} characters are read.",
            "Ask for the prompt as a capsule file.",
        )
    packed = text.removeprefix("#").removeprefix(PREFIX)
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _damaged() from None


def _parse(given: bytes) -> _Link:
    try:
        version = _version(from_json(given, allow_inf_nan=False))
    except ValueError:
        raise _damaged() from None
    if version != VERSION:
        raise InvalidRequestError(
            "This link was made by another version of Gemma Space and cannot be read here.",
            "Ask for the prompt itself.",
        )
    try:
        return _Link.model_validate_json(given, strict=True)
    except ValidationError as error:
        raise _refused(error) from None


def _version(value: object) -> object:
    if not isinstance(value, Mapping) or type(value.get("v")) is not int:
        raise ValueError("no link of this app")
    return value["v"]


def _damaged() -> InvalidRequestError:
    return InvalidRequestError(
        "This link is damaged: a part of it is missing or changed.", "Copy the whole link again."
    )


def _refused(error: ValidationError) -> InvalidRequestError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(first["loc"][-1] if first["loc"] else "")[:QUOTED]
    known = first["type"] not in ("extra_forbidden", "unexpected_keyword_argument")
    what = "cannot be used" if known else "is unknown here"
    return InvalidRequestError(
        f"“{name}” in this link {what}, so nothing of it was taken.", "Ask for the prompt itself."
    )
