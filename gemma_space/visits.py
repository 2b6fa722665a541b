"""From a web request to a visitor.

Knows the cookie that tells browsers apart, and when a request comes from the machine that the
server runs on. Does not know tokens; `visitors` does.
"""

import ipaddress
import secrets
from urllib.parse import urlsplit

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gemma_space.visitors import Visitor

COOKIE = "gemma_space_visitor"
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def visitor_of(request: gr.Request | None, oauth_token: gr.OAuthToken | None) -> Visitor:
    """Who sent a request that reached a handler."""
    signed_in = oauth_token.token if oauth_token else None
    if request is None or request.request is None:
        return Visitor(signed_in=signed_in)
    key = request.cookies.get(COOKIE, "")
    host = request.client.host if request.client else ""
    return Visitor(key, signed_in, _is_local(host, request.headers))


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, unreachable for others."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_local(client: str, headers: Headers) -> bool:
    """A tunnel or a proxy on this machine is somebody else; so is a page that renamed its host."""
    named = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    forwarded = any(name in headers for name in PROXY_HEADERS)
    return is_loopback(client) and is_loopback(named) and not forwarded


class VisitorCookie:
    """Gives every browser a random name of its own, which its scripts cannot read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or _has_name(scope):
            await self._app(scope, receive, send)
            return

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_page(message):
                MutableHeaders(scope=message).append("Set-Cookie", _cookie(scope))
            await send(message)

        await self._app(scope, receive, send_named)


def _has_name(scope: Scope) -> bool:
    return bool(HTTPConnection(scope).cookies.get(COOKIE))


def _is_page(message: Message) -> bool:
    headers = MutableHeaders(scope=message)
    return headers.get("content-type", "").startswith("text/html")


def _cookie(scope: Scope) -> str:
    """Ends with the browser's session. In a frame of another site, as on a Space, a browser sends
    it only over https, and apart for each such site."""
    scheme = Headers(scope=scope).get("x-forwarded-proto", scope["scheme"])
    where = "SameSite=None; Secure; Partitioned" if scheme == "https" else "SameSite=Lax"
    return f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; {where}"
