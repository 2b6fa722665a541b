"""What every test stands on: no network, no settings from outside, one copy of each tiny model.

`tests/live` alone leaves the machine, and only with a token for it.
"""

import gc
import os
import shutil
import tempfile

import httpx
import pytest

# For tests/live alone: a token, and which repositories to ask about.
LIVE = {
    name.removeprefix("GEMMA_SPACE_LIVE_"): value
    for name, value in os.environ.items()
    if name.startswith("GEMMA_SPACE_LIVE_")
}
LIVE_TOKEN = LIVE.get("TOKEN", "")

for _name in list(os.environ):
    if _name.startswith("GEMMA_SPACE_") or _name in ("HF_TOKEN", "SPACE_ID"):
        del os.environ[_name]
_HOME = tempfile.mkdtemp(prefix="gemma-space-tests-")
os.environ.update(
    HF_HOME=_HOME,
    HF_ENDPOINT="http://127.0.0.1:9",  # nothing listens there: a test that asks the Hub fails
    GRADIO_TEMP_DIR=_HOME,
    HYPOTHESIS_STORAGE_DIRECTORY=_HOME,
)
# What `httpx`, and with it Gradio's client, waits unless told otherwise: five seconds are little on
# a machine with other things to do.
for _part in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _part, 60.0)
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # figures and exact texts are the CPU's

from gemma_space.environment import set_library_defaults  # noqa: E402
from gemma_space.settings import Settings  # noqa: E402

set_library_defaults()

import hypothesis  # noqa: E402
import torch  # noqa: E402

from gemma_space.access import Access  # noqa: E402
from gemma_space.playground import Playground  # noqa: E402
from gemma_space.shelf import served_checkpoints  # noqa: E402
from tests import tiny_checkpoints as tiny  # noqa: E402
from tests.tiny_checkpoints import Checkpoints, no_hub  # noqa: E402

torch.set_num_threads(1)  # tiny matrices: a second thread only waits for the first
hypothesis.settings.register_profile("here", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("here")


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> None:
    """Whoever gives memory back looks through what the module made, not through whole libraries."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def playground(checkpoints: Checkpoints) -> Playground:
    """Every tiny checkpoint and the demo, served as local folders."""
    folders = [str(checkpoints.folder(t)) for t in (*tiny.CHATTING, tiny.GEMMA_3_BASE)]
    folders += [str(checkpoints.poisoned()), str(checkpoints.demo())]
    return Playground(served_checkpoints(folders), Access(probe=no_hub), Settings())
