"""The app in a process of its own, started as a deployer starts it, with nothing of this machine.

Logs all that it can; every folder it may write is in one place, so that it can be searched.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.api.conftest import free_port
from tests.stand_in_hub import StandInHub

ROOT = Path(__file__).resolve().parents[1]
LOUD = """
import logging, runpy, sys
logging.basicConfig(level=logging.DEBUG)
exec(sys.argv[2])
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@dataclass
class App:
    """The process: its address, its folders, all it printed so far."""

    url: str
    home: Path
    printed: Path
    hub: StandInHub
    process: subprocess.Popen[bytes]

    def holds(self, secrets: Sequence[str]) -> list[str]:
        """Where on the disk, or in what was printed, one of these is found."""
        found = []
        for file in [self.printed, *(f for f in self.home.rglob("*") if f.is_file())]:
            body = file.read_bytes()
            found += [f"{file}: {name}" for name in secrets if name.encode() in body]
        return found


@contextmanager
def running(home: Path, hub: StandInHub, prelude: str = "", **more: str) -> Iterator[App]:
    """Serve the app until the block ends.

    Args:
        home: made where it is not there; an app that ran before has left its files in it.
        prelude: code that it begins with.
        more: its environment; without a `GRADIO_SERVER_PORT` it gets a free one.
    """
    port = int(more.get("GRADIO_SERVER_PORT") or free_port())
    printed = home.parent / "printed.log"
    for folder in ("hf", "tmp", "gradio", "cwd"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    dropped = ("GEMMA_SPACE_", "GRADIO_", "HF_")
    environment = {n: v for n, v in os.environ.items() if not n.startswith(dropped)} | {
        "PYTHONPATH": str(ROOT), "HOME": str(home), "TMPDIR": str(home / "tmp"),
        "HF_HOME": str(home / "hf"), "GRADIO_TEMP_DIR": str(home / "gradio"),
        "HF_ENDPOINT": hub.url, "GRADIO_SERVER_PORT": str(port), "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",  # tiny matrices: a second thread only waits for the first
        **more,
    }  # fmt: skip
    with printed.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", LOUD, str(ROOT / "app.py"), prelude],
            cwd=home / "cwd", env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}/"
            _until_served(url, process)
            yield App(url, home, printed, hub, process)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _until_served(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        assert process.poll() is None, "the app ended"
        try:
            if httpx.get(url + "healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError(url)
