"""The app in a process of its own, started as a deployer starts it, on this machine alone."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks.processes import ended, free_port

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120


@contextmanager
def served(**environment: str) -> Iterator[tuple[str, psutil.Process]]:
    """The app's address and its process, ended with the block.

    Args:
        environment: settings, by their names in the environment; those of this shell do not count.

    Raises:
        RuntimeError: it did not start; with the end of what it printed.
    """
    port = free_port()
    environ = {n: v for n, v in os.environ.items() if not n.startswith("GEMMA_SPACE_")} | {
        "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), **environment,
    }  # fmt: skip
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environ, stdout=printed, stderr=printed
        )
        with ended(process):
            url = f"http://127.0.0.1:{port}"
            if not _answers(url, process):
                printed.seek(0)
                raise RuntimeError(f"The app did not start: {printed.read()[-2000:].decode()}")
            yield url, psutil.Process(process.pid)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/healthz", timeout=1).status_code == 200:
                return True
        except httpx.HTTPError:
            time.sleep(0.2)
    return False


def resident_bytes(process: psutil.Process) -> int:
    """Of the process and all that it started."""
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
