"""From a web request to a visitor.

Knows the cookie that tells browsers apart, where a caller writes a token, and when a request comes
from the machine that the server runs on. Does not know which token acts; `visitors` does.
"""

import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gemma_space.visitors import Visitor

COOKIE = "gemma_space_visitor"
SECURE_COOKIE = f"__Host-{COOKIE}"  # no other site of the same domain can set it
KEY = re.compile(r"[A-Za-z0-9_-]{43}")
MCP_PATH = "/gradio_api/mcp"
MCP_HEADER = "x-gradio-user"  # how Gradio marks what its MCP server passes on
# What proxies and tunnels add; any of them means that somebody else may be behind the request.
FORWARDED = re.compile(
    r"forwarded|via|cf-.*|x-(forwarded|real|original|client|cluster)-?.*|true-client-ip", re.I
)


def visitor_of(request: gr.Request | None, oauth_token: gr.OAuthToken | None) -> Visitor:
    """Who sent a request that reached a handler.

    What a browser sends along by itself counts only for this page's own requests: another site's
    script must not act as the visitor. A token that the caller wrote into the request counts.
    """
    signed_in = oauth_token.token if oauth_token else None
    if request is None or request.request is None:
        return Visitor(signed_in=signed_in)
    address = _address(request.request)
    session = request.request.scope.get("session") or {}
    login = session.get("oauth_info") or {}
    if _is_anothers(request.request):
        sent_along = signed_in == login.get("access_token")
        return Visitor(signed_in=None if sent_along else signed_in, address=address)
    account = str((login.get("userinfo") or {}).get("preferred_username") or "")
    return Visitor(_key(request.cookies), signed_in, _is_local(request.request), account, address)


def caller_of(request: gr.Request | None, oauth_token: gr.OAuthToken | None) -> Visitor:
    """Who called an endpoint. Over MCP a token comes as a header: a tool's arguments are no place
    for it."""
    if oauth_token is None and request is not None and request.request is not None:
        over_mcp = request.headers.get(MCP_HEADER) == "mcp"
        found = bearer_token(request.headers) if over_mcp else None
        oauth_token = gr.OAuthToken(token=found, scope="", expires_at=0) if found else None
    return visitor_of(request, oauth_token)


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The Hub token in an `Authorization` header; other keys, which many clients insist on
    sending, count as none."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    return value if scheme.lower() == "bearer" and value.startswith("hf_") else None


def _is_anothers(request: Request) -> bool:
    """Whether another site's page had the browser send this.

    Browsers say so, but over plain http only on this machine; there the page's origin tells.
    """
    said = request.headers.get("sec-fetch-site")
    if said is not None:
        return said not in ("none", "same-origin")
    origin = request.headers.get("origin")
    if origin is None:
        return False
    hosts = [request.headers.get(name, "") for name in ("host", "x-forwarded-host")]
    return origin.partition("://")[2].lower() not in [host.lower() for host in hosts if host]


def _address(request: Request) -> str:
    """The network that a request comes from; empty where a proxy that nobody vouched for hides it.

    Which proxies are believed is uvicorn's to know (`FORWARDED_ALLOW_IPS`): the request names
    whoever they say is behind them.
    """
    try:
        found = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return ""
    if not found.is_global and any(FORWARDED.fullmatch(name) for name in request.headers):
        return ""
    if found.version == 6:  # a household has as many of these as it likes
        return str(ipaddress.ip_network((found, 64), strict=False).network_address)
    return str(found)


def named(headers: Mapping[str, str]) -> str:
    """The host that a request was addressed to, without its port; empty for none that is one."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:  # half a bracket
        return ""


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, unreachable for others."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _key(cookies: Mapping[str, str]) -> str:
    found = (cookies.get(name, "") for name in (SECURE_COOKIE, COOKIE))
    return next((value for value in found if KEY.fullmatch(value)), "")


def _is_local(request: Request) -> bool:
    """Whether it comes from this machine, as far as a request can show it.

    A proxy on this machine shows by what it adds, or by speaking HTTP 1.0 as the most common one
    does to those behind it; a page that renamed its host shows by that name.
    """
    client = request.client.host if request.client else ""
    version = request.scope.get("http_version", "")
    through = shows_proxy(request.headers, version)
    return is_loopback(client) and is_loopback(named(request.headers)) and not through


def shows_proxy(headers: Iterable[str], http_version: str) -> bool:
    """Whether a request, by the names of its headers or its version, came through something."""
    return http_version == "1.0" or any(FORWARDED.fullmatch(name) for name in headers)


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


class McpOrigin:
    """Marks what others than this machine ask over MCP, with the address they ask from.

    Gradio's MCP server asks the endpoints anew, from this machine and with the caller's headers;
    what else showed where the caller is would be lost on the way.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and MCP_PATH in scope["path"] and not _is_local(Request(scope)):
            headers = [one for one in scope["headers"] if one[0] != b"x-forwarded-for"]
            address = _address(Request(scope)).encode()
            added = [(b"via", b"mcp"), *([(b"x-forwarded-for", address)] if address else [])]
            scope = {**scope, "headers": [*headers, *added]}
        await self._app(scope, receive, send)


def _has_name(scope: Scope) -> bool:
    return bool(_key(HTTPConnection(scope).cookies))


def _is_page(message: Message) -> bool:
    headers = MutableHeaders(scope=message)
    return headers.get("content-type", "").startswith("text/html")


def _cookie(scope: Scope) -> str:
    """Ends with the browser's session. In a frame of another site, as on a Space, a browser sends
    it only over https, and apart for each such site."""
    scheme = Headers(scope=scope).get("x-forwarded-proto", scope["scheme"]).split(",")[0].strip()
    secure = scheme == "https"
    name = SECURE_COOKIE if secure else COOKIE
    where = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"
    return f"{name}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; {where}"
