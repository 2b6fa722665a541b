"""The replay capsule: a finished run as a document that can be run again, here or elsewhere.

Knows the document's shape, how to read one that a stranger wrote, and how to ask for the same run
again, by ids. How a run and its capsule differ is told in `replay`. Holds what the visitor saw:
no token, no path of the server's but a folder that its deployer serves under that name.
"""

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gemma_space import controls
from gemma_space.errors import InvalidRequestError
from gemma_space.runs import Run
from gemma_space.surroundings import Surroundings
from gemma_space.types import (
    Attention,
    CompletionRequest,
    Controls,
    FinishReason,
    Precision,
)

FORMAT = "gemma-space/replay-capsule"
VERSION = 1
NO_JSON = "This is no JSON, so it is no replay capsule."
MAX_BYTES = 16 << 20  # a full window of the largest model, as ids and as text, is a third of it
_LIST_OF_NUMBERS = re.compile(r"\[\n\s+([\d,\s]+?)\n\s+\]")  # no string in JSON has a line's end

P = TypeVar("P", bound=BaseModel)
Name = Annotated[str, StringConstraints(max_length=1000)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """Strict: what is not exactly right is refused, so that nothing is replayed by half."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class CapsuleModel(_Part):
    """What ran; the precision is resolved."""

    repo_id: Name
    revision: Name
    base_revision: Name
    precision: Literal["fp32", "bf16", "fp16", "int8", "int4"]
    attention: Attention
    template_sha256: Name


class CapsuleControls(_Part):
    """The controls as they were used; ranges are those of `controls.CONTROLS`."""

    max_new_tokens: int
    temperature: Number
    top_p: Number
    top_k: int
    min_p: Number
    typical_p: Number
    repetition_penalty: Number
    no_repeat_ngram_size: int
    seed: int
    stop: tuple[str, ...]
    ignore_eos: bool

    def wanted(self) -> Controls:
        """As they are asked for."""
        return Controls(**self.model_dump())


class CapsuleInput(_Part):
    """What the model was given: `ids` decide, `prompt` is what was typed."""

    prompt: str
    add_bos: bool
    parse_special: bool
    ids: Annotated[tuple[TokenId, ...], Field(min_length=1)]
    begins_with: tuple[TokenId, ...]


class CapsuleOutput(_Part):
    """What the model wrote, stop token left out, with what it began with."""

    ids: tuple[TokenId, ...]
    text: str
    finish_reason: FinishReason


class Capsule(_Part):
    """A finished run, all values resolved."""

    format: Literal["gemma-space/replay-capsule"]
    version: Literal[1]
    created: AwareDatetime
    model: CapsuleModel
    device: Name
    versions: dict[Name, Name]
    controls: CapsuleControls
    input: CapsuleInput
    output: CapsuleOutput

    def request(self, logprobs: int = 0) -> CompletionRequest:
        """Ask for exactly this again, by ids.

        Args:
            logprobs: alternatives to report per token, which changes no token.
        """
        return CompletionRequest(
            prompt=self.input.prompt,
            model=self.model.repo_id,
            precision=Precision(self.model.precision),
            attention=self.model.attention,
            controls=self.controls.wanted(),
            add_bos=self.input.add_bos,
            parse_special=self.input.parse_special,
            logprobs=logprobs,
            token_ids=self.input.ids,
            begins_with=self.input.begins_with,
        )

    def surroundings(self) -> Surroundings:
        """What the run depended on beside what was asked."""
        return Surroundings(
            device=self.device,
            template_sha256=self.model.template_sha256,
            versions=self.versions,
            base_revision=self.model.base_revision,
        )


def to_json(run: Run, now: Surroundings, created: datetime | None = None) -> str:
    """A finished run's capsule.

    Args:
        now: what it ran with, see `surroundings.present`.
        created: left out: this moment.
    """
    generation, request, params = run.generation, run.request, run.generation.params
    assert params is not None  # every update of a playground has them
    document = {
        "format": FORMAT,
        "version": VERSION,
        "created": (created or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds"),
        "model": {
            "repo_id": generation.model,
            "revision": generation.revision,
            "base_revision": now.base_revision,
            "precision": generation.precision,
            "attention": str(request.attention),
            "template_sha256": now.template_sha256,
        },
        "device": now.device,
        "versions": dict(now.versions),
        "controls": asdict(params),
        "input": {
            "prompt": request.prompt,
            "add_bos": request.add_bos,
            "parse_special": request.parse_special,
            "ids": generation.prompt_ids,
            "begins_with": request.begins_with,
        },
        "output": {
            "ids": generation.token_ids,
            "text": generation.text,
            "finish_reason": generation.finish_reason or "cancelled",
        },
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return _LIST_OF_NUMBERS.sub(lambda m: "[" + " ".join(m[1].split()) + "]", text) + "\n"


class _Head(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    format: str = ""
    version: int = 0


def read(document: str | bytes) -> Capsule:
    """A capsule as somebody else may have written it.

    Raises:
        InvalidRequestError: too large, no JSON, no capsule, of another version, or with a part
            that is not as it should be; the part is named.
    """
    body = _as_bytes(document)
    head = _parsed(_Head, body)
    if head.format != FORMAT:
        raise _no_capsule("This is JSON, but no replay capsule.")
    if head.version != VERSION:
        found = head.version if 0 < head.version < 1000 else "nobody knows of"
        raise InvalidRequestError(
            f"This capsule has a version {found}; version {VERSION} is read here.",
            "Open it where it was made, or with a newer version of this app.",
        )
    capsule = _parsed(Capsule, body)
    _check_controls(capsule.controls)
    return capsule


def _as_bytes(document: str | bytes) -> bytes:
    try:
        body = document.encode() if isinstance(document, str) else document
    except UnicodeEncodeError:
        raise _no_capsule(NO_JSON) from None
    if len(body) > MAX_BYTES:
        raise _no_capsule(f"The file has {len(body):,} bytes; a capsule has at most {MAX_BYTES:,}.")
    return body


def _parsed(kind: type[P], body: bytes) -> P:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        raise _no_capsule(NO_JSON)
    if kind is _Head:
        raise _no_capsule("This is JSON, but no replay capsule.")
    where = "".join(c for c in ".".join(map(str, first["loc"])) if c.isprintable())[:80]
    told = first["msg"][:1].lower() + first["msg"][1:200]
    raise InvalidRequestError(
        f"This capsule's “{where}” cannot be read: {told}.",
        "Open the file as it was saved; it may have been changed since.",
    )


def _no_capsule(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, "Open a file that was saved as a replay capsule here.")


def _check_controls(given: CapsuleControls) -> None:
    """Refuse what could not be asked for.

    Raises:
        InvalidControlError: naming the control, its range and the value.
    """
    most = next(int(c.maximum) for c in controls.CONTROLS if c.name == "max_new_tokens")
    controls.resolve(given.wanted(), controls.default_params({}, most), most)
