"""A ZeroGPU on this machine: the scheduler that Hugging Face runs, as `spaces` talks to it.

The package's own client, decorator, forked worker and emulation of CUDA run unchanged against it;
without a GPU, two of its steps that need one are left out (`PRELUDE`). What it cannot show is
whether Hugging Face's scheduler says the same.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

# Run in the app's process before anything else.
PRELUDE = """
import torch
import gradio.networking
gradio.networking.url_ok = lambda url: True  # Gradio gives itself three seconds, busy or not
if not torch.cuda.is_available():
    torch.version.cuda = "12.8"  # the package asks which
    torch._C._cuda_init = None  # and replaces this
    torch.cuda._is_in_bad_fork = bool  # and asks this in another process, so it must pickle
    import bitsandbytes  # before CUDA is said to be there
    import spaces.zero.torch as lent
    lent.init = lambda uuid: None
    lent.move = lambda callback=None: None
"""


@dataclass
class Refusal:
    """An answer to the next requests for a GPU: too many (429), or none within a minute."""

    result: str = "quota-exceeded"
    left: int = 12
    wait: int = 4000  # seconds; negative: the duration is never allowed
    in_queue: bool = False


@dataclass
class StandInZeroGpu:
    """What was asked of it.

    Attributes:
        asked: query of each request for a GPU, in order.
        calls: path of every call.
        refusal: in place of a GPU, while it is set.
    """

    url: str
    home: Path
    gpu: str = os.environ.get("ZERO_GPU_UUID", "GPU-0")
    asked: list[dict[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    refusal: Refusal | None = None

    def environment(self) -> dict[str, str]:
        """What Hugging Face sets on such a Space."""
        group = self.home / "cgroup"
        group.write_text("0::/the/space\n")
        return {
            "SPACES_ZERO_GPU": "true",
            "SPACES_ZERO_DEVICE_API_URL": self.url,
            "ZEROGPU_PROC_SELF_CGROUP_PATH": str(group),
            "ZEROGPU_OFFLOAD_DIR": str(self.home / "tensors"),
        }

    def count(self, path: str) -> int:
        """How often a path was called."""
        return self.calls.count(path)


@contextmanager
def stand_in_zero_gpu(home: Path) -> Iterator[StandInZeroGpu]:
    """Schedule at a loopback address until the block ends."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            with lock:
                stand_in.calls.append(parts.path)
                if parts.path == "/schedule":
                    stand_in.asked.append(query)
            if parts.path == "/schedule":
                self._schedule()
            else:
                self._send(200, "application/json", "{}")

        def _schedule(self) -> None:
            refusal = stand_in.refusal
            if refusal is None:
                number = len(stand_in.asked)
                given = {"idle": number > 1, "nvidiaIndex": 0, "nvidiaUUID": stand_in.gpu,
                         "allowToken": f"loan-{number}"}  # fmt: skip
                self._send(200, "application/json", json.dumps(given))
            elif refusal.in_queue:
                self._send(200, "text/event-stream", "event: failed\n\n")
            else:
                self._send(
                    429, "application/json",
                    json.dumps({"left": refusal.left, "wait": refusal.wait}),
                    {"X-Approve-Result": refusal.result},
                )  # fmt: skip

        def _send(
            self, status: int, kind: str, body: str, headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in = StandInZeroGpu(f"http://127.0.0.1:{server.server_port}", home)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
