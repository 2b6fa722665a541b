"""One line per request in the log: who asked for how much of what, how long it took, how it ended.

`name=value` pairs, values with blanks in JSON's quotes. Prompts are written only where the
deployer wants them. Knows how a line reads; `served` says what is told.
"""

import json
import logging
import re
import sys

from gemma_space.served import Served

NAME = "gemma_space.requests"
PLAIN = re.compile(r"[\w./:@+-]+")
MAX_PROMPT_CHARACTERS = 2000


class Journal:
    """Writes requests to the log.

    Args:
        with_prompts: whether what was asked is written too.
    """

    def __init__(self, with_prompts: bool = False) -> None:
        self._with_prompts = with_prompts
        self._log = logging.getLogger(NAME)

    def __call__(self, served: Served) -> None:
        """Write the line of a request that is over."""
        self._log.info("%s", line(served, self._with_prompts))


def line(served: Served, with_prompt: bool = False) -> str:
    """A request as a line; what is not known is left out."""
    told: dict[str, object] = {
        "request": served.request_id,
        "endpoint": served.endpoint,
        "model": served.model,
        "precision": served.precision,
        "finish_reason": served.outcome,
        "prompt_tokens": served.prompt_tokens,
        "cached_tokens": served.cached_tokens,
        "completion_tokens": served.completion_tokens,
        "seconds": round(served.seconds, 3),
        "waited_seconds": round(served.waited_seconds, 3),
    }
    if served.ttft_seconds is not None:
        told["ttft_seconds"] = round(served.ttft_seconds, 3)
    if served.tokens_per_second is not None:
        told["tokens_per_second"] = round(served.tokens_per_second, 1)
    if with_prompt:
        told["prompt"] = served.prompt[:MAX_PROMPT_CHARACTERS]
    return " ".join(f"{name}={_shown(str(value))}" for name, value in told.items())


def _shown(value: str) -> str:
    return value if PLAIN.fullmatch(value) else json.dumps(value)


def write_to_stderr() -> None:
    """Have the lines printed, with the time before each; once per process."""
    log = logging.getLogger(NAME)
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
