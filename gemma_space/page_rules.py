"""What a browser is told not to do with our pages, whatever a reply or a file has put into them.

Knows the headers: where a page may load from and send to, who may show it in a frame, and which
hosts this machine's own page answers to. Does not know what a page holds.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gemma_space.visits import is_loopback, named, shows_proxy

HUGGING_FACE = "https://huggingface.co"
# Gradio's own page has scripts and styles in it and makes functions from text (`js=`), so those
# two cannot be told from what somebody smuggled in; where anything could be sent to can.
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "worker-src": "'self' blob:",
    "connect-src": "'self' data: blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self'",
}
ON_A_SPACE = {
    # Opened at its own address, a Space's page asks there for the header that Gradio puts on it.
    "connect-src": HUGGING_FACE,
    "frame-ancestors": f"{HUGGING_FACE} https://*.huggingface.co",
}
ANOTHERS = (
    "This page is for this machine alone, and your browser asked for it by another name. Open "
    "http://127.0.0.1 with its port; behind a proxy, set GRADIO_ROOT_PATH."
)


class PageRules:
    """Sends the rules with every answer: no page makes a browser load from, or send to, others.

    Args:
        on_space: Hugging Face shows the page in a frame of its own.
    """

    def __init__(self, app: ASGIApp, on_space: bool = False) -> None:
        self._app = app
        more = ON_A_SPACE if on_space else {}
        self._policy = "; ".join(
            " ".join(filter(None, (name, where, more.get(name)))) for name, where in POLICY.items()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_ruled(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("Content-Security-Policy", self._policy)
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Referrer-Policy", "no-referrer")
            await send(message)

        await self._app(scope, receive, send_ruled if scope["type"] == "http" else send)


class OwnName:
    """Refuses what reaches this machine's own page by somebody else's name.

    A site can have its name lead here; to the browser our answers are then that site's own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not self._is_ours(scope):
            response = PlainTextResponse(ANOTHERS, 421)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    @staticmethod
    def _is_ours(scope: Scope) -> bool:
        headers = Headers(scope=scope)
        # A browser speaks 1.1 or newer and adds none of these; then it is a proxy's business.
        return is_loopback(named(headers)) or shows_proxy(
            headers.keys(), scope.get("http_version", "")
        )
