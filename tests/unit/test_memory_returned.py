"""Memory comes back: loading, using and unloading again and again leaves nothing behind.

In a process of its own, so that its resident set is its own. Run this file by hand to see the
figures: `python -m tests.unit.test_memory_returned FOLDER [ROUNDS]`.
"""

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gemma_space import memory
from gemma_space.access import Access
from gemma_space.environment import set_library_defaults
from gemma_space.loading import measured_bytes
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.types import CompletionRequest, Controls, Generation, Precision
from tests import large_checkpoint
from tests.tiny_checkpoints import Checkpoints, no_hub

ROUNDS = 2  # of each precision; by hand 20
PRECISIONS = (Precision.BF16, Precision.FP32, Precision.INT8, Precision.INT4)
REPO = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux says what is resident where"
)


@pytest.fixture(scope="module")
def told(checkpoints: Checkpoints) -> dict[str, Any]:
    """What the other process prints."""
    large = checkpoints.variant("large", large_checkpoint.write)
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(large), str(ROUNDS)],
        cwd=REPO, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_resident_is_what_is_loaded(told: dict[str, Any]) -> None:
    """Else the other figures would mean nothing."""
    row = told["in_use"][Precision.FP32]
    assert row["resident"] == pytest.approx(row["computed"], rel=0.2)


@pytest.mark.parametrize("kind", ["RssAnon", "RssFile"])
def test_round_after_round_leaves_nothing_behind(told: dict[str, Any], kind: str) -> None:
    assert told["after"][kind] < 1.1 * told["before"][kind]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_in_use_takes_the_weights_computed(
    told: dict[str, Any], precision: Precision
) -> None:
    """int4 too, whose weights are packed anew for some CPUs when they are first used."""
    row = told["in_use"][precision]
    assert row["measured"] == pytest.approx(row["computed"], rel=0.05)


# --- what runs in the process of its own -------------------------------------------------------


def resident() -> dict[str, int]:
    """Bytes of this process in memory: its own, and of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile")}


def use(playground: Playground, folder: str, precision: Precision) -> dict[str, int]:
    """Load, write four tokens, unload; how much more was resident meanwhile."""
    memory.give_back()
    before = sum(resident().values())
    controls = Controls(max_new_tokens=4, temperature=0.0, ignore_eos=True)
    request = CompletionRequest(
        prompt="Hello", model=folder, precision=precision, controls=controls
    )
    *_, last = playground.complete(request)
    assert isinstance(last, Generation)
    assert last.completion_tokens == 4
    row = playground.library.find(folder)
    with playground.library.lease(row, precision, None) as (lease, _):
        list(lease.wait())
        engine: Any = lease.model.engine
        measured = engine.between_requests(measured_bytes)
    found = {
        "resident": sum(resident().values()) - before,
        "measured": measured,
        "computed": memory.weights_bytes(row, precision),
    }
    del engine, lease
    playground.library.unload(folder)
    return found


def main(folder: str, rounds: int) -> None:
    torch.set_num_threads(1)
    row = local_checkpoint(Path(folder), repo_id=folder)
    playground = Playground([row], Access(probe=no_hub), Settings())
    for precision in PRECISIONS:  # what is needed once comes into memory, and stays
        use(playground, folder, precision)
    gc.freeze()  # so that giving memory back looks through what is loaded from here on
    before = resident()
    in_use = {precision: use(playground, folder, precision) for precision in PRECISIONS}
    for precision in PRECISIONS * (rounds - 1):
        use(playground, folder, precision)
    print(json.dumps({"before": before, "after": resident(), "in_use": in_use}))


if __name__ == "__main__":
    set_library_defaults()
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20)
