"""Composes the pieces into one Gradio app and serves it. Decides nothing else."""

import threading
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gemma_space import api
from gemma_space.playground import Playground
from gemma_space.rehearsal import Rehearsal
from gemma_space.settings import Settings
from gemma_space.ui import page, presenter
from gemma_space.ui.events import asked_by
from gemma_space.visits import VisitorCookie

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SECONDS_PER_DAY = 86_400


def build_app(
    playground: Playground, settings: Settings, rehearsal: Rehearsal | None = None
) -> gr.Blocks:
    """Build the page and the public API in one `gr.Blocks`; nothing is loaded or started.

    With a rehearsal the page is that of presenter mode. Launch it with `launch_options()`, which
    carries the theme, the styles and the routes.
    """
    with gr.Blocks(
        title=settings.presenter_title if rehearsal and settings.presenter_title else "Gemma Space",
        analytics_enabled=False,
        delete_cache=(SECONDS_PER_DAY, SECONDS_PER_DAY),
    ) as demo:
        with asked_by(playground.visitors):
            if rehearsal is None:
                page.build(playground, settings)
            else:
                presenter.build(playground, settings, rehearsal)
        api.register(playground)
    demo.queue(max_size=settings.queue_size, default_concurrency_limit=16)
    return demo


def launch_options() -> dict[str, Any]:
    """Keyword arguments for `demo.launch()` that every way of serving the app shares."""
    return {
        **page.launch_options(ASSETS),
        "app_kwargs": {
            "routes": _routes(),
            "middleware": [Middleware(PictureGuard), Middleware(VisitorCookie)],
        },
        "run_history": False,  # it would keep every input, tokens too, in the visitor's browser
        "enable_monitoring": False,
        "show_error": False,
        "ssr_mode": False,
        # Gradio's last look at its own page ends the start where that takes over three seconds, as
        # the first page can on a busy machine. That it answers was seen just before.
        "_frontend": False,
        "max_file_size": "20mb",
        "footer_links": ["api"],
    }


def serve(demo: gr.Blocks, playground: Playground, rehearsal: Rehearsal | None = None) -> None:
    """Serve until interrupted; heavy libraries and the default model load behind the page."""

    def warm_up() -> None:
        playground.warm_up()
        if rehearsal is not None:
            rehearsal.run()

    demo.launch(prevent_thread_lock=True, **launch_options())
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
    demo.block_thread()


def _routes() -> list[Route]:
    return [
        Route("/healthz", _healthz, methods=["GET"]),
        # Gradio's own route writes the values of all inputs to disk and serves them to anyone.
        Route("/gradio_api/deep_link", _not_found, methods=["GET", "POST"]),
    ]


class PictureGuard:
    """Lets pages show pictures of this server only: no reply can make a browser fetch another's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("Content-Security-Policy", "img-src 'self' data: blob:")
            await send(message)

        await self._app(scope, receive, send_guarded if scope["type"] == "http" else send)


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _not_found(request: Request) -> Response:
    return JSONResponse({"detail": "Not Found"}, status_code=404)
