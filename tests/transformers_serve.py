"""A real `transformers serve` in a process of its own, which can be killed and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.api.conftest import free_port

START_SECONDS = 110
COMMAND = "from transformers.cli.transformers import main; main()"


class TransformersServe:
    """The server; it serves any checkpoint that is named by its folder.

    Args:
        home: an empty folder for what it keeps and prints.
        options: of its command line.
        threads: that it computes with.
    """

    def __init__(self, home: Path, *options: str, threads: int = 1) -> None:
        self._home, self._port = home, free_port()
        self._options, self._threads = options, threads
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        (home / "hub").mkdir(parents=True)  # without it the list of models fails

    def start(self) -> "TransformersServe":
        """Serve, at the same address each time."""
        environment = os.environ | {
            "HF_HOME": str(self._home), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": str(self._threads),
        }  # fmt: skip
        where = ["serve", "--host", "127.0.0.1", "--port", str(self._port), "--device", "cpu"]
        where += self._options
        with (self._home / "printed.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *where],
                env=environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            assert self._process.poll() is None, (self._home / "printed.log").read_text()
            try:
                if httpx.get(f"{self.url}/health").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.2)
        raise TimeoutError(self.url)

    @property
    def pid(self) -> int:
        """Of its process, once it was started."""
        assert self._process is not None
        return self._process.pid

    def freeze(self) -> None:
        """Have it do nothing more, its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
