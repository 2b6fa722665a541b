"""What whoever runs the server needs: is it well, what is it doing, and how it is shut down.

Knows the routes for machines and the order of a shutdown. What is counted is in `metrics`, who
may begin in `admission`.
"""

import logging
import signal
import threading
import time
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gemma_space.admission import CLOSED, Admission
from gemma_space.metrics import CONTENT_TYPE, Metrics
from gemma_space.use_cases import UseCases

log = logging.getLogger(__name__)
END_SECONDS = 5.0  # for the last words of replies that did not finish in time
FLUSH_SECONDS = 2.0
TICK_SECONDS = 0.1
# What may still be asked for while the server closes.
STOPS = ("/cancel", "/reset")


def routes(playground: UseCases, admission: Admission, metrics: Metrics | None) -> list[Route]:
    """`/healthz`, and `/metrics` where it is wanted."""

    async def healthz(request: Request) -> Response:
        """Serving at all, and whether the default model is in memory."""
        ready = playground.library.holds(playground.default_model)
        if admission.closed:
            return JSONResponse({"status": "closing", "ready": False}, status_code=503)
        return JSONResponse({"status": "ok", "ready": ready})

    def figures(request: Request) -> Response:
        assert metrics is not None
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    found = [Route("/healthz", healthz, methods=["GET"])]
    if metrics is not None:
        found.append(Route("/metrics", figures, methods=["GET"]))
    return found


class ClosedDoor:
    """Answers what would begin something new with 503 once the server closes."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begins = scope["type"] == "http" and scope["method"] == "POST"
        if begins and self._admission.closed and self._is_ours(scope["path"]):
            response = JSONResponse({"detail": " ".join(CLOSED)}, 503, {"Retry-After": "60"})
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    @staticmethod
    def _is_ours(path: str) -> bool:
        # The routes under /v1 say it in their own shape.
        return "/v1/" not in path and not path.rstrip("/").endswith(STOPS)


class Stop:
    """What the process was told by SIGTERM or SIGINT: once to stop, twice to hurry, and a third
    time ends it at once."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.hurry = threading.Event()

    def listen(self) -> None:
        """Begin to take the signals; in the main thread alone."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def _heard(self, number: int, frame: Any) -> None:
        if self.asked.is_set():
            self.hurry.set()
            signal.signal(number, signal.SIG_DFL)
        self.asked.set()


def shut_down(
    demo: gr.Blocks, admission: Admission, seconds: float, hurry: threading.Event
) -> None:
    """Take nothing new, let replies finish for so long, end the others with a reason, close."""
    admission.close()
    log.info("shutting down; %d requests are being served", admission.running)
    end = time.monotonic() + seconds
    while not admission.drain(TICK_SECONDS):
        if hurry.is_set() or time.monotonic() > end:
            admission.end()
            admission.drain(END_SECONDS)
            break
    _flush(demo)
    demo.close(verbose=False)


def _flush(demo: gr.Blocks) -> None:
    """Give Gradio the time to hand on what its events said last."""
    for _ in range(round(FLUSH_SECONDS / TICK_SECONDS)):
        if not any(demo._queue.active_jobs):
            return
        threading.Event().wait(TICK_SECONDS)
