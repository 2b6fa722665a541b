"""The endpoints as tools, by the package that MCP clients are made with."""

import ast
import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import httpx
import pytest

from tests.api.conftest import DEMO, GATED, Served
from tests.api.test_endpoints import PARAMETERS

mcp = pytest.importorskip("mcp", reason="installed with gradio[mcp]")
pytestmark = pytest.mark.skipif(
    int(version("mcp").split(".")[0]) > 1,
    reason="this Gradio speaks to mcp 1: pip install -r requirements.txt",
)
CANARY = "hf_canaryCANARYcanary03"


def asked(
    app: Served, work: Callable[[Any], Awaitable[Any]], headers: dict[str, str] | None = None
) -> Any:
    """What a client finds in one session over streamable HTTP."""
    from mcp.client.streamable_http import streamable_http_client

    async def session() -> Any:
        url = app.url + "gradio_api/mcp/"
        async with httpx.AsyncClient(headers=headers, timeout=60) as http:
            streams: Any = streamable_http_client(url, http_client=http)  # type: ignore[arg-type]
            async with streams as (reading, writing, _):
                async with mcp.ClientSession(reading, writing) as found:
                    await found.initialize()
                    return await work(found)

    return asyncio.run(session())


def called(app: Served, tool: str, headers: dict[str, str] | None = None, **given: Any) -> Any:
    return asked(app, lambda session: session.call_tool(tool, given), headers)


def test_every_endpoint_is_a_tool_and_no_tool_takes_a_token(app: Served) -> None:
    tools = asked(app, lambda session: session.list_tools()).tools
    found = {f"/{tool.name}": list(tool.inputSchema.get("properties", {})) for tool in tools}
    assert found == PARAMETERS
    assert all(tool.description for tool in tools)
    told = " ".join(tool.model_dump_json() for tool in tools)
    assert "oauth_token" not in told
    assert "caller" not in told


def test_a_tool_answers(app: Served) -> None:
    (content,) = called(app, "tokenize", text="Hello there").content
    found = ast.literal_eval(content.text)
    assert found == app.client.predict(text="Hello there", api_name="/tokenize")
    reply = called(app, "chat", message="Hello", temperature=0, max_new_tokens=4, model=DEMO)
    assert ast.literal_eval(reply.content[0].text)["completion_tokens"] > 0


def test_a_mistake_comes_back_in_words(app: Served) -> None:
    told = called(app, "chat", message="Hello", temperature=9)
    assert told.isError
    assert "temperature is 9" in told.content[0].text


def test_a_token_comes_as_a_header_and_acts_for_its_own_caller_alone(app: Served) -> None:
    app.tokens_asked.clear()
    headers = {"Authorization": f"Bearer {CANARY}"}
    assert called(app, "tokenize", headers, text="Hi", model=GATED.repo_id).isError
    assert app.tokens_asked == [CANARY]
    assert "token" in called(app, "tokenize", text="Hi", model=GATED.repo_id).content[0].text
    assert app.tokens_asked in ([CANARY], [CANARY, None])


@pytest.mark.parametrize(
    ("headers", "acts"),
    [({}, True), ({"x-forwarded-for": "203.0.113.9"}, False),
     ({"sec-fetch-site": "cross-site"}, False), ({"sec-fetch-site": "same-origin"}, True)],
    ids=str,
)  # fmt: skip
def test_the_owners_login_acts_over_mcp_for_the_owner_alone(
    app: Served, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], acts: bool
) -> None:
    """What Gradio passes on comes from this machine; who asked it may not."""
    own = f"hf_ownOwnOwn{len(headers)}{acts}{''.join(headers.values())[:4]}".replace(".", "")
    monkeypatch.setattr(app.playground.visitors, "_own_token", lambda: own)
    app.tokens_asked.clear()
    called(app, "tokenize", headers, text="Hi", model=GATED.repo_id)
    assert (own in app.tokens_asked) is acts


def test_a_proxy_that_shows_only_by_its_old_protocol(
    app: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "hf_ownOwnOwnOwnProxy"
    monkeypatch.setattr(app.playground.visitors, "_own_token", lambda: own)
    app.tokens_asked.clear()
    call = (
        '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "tokenize", '
        f'"arguments": {{"text": "Hi", "model": "{GATED.repo_id}"}}}}}}'
    )
    url = httpx.URL(app.url)

    async def old_protocol() -> bytes:
        reading, writing = await asyncio.open_connection(url.host, url.port)
        writing.write(
            b"POST /gradio_api/mcp/ HTTP/1.0\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
            + f"Content-Length: {len(call)}\r\n\r\n{call}".encode()
        )
        answer = await reading.read()
        writing.close()
        return answer

    assert b"gated" in asyncio.run(old_protocol()).lower()
    assert own not in app.tokens_asked
