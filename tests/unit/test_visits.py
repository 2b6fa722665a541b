"""From a request to a visitor: the cookie, and who is on this very machine."""

import asyncio
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from gemma_space.environment import SPACE_PROXIES
from gemma_space.visitors import Visitor
from gemma_space.visits import (
    COOKIE,
    SECURE_COOKIE,
    McpOrigin,
    VisitorCookie,
    is_loopback,
    visitor_of,
)

KEY = "k" * 43


def request(client: str = "127.0.0.1", **headers: str) -> gr.Request:
    named = {"host": "127.0.0.1:7860", **{n.replace("_", "-"): v for n, v in headers.items()}}
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(n.encode(), v.encode()) for n, v in named.items()],
        "client": (client, 50_000),
    }  # fmt: skip
    return gr.Request(request=Request(scope))  # type: ignore[arg-type]


def test_a_browser_is_known_by_its_cookie() -> None:
    found = visitor_of(request(cookie=f"other=1; {COOKIE}={KEY}"), None)
    assert found == Visitor(key=KEY, is_local=True, address="127.0.0.1")
    assert visitor_of(request(cookie=f"{COOKIE}=abc"), None).key == "", "none that we gave"
    assert visitor_of(request(), None).key == ""
    assert visitor_of(None, None) == Visitor()


def test_a_sign_in_comes_with_the_request() -> None:
    token = gr.OAuthToken(token="hf_signed", scope="", expires_at=0)
    assert visitor_of(request(), token).signed_in == "hf_signed"


LOCAL = [("127.0.0.1", {}), ("::1", {}), ("127.0.0.1", {"host": "localhost:7860"}),
         ("::1", {"host": "[::1]:7860"})]  # fmt: skip
ELSEWHERE = [
    ("192.168.1.7", {}),
    ("127.0.0.1", {"host": "evil.example:7860"}),  # a name that was made to point here
    ("127.0.0.1", {"host": "abc.ngrok.app"}),
    ("127.0.0.1", {"x_forwarded_for": "203.0.113.9"}),
    ("127.0.0.1", {"forwarded": "for=203.0.113.9"}),
    ("127.0.0.1", {"host": ""}),
    ("127.0.0.1", {"x_real_ip": "203.0.113.9"}),
    ("127.0.0.1", {"cf_connecting_ip": "203.0.113.9"}),
    ("127.0.0.1", {"x_forwarded_proto": "https"}),
]


@pytest.mark.parametrize(("client", "headers"), LOCAL, ids=str)
def test_a_request_from_this_machine(client: str, headers: dict[str, str]) -> None:
    assert visitor_of(request(client, **headers), None).is_local


@pytest.mark.parametrize(("client", "headers"), ELSEWHERE, ids=str)
def test_a_request_from_elsewhere_or_through_something(
    client: str, headers: dict[str, str]
) -> None:
    assert not visitor_of(request(client, **headers), None).is_local


@pytest.mark.parametrize(
    ("name", "expected"),
    [("localhost", True), ("LOCALHOST", True), ("127.8.9.1", True), ("[::1]", True),
     ("0.0.0.0", False), ("example.com", False), ("", False)],
)  # fmt: skip
def test_what_is_loopback(name: str, expected: bool) -> None:
    assert is_loopback(name) is expected


