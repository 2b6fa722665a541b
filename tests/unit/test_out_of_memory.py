"""Memory that really runs out: the visitor reads a sentence, and the next one is served.

A process of its own is limited to a little more address space than it has in use, and says what
happened; nothing is simulated.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from gemma_space.access import Access
from gemma_space.environment import set_library_defaults
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.types import CompletionRequest, Controls, Generation, Precision
from tests import large_checkpoint
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub

# Megabytes beside what is in use, from "not even the file's map" to "all but the last weights";
# in fp32 the checkpoint takes 136.
TOO_LITTLE = (20, 75, 100, 130)
REPO = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux keeps to RLIMIT_AS"
)


@pytest.fixture(scope="module")
def told(checkpoints: Checkpoints) -> list[dict[str, Any]]:
    """What the other process prints: a line for each of `TOO_LITTLE`, then one for a reply."""
    folders = (
        checkpoints.variant("large", large_checkpoint.write),
        checkpoints.variant(
            "deep", lambda path: large_checkpoint.write(path, hidden=256, layers=8)
        ),
        checkpoints.folder(tiny.GEMMA_1),
    )
    done = subprocess.run(
        [sys.executable, "-m", __name__, *map(str, folders)],
        cwd=REPO, capture_output=True, text=True, timeout=100, check=False,
        # Else glibc keeps up to 64 MB of what is freed, and the limits below mean little.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_a_load_that_runs_out_is_worded_and_leaves_room_for_another(
    told: list[dict[str, Any]],
) -> None:
    for megabytes, row in zip(TOO_LITTLE, told, strict=False):
        assert row["error"] == "ModelTooLargeError", (megabytes, row)
        assert "did not fit into the device's memory" in row["words"]
        assert row["held"] == [], megabytes
        assert row["tokens"] == 4, (megabytes, row)


def test_a_reply_that_runs_out_is_worded_and_leaves_room_for_another(
    told: list[dict[str, Any]],
) -> None:
    assert len(told) == len(TOO_LITTLE) + 1
    row = told[-1]
    assert row["error"] == "GenerationError", row
    assert "ran out of memory while generating" in row["words"]
    assert "Shorten the conversation" in row["words"]
    assert row["queue"] == 0
    assert row["tokens"] == 4, row


# --- what runs in the process of its own -------------------------------------------------------


class Visitor:
    """Somebody at a playground with these models and no budget worth speaking of."""

    def __init__(self, *folders: str) -> None:
        torch.set_num_threads(1)
        settings = Settings.model_validate({"memory_budget": "1TB"})
        rows = served_checkpoints(folders)
        self.playground = Playground(rows, Access(probe=no_hub), settings)

    def complete(self, model: str, prompt: str = "Hello") -> int:
        """How many tokens came back."""
        controls = Controls(max_new_tokens=4, temperature=0.0, ignore_eos=True)
        request = CompletionRequest(
            prompt=prompt, model=model, precision=Precision.FP32, controls=controls
        )
        *_, last = self.playground.complete(request)
        assert isinstance(last, Generation)
        return last.completion_tokens


@contextmanager
def little_memory(megabytes: int) -> Iterator[None]:
    """The block may take so much more than is in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + megabytes * 10**6
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def failure(work: Any) -> dict[str, str]:
    """What kind of error ended it, and its words; empty when it went well."""
    try:
        work()
    except Exception as error:
        return {"error": type(error).__name__, "words": str(error)}
    return {"error": "", "words": ""}


def loads(visitor: Visitor, large: str, small: str) -> Iterator[dict[str, Any]]:
    library = visitor.playground.library
    visitor.complete(small)  # everything that is needed once is in memory after that
    library.unload(small)
    for megabytes in TOO_LITTLE:
        with little_memory(megabytes):
            told: dict[str, Any] = failure(lambda: list(library.load(large, "fp32")))
            told["held"] = [row.repo_id for row in library.status().loaded]
        told["tokens"] = visitor.complete(small)
        library.unload(small)
        yield told
    visitor.complete(large)  # with enough there is nothing wrong with it
    library.unload(large)


def replies(visitor: Visitor, deep: str) -> Iterator[dict[str, Any]]:
    visitor.complete(deep)
    with little_memory(40):  # the worker's own stack among it
        told: dict[str, Any] = failure(lambda: visitor.complete(deep, "the sun " * 1500))
        told["queue"] = visitor.playground.library.status().queue
        told["tokens"] = visitor.complete(deep)
    yield told


def main(large: str, deep: str, small: str) -> None:
    visitor = Visitor(large, deep, small)
    for row in (*loads(visitor, large, small), *replies(visitor, deep)):
        print(json.dumps(row))


if __name__ == "__main__":
    set_library_defaults()
    main(*sys.argv[1:])
