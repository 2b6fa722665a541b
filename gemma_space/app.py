"""Composes the pieces into one Gradio app and serves it. Decides nothing else."""

import threading
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gemma_space import api, operations
from gemma_space.admission import Admission
from gemma_space.api import openai
from gemma_space.api.callers import Callers
from gemma_space.journal import Journal
from gemma_space.link_card import LinkCard
from gemma_space.metrics import Metrics
from gemma_space.observed import Observed
from gemma_space.page_rules import OwnName, PageRules
from gemma_space.playground import Playground
from gemma_space.rehearsal import Rehearsal
from gemma_space.settings import Settings
from gemma_space.shares import Shares
from gemma_space.space import Beside, Space
from gemma_space.ui import page, presenter
from gemma_space.ui.events import asked_by
from gemma_space.use_cases import UseCases
from gemma_space.visits import McpOrigin, VisitorCookie
from gemma_space.waiting_line import WaitingLine

SECONDS_PER_DAY = 86_400
MAX_BODY_BYTES = 20_000_000  # the largest file that the page hands over has 16 MB
PAGE_EVENTS = 40  # at once, beside those that run a model: as many as Gradio runs by default
FLOOD = 500  # events that have not begun, beside those that wait for a model
# Of Gradio's own routes those that nothing here uses.
CLOSED = (
    "/gradio_api/deep_link",  # writes the values of all inputs to disk and serves them to anyone
    "/gradio_api/upload",  # keeps a day what anyone sends, until the disk is full
    "/gradio_api/process_recording",
    "/gradio_api/dev/reload",
)


def build_app(
    playground: UseCases, settings: Settings, rehearsal: Rehearsal | None = None
) -> Space:
    """Build the page and the public API in one `gr.Blocks`; nothing is loaded or started.

    With a rehearsal the page is that of presenter mode. Launch it with `launch_options(demo)`,
    which has the theme, the styles and the routes.
    """
    admission = Admission(settings.concurrent_requests, settings.queue_size, lambda: line.counts())
    metrics = Metrics(playground.library, admission) if settings.shows_metrics else None
    journal = Journal(settings.log_prompts)
    listeners = [journal, metrics] if metrics else [journal]
    shares = Shares(settings.visitors_share, settings.per_minute, lambda: line.visitors())
    # The others wait in Gradio's queue, which refuses them.
    refusing = {"page": rehearsal is not None, "api": False, "openai": True}
    through_page, through_api, through_openai = (
        Observed(playground, door, admission, shares, listeners, refuses)
        for door, refuses in refusing.items()
    )
    with Space(
        title=settings.presenter_title if rehearsal and settings.presenter_title else "Gemma Space",
        analytics_enabled=False,
        delete_cache=(SECONDS_PER_DAY, SECONDS_PER_DAY),
    ) as demo:
        with asked_by(playground.visitors, through_page):
            if rehearsal is None:
                page.build(through_page, settings)
            else:
                presenter.build(through_page, settings, rehearsal)
        api.register(through_api, Callers(through_api))
    generations = settings.concurrent_requests + settings.queue_size
    line = WaitingLine(
        demo, through_page, through_api, places=settings.concurrent_requests,
        most_events=generations + PAGE_EVENTS, most_waiting=generations + FLOOD,
    )  # fmt: skip
    demo.wait_in(line)
    machine_routes = operations.routes(playground, admission, metrics)
    openai_routes = openai.routes(through_openai, Callers(through_openai))
    demo.beside = Beside(
        admission=admission,
        routes=[*machine_routes, *openai_routes, *_closed_routes()],
        middleware=_middleware(settings, admission, str(demo.title)),
        mcp_server=settings.mcp,
        finish_seconds=settings.shutdown_seconds,
    )
    return demo


def launch_options(demo: Space) -> dict[str, Any]:
    """Keyword arguments for `demo.launch()` that every way of serving the app shares."""
    beside = demo.beside
    return {
        **page.launch_options(),
        "app_kwargs": {
            "max_body_size": MAX_BODY_BYTES,
            "routes": beside.routes,
            "middleware": beside.middleware,
        },
        "mcp_server": beside.mcp_server,
        "max_threads": demo.max_threads,
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


def serve(demo: Space, playground: Playground, rehearsal: Rehearsal | None = None) -> None:
    """Serve until told to stop; heavy libraries and the default model load behind the page."""

    def warm_up() -> None:
        playground.warm_up()
        if rehearsal is not None:
            rehearsal.run()

    stop = operations.Stop()
    stop.listen()
    demo.launch(prevent_thread_lock=True, **launch_options(demo))
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
    stop.asked.wait()
    operations.shut_down(demo, demo.beside.admission, demo.beside.finish_seconds, stop.hurry)


def _middleware(settings: Settings, admission: Admission, title: str) -> list[Middleware]:
    return [
        Middleware(operations.ClosedDoor, admission=admission),
        Middleware(PageRules, on_space=bool(settings.space_id)),
        Middleware(LinkCard, title=title, space_id=settings.space_id),
        *([Middleware(OwnName)] if settings.own_machine else []),
        Middleware(VisitorCookie),
        Middleware(McpOrigin),
    ]


def _closed_routes() -> list[Route]:
    return [Route(path, _not_found, methods=["GET", "POST"]) for path in CLOSED]


async def _not_found(request: Request) -> Response:
    return JSONResponse({"detail": "Not Found"}, status_code=404)
