"""What a run depends on beside what was asked: device, library versions, chat template.

Knows how to find out about this process without importing the libraries.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

from gemma_space.types import Precision

LIBRARIES = ("torch", "transformers", "tokenizers")
QUANTIZED = (Precision.INT8, Precision.INT4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a run depends on beside what was asked.

    Attributes:
        device: by its name, as the status says it.
        template_sha256: of the tokenizer's chat template; empty where it has none.
        versions: of Python and the libraries that compute.
        base_revision: commit of an adapter's base; empty where there is none, or it is a folder.
    """

    device: str
    template_sha256: str
    versions: Mapping[str, str]
    base_revision: str = ""


def present(device: str, tokenizer: Any, precision: str, base_revision: str = "") -> Surroundings:
    """What this process would run with now; imports none of the libraries.

    Args:
        tokenizer: the model's own.
        precision: resolved; bitsandbytes is told of only where it computes.
    """
    names = (*LIBRARIES, "bitsandbytes") if precision in QUANTIZED else LIBRARIES
    return Surroundings(
        device=device,
        template_sha256=_sha256(getattr(tokenizer, "chat_template", None)),
        versions={"python": python_version(), **{name: _version(name) for name in names}},
        base_revision=base_revision,
    )


def _sha256(template: object) -> str:
    if not template:
        return ""
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
