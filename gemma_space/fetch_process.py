"""A process at one attempt to fetch files: started, heard, ended.

Knows what surrounds `fetching` and how it is stopped. Does not know what its lines mean.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gemma_space import hub
from gemma_space.environment import TOKEN_VARIABLES

END_SECONDS = 10.0  # for a tidy end, which leaves no part of a file; then it is killed


@contextlib.contextmanager
def attempt(
    job: Mapping[str, Any], plain_http: bool
) -> Iterator["queue.Queue[dict[str, Any] | None]"]:
    """A process at the download, as the lines it tells; None after the last. Ends with the block.

    The token goes in through stdin: neither arguments nor environment show it.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "gemma_space.fetching"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=_environment(plain_http), text=True, encoding="utf-8",
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    lines: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def listen(told: Any) -> None:
        for line in told:
            with contextlib.suppress(ValueError):
                lines.put(json.loads(line))
        lines.put(None)

    threading.Thread(target=listen, args=(process.stdout,), daemon=True).start()
    try:
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps({**job, "cache": hub.cache()}) + "\n")
            process.stdin.flush()
        yield lines
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(plain_http: bool) -> dict[str, str]:
    """The process's surroundings: this package, this Hub, and nobody's token."""
    environment = {k: v for k, v in os.environ.items() if k not in TOKEN_VARIABLES}
    package = str(Path(__file__).resolve().parent.parent)
    path = filter(None, (package, environment.get("PYTHONPATH")))
    environment |= {"PYTHONPATH": os.pathsep.join(path), "HF_ENDPOINT": hub.endpoint()}
    if plain_http:
        environment["HF_HUB_DISABLE_XET"] = "1"
    return environment
