"""A server killed in the middle of everything (`kill -9`, or the machine's own end) comes back."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from gemma_space.fetching import CHUNK_BYTES
from gemma_space.kept_files import HOUR_SECONDS, sha256
from tests import large_checkpoint, stand_in_hub
from tests import tiny_checkpoints as tiny
from tests.api.conftest import DEMO
from tests.api.test_shutdown import runs, until
from tests.running_app import App, running
from tests.stand_in_hub import Fault, StandInHub
from tests.tiny_checkpoints import Checkpoints

SLOW = "google/gemma-3-1b-it"
WEIGHTS = "model.safetensors"
# In the middle of the weights, with a part of them on the disk.
STALLED = Fault("safetensors", "stall", times=None, after_bytes=2 * CHUNK_BYTES, seconds=600)


@pytest.fixture
def hub(checkpoints: Checkpoints) -> Iterator[StandInHub]:
    with stand_in_hub.serve() as served:
        served.add(SLOW, checkpoints.folder(tiny.GEMMA_3))
        yield served


@pytest.fixture
def start(hub: StandInHub, tmp_path: Path) -> Callable[[], Any]:
    """Starts the app, each time in the same home."""
    told = {"GEMMA_SPACE_MAX_NEW_TOKENS": "8000", "HF_HUB_DOWNLOAD_TIMEOUT": "600"}
    return lambda: running(tmp_path / "home", hub, **told)


def begin(app: App, endpoint: str, **arguments: Any) -> Iterator[str]:
    """Call an endpoint; the lines of its stream as they come."""
    asked = httpx.post(f"{app.url}gradio_api/call/v2/{endpoint}", json=arguments, timeout=None)
    address = f"{app.url}gradio_api/call/{endpoint}/{asked.json()['event_id']}"
    with httpx.stream("GET", address, timeout=None) as told:
        yield from told.iter_lines()


def ended(lines: Iterator[str]) -> dict[str, Any]:
    """The last update of a call that went well."""
    told = [line for line in lines if line not in ("", "data: null")]
    assert "event: complete" in told[-2:]
    data = [line for line in told if line.startswith("data: ")]
    return json.loads(data[-1].removeprefix("data: "))[0]


def partials(app: App) -> list[Path]:
    return list(app.home.glob("hf/hub/models--*/blobs/*.incomplete"))


def has_weights(app: App) -> bool:
    for file in partials(app):
        with contextlib.suppress(FileNotFoundError):  # a small one is whole by now
            if file.stat().st_size >= CHUNK_BYTES:
                return True
    return False


def begun_download(app: App) -> list[psutil.Process]:
    """The processes of a download that has brought a part of the weights."""
    told = begin(app, "load", model=SLOW)
    until(lambda: '"download"' in next(told))
    until(lambda: has_weights(app))
    return psutil.Process(app.process.pid).children(recursive=True)


def test_killed_while_downloading_loading_and_writing_it_leaves_nothing_behind(
    hub: StandInHub, start: Callable[[], Any], checkpoints: Checkpoints
) -> None:
    large = str(checkpoints.variant("large", large_checkpoint.write))
    hub.faults.append(STALLED)
    with start() as app:
        children = begun_download(app)
        assert children
        writing = begin(
            app, "chat", message="Hello", model=DEMO, max_new_tokens=900, ignore_eos=True
        )
        until(lambda: '"text": "' in next(writing).replace('"text": ""', ""))
        loading = begin(app, "load", model=large, precision="fp32")
        until(lambda: '"load"' in next(loading))
        app.process.kill()
        app.process.wait()
        until(lambda: not any(runs(child) for child in children))
        assert partials(app) == []
    hub.faults.clear()
    with start() as app:
        for model in (SLOW, large):
            assert ended(begin(app, "load", model=model, precision="fp32"))["phase"] == "ready"
        answer = ended(begin(app, "chat", message="What is a token?", model=DEMO))
        assert answer["finish_reason"] == "stop"
        brought = next(app.home.glob(f"hf/hub/models--*/snapshots/*/{WEIGHTS}"))
        assert sha256(brought) == sha256(hub.files[SLOW] / WEIGHTS)
        assert "Traceback" not in app.printed.read_text()


def test_what_the_machines_own_end_left_on_the_disk_is_swept_at_the_next_start(
    hub: StandInHub, start: Callable[[], Any]
) -> None:
    hub.faults.append(STALLED)
    with start() as app:
        for process in [*begun_download(app), app.process]:
            process.kill()
        app.process.wait()
        left = partials(app)
        assert left
    long_ago = time.time() - HOUR_SECONDS - 60
    for file in left:
        os.utime(file, (long_ago, long_ago))
    with start():
        until(lambda: not any(file.exists() for file in left))
