"""The end of a server that is told to stop, with replies being written and files on their way."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from gradio_client import Client
from openai import OpenAI

from tests import stand_in_hub
from tests import tiny_checkpoints as tiny
from tests.api.conftest import DEMO
from tests.api.openai_client import OPTIONS, said
from tests.running_app import App, running
from tests.stand_in_hub import Fault
from tests.tiny_checkpoints import Checkpoints

SLOW = "google/gemma-3-1b-it"
# A reply that is over sooner would not be cut off.
LONG: dict[str, Any] = {"temperature": 0, "max_tokens": 7900, "extra_body": {"ignore_eos": True}}


@pytest.fixture
def app(checkpoints: Checkpoints, tmp_path: Path) -> Iterator[App]:
    with stand_in_hub.serve() as hub:
        hub.add(SLOW, checkpoints.folder(tiny.GEMMA_3))
        hub.open.add(SLOW)
        hub.faults.append(Fault("safetensors", "slow", times=None, bytes_per_second=500))
        told = {"GEMMA_SPACE_SHUTDOWN_SECONDS": "600", "GEMMA_SPACE_MAX_NEW_TOKENS": "8000"}
        with running(tmp_path / "home", hub, **told) as served:
            yield served


def until(happens: Callable[[], Any]) -> Any:
    """The first answer that is one; the test's own limit ends this."""
    while not (found := happens()):
        time.sleep(0.02)
    return found


def runs(process: psutil.Process) -> bool:
    """Whether it is there; one that nobody fetches is over all the same."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_told_to_stop_says_so_to_all_and_leaves_nothing_behind(
    app: App, checkpoints: Checkpoints
) -> None:
    model = str(checkpoints.folder(tiny.GEMMA_3))
    client = OpenAI(base_url=app.url + "v1", api_key="none", **OPTIONS)
    gradio = Client(app.url, verbose=False)
    gradio.submit(model=SLOW, api_name="/load")
    children = until(psutil.Process(app.process.pid).children)
    job: Any = gradio.submit(
        "Hello",
        model=model,
        temperature=0,
        max_new_tokens=7900,
        ignore_eos=True,
        api_name="/chat",
    )
    stream: Any = client.chat.completions.create(
        model=model, messages=said("Hello"), stream=True, **LONG
    )
    pieces = iter(stream)
    until(lambda: next(pieces).choices[0].delta.content)
    until(lambda: job.outputs() and job.outputs()[-1]["text"])

    os.kill(app.process.pid, signal.SIGTERM)
    until(lambda: httpx.get(app.url + "healthz", timeout=60).status_code == 503)
    with pytest.raises(openai.InternalServerError, match="being shut down") as caught:
        client.chat.completions.create(model=DEMO, messages=said("Hello"))
    assert (caught.value.status_code, caught.value.code) == (503, "server_closing")
    late = httpx.post(app.url + "gradio_api/call/v2/tokenize", json={"text": "Hello"}, timeout=60)
    assert (late.status_code, late.json()["detail"][:23]) == (503, "This server is being sh")

    os.kill(app.process.pid, signal.SIGTERM)
    with pytest.raises(openai.APIError, match="shut down before the reply was complete"):
        list(pieces)
    until(job.done)
    assert job.outputs()[-1]["finish_reason"] == "cancelled"
    assert app.process.wait(60) == 0
    until(lambda: not any(runs(child) for child in children))
    told = re.findall(r" endpoint=(\S+) .*finish_reason=(\S+)", app.printed.read_text())
    assert sorted(told) == [
        ("api/chat", "cancelled"), ("api/load", "cancelled"), ("openai/chat", "ServerClosingError"),
        ("openai/chat", "cancelled"),
    ]  # fmt: skip
    assert "Traceback" not in app.printed.read_text()