def cookies(
    method: str = "GET", kind: str = "text/html; charset=utf-8", scheme: str = "http",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> list[str]:  # fmt: skip
    """The cookies that an answer sets."""
    sent: list[dict[str, Any]] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-type", kind.encode())]})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "scheme": scheme, "headers": list(headers)}
    asyncio.run(VisitorCookie(page)(scope, SimpleNamespace(), send))  # type: ignore[arg-type]
    return [v.decode() for n, v in sent[0]["headers"] if n.lower() == b"set-cookie"]


def test_a_page_names_a_browser_once() -> None:
    (first,), (second,) = cookies(), cookies()
    assert first.startswith(f"{COOKIE}=")
    assert len(first.split(";")[0]) > 43
    assert first != second
    assert "HttpOnly" in first
    assert "SameSite=Lax" in first
    assert "Max-Age" not in first
    assert cookies(headers=((b"cookie", f"{COOKIE}={KEY}".encode()),)) == []
    assert len(cookies(headers=((b"cookie", f"{COOKIE}=chosen".encode()),))) == 1
    assert cookies(kind="application/json") == []
    assert cookies(method="POST") == []


def test_odd_cookies_of_others_break_nothing() -> None:
    assert len(cookies(headers=((b"cookie", b'a b="; c[1]=2; ='),))) == 1


@pytest.mark.parametrize("proxied", ["", "https", "https, http"])
def test_in_a_frame_over_https_the_cookie_is_apart_for_each_site(proxied: str) -> None:
    headers = ((b"x-forwarded-proto", proxied.encode()),) if proxied else ()
    (cookie,) = cookies(scheme="http" if proxied else "https", headers=headers)
    assert cookie.startswith(f"{SECURE_COOKIE}=")
    assert cookie.endswith("SameSite=None; Secure; Partitioned")


def test_a_proxy_that_shows_only_by_its_old_protocol() -> None:
    """The most common one, as it is installed: it names the server it asks, and adds nothing."""
    asked = request()
    assert visitor_of(asked, None).is_local
    asked.request.scope["http_version"] = "1.0"  # type: ignore[union-attr]
    assert not visitor_of(asked, None).is_local


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_script_is_nobody(site: str) -> None:
    """Browsers send cookies along, and sign-ins; only a token written into the request counts."""
    asked = request(cookie=f"{COOKIE}={KEY}", sec_fetch_site=site)
    assert visitor_of(asked, None) == Visitor(address="127.0.0.1")
    sent_along = gr.OAuthToken(token="hf_signed", scope="", expires_at=0)
    asked.request.scope["session"] = {  # type: ignore[union-attr]
        "oauth_info": {"access_token": "hf_signed"}
    }
    assert visitor_of(asked, sent_along) == Visitor(address="127.0.0.1")
    written = gr.OAuthToken(token="hf_written", scope="", expires_at=0)
    assert visitor_of(asked, written) == Visitor(signed_in="hf_written", address="127.0.0.1")
    own = request(cookie=f"{COOKIE}={KEY}", sec_fetch_site="same-origin")
    assert visitor_of(own, None) == Visitor(key=KEY, is_local=True, address="127.0.0.1")


# --- another site's page, and addresses -----------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"origin": "http://127.0.0.1:7860"}, True),
        ({"origin": "http://127.0.0.1:8000"}, False),  # over plain http a browser says no more
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "https://a.example", "x_forwarded_host": "a.example"}, True),
        # a proxy renamed the host, and the browser vouches
        ({"origin": "https://a.example", "sec_fetch_site": "same-origin"}, True),
    ],
    ids=str,
)
def test_another_sites_page_does_not_act_for_the_visitor(
    headers: dict[str, str], own: bool
) -> None:
    found = visitor_of(request(cookie=f"{COOKIE}={KEY}", **headers), None)
    assert (found.key == KEY) is own
    assert own or not found.is_local


@pytest.mark.parametrize(
    ("client", "headers", "address"),
    [
        ("203.0.113.9", {}, "203.0.113.9"),
        ("8.8.8.8", {"x_forwarded_for": "1.1.1.1"}, "8.8.8.8"),  # nobody vouched for that
        ("10.0.0.2", {}, "10.0.0.2"),
        ("10.0.0.2", {"x_forwarded_for": "1.1.1.1"}, ""),
        ("2a00:1450:4001:81b::200e", {}, "2a00:1450:4001:81b::"),
        ("testclient", {}, ""),
    ],
)
def test_the_network_of_a_visitor(client: str, headers: dict[str, str], address: str) -> None:
    assert visitor_of(request(client, **headers), None).address == address


def test_an_account_that_signed_in_has_a_name() -> None:
    asked = request()
    login = {"access_token": "hf_signed", "userinfo": {"preferred_username": "anna"}}
    asked.request.scope["session"] = {"oauth_info": login}  # type: ignore[union-attr]
    token = gr.OAuthToken(token="hf_signed", scope="", expires_at=0)
    assert visitor_of(asked, token).account == "anna"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.9.8.7", "203.0.113.9"),  # the first is whatever somebody wrote
        ("10.9.8.7", "10.9.8.7"),
    ],
)
def test_a_spaces_visitors_are_told_apart_by_what_its_proxies_say(
    forwarded: str, address: str
) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    asked = request("10.1.2.3", x_forwarded_for=forwarded).request
    assert asked is not None
    asyncio.run(ProxyHeadersMiddleware(app, SPACE_PROXIES)(asked.scope, None, None))  # type: ignore[arg-type]
    assert seen == [address]


@pytest.mark.parametrize("path", ["/gradio_api/mcp/", "/v1/models"])
def test_what_is_asked_over_mcp_keeps_its_address(path: str) -> None:
    seen: list[list[tuple[bytes, bytes]]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])

    asked = request("8.8.8.8", x_forwarded_for="6.6.6.6").request
    assert asked is not None
    asyncio.run(McpOrigin(app)({**asked.scope, "path": path}, None, None))  # type: ignore[arg-type]
    told = [value for name, value in seen[0] if name == b"x-forwarded-for"]
    assert told == ([b"8.8.8.8"] if "mcp" in path else [b"6.6.6.6"])
