"""What strangers can ask of the server besides using it: more than their share, files, secrets."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from gemma_space.app import CLOSED, MAX_BODY_BYTES
from gemma_space.assets import ASSETS
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shares import PER_ADDRESS
from tests.browser.conftest import served
from tests.browser.fake_playground import FakePlayground

ROOT = ASSETS.parent
ASKED = {"model": "fake/chat", "messages": [{"role": "user", "content": "Hello"}]}
SECRET = "a line out of a diary"
EVIL = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
COOKIES = [{"cookie": f"gemma_space_visitor={letter * 43}"} for letter in "abcdefg"]


@pytest.fixture(scope="module")
def fake() -> FakePlayground:
    return FakePlayground(words=("word ",) * 4000, seconds=0.1)  # no test sees its end


@pytest.fixture(scope="module")
def web(fake: FakePlayground) -> Iterator[httpx.Client]:
    """The app with one request for each visitor at a time."""
    settings = Settings(per_visitor=1)
    with (
        served(cast(Playground, fake), settings=settings) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@contextmanager
def replying(web: httpx.Client, headers: dict[str, str]) -> Iterator[None]:
    """A reply is on its way until the block ends.

    What an earlier test left comes back at the server's next step, so it asks until it has begun.
    """
    body = {**ASKED, "stream": True}
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with web.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            if response.status_code == 200:
                next(response.iter_lines())
                yield
                return
    raise TimeoutError(headers)


# --- a share for each -----------------------------------------------------------------------------


def test_one_visitor_cannot_take_the_places_of_others(web: httpx.Client) -> None:
    anna, bert = COOKIES[:2]
    with replying(web, anna):
        refused = web.post("/v1/chat/completions", json=ASKED, headers=anna)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert "You have 1 request on the way" in error["message"]
        with replying(web, bert):
            pass
    with replying(web, anna):
        pass


def test_made_up_names_do_not_help(web: httpx.Client) -> None:
    with ExitStack() as held:
        for cookie in COOKIES[:PER_ADDRESS]:
            held.enter_context(replying(web, cookie))
        refused = web.post("/v1/chat/completions", json=ASKED, headers=COOKIES[PER_ADDRESS])
        assert refused.status_code == 429
        assert "Your network" in refused.json()["error"]["message"]
    with replying(web, COOKIES[PER_ADDRESS]):
        pass


def test_the_endpoints_say_it_in_words(web: httpx.Client) -> None:
    client = Client(str(web.base_url), verbose=False)
    with running_job(client):
        with pytest.raises(AppError, match=r"no more may be at once\. Your text is kept"):
            client.predict("Hello again", api_name="/chat")
        with pytest.raises(AppError, match=r"no more may be at once\."):
            client.predict("a text", api_name="/score")


@contextmanager
def running_job(client: Client) -> Iterator[None]:
    """A reply that this client is given, once what earlier tests left has come back."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        job = client.submit("Hello", api_name="/chat")
        try:
            next(iter(job))
        except AppError:
            continue
        yield
        job.cancel()
        return
    raise TimeoutError


# --- other sites ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
@pytest.mark.parametrize(
    "path",
    ["/gradio_api/call/status", "/gradio_api/call/v2/unload", "/gradio_api/queue/join",
     "/gradio_api/run/status", "/gradio_api/mcp/", "/v1/chat/completions", "/v1/completions"],
)  # fmt: skip
def test_no_form_of_another_site_is_taken_for_a_request(
    web: httpx.Client, path: str, kind: str | None
) -> None:
    """What a browser sends for any page without asking first."""
    headers = EVIL | ({"content-type": kind} if kind else {})
    body = json.dumps({"data": [], "fn_index": 0, "session_hash": "x", **ASKED}).encode()
    assert 400 <= web.post(path, content=body, headers=headers).status_code < 500


def test_another_site_is_not_given_leave(web: httpx.Client) -> None:
    for path in ("/gradio_api/queue/join", "/gradio_api/mcp/", "/v1/chat/completions", "/"):
        wanted = EVIL | {"access-control-request-method": "POST"}
        assert "access-control-allow-origin" not in web.options(path, headers=wanted).headers
        assert (
            "access-control-allow-origin" not in web.get("/gradio_api/app_id", headers=EVIL).headers
        )


def test_a_name_that_leads_here_is_refused(web: httpx.Client) -> None:
    for path in ("/", "/v1/models", "/gradio_api/info", "/gradio_api/mcp/"):
        assert web.get(path, headers={"host": "evil.example:7860"}).status_code == 421


# --- files and sizes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "file=/etc/passwd", "file=../../etc/passwd", "file=..%2f..%2f..%2fetc%2fpasswd",
        f"file={ROOT}/app.py", "file=app.py", "file=http://127.0.0.1:1/", "file/etc/passwd",
        "proxy=http://127.0.0.1:1/", "stream/a/b/1/..%2f..%2fx.ts",
        "custom_component/1/client/component/..%2f..%2fx", "monitoring", "runs",
        "run-history/records", "profiling/traces", "vibe-code",
    ],
)  # fmt: skip
def test_no_file_of_the_server_is_to_be_had(web: httpx.Client, path: str) -> None:
    found = web.get(f"/gradio_api/{path}")
    assert 400 <= found.status_code < 500
    assert "root:" not in found.text


@pytest.mark.parametrize("path", CLOSED)
def test_routes_that_nothing_uses_are_closed(web: httpx.Client, path: str) -> None:
    assert web.get(path).status_code == 404
    assert (
        web.post(path, files={"files": ("../x.html", b"<script>", "text/html")}).status_code == 404
    )


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/mcp/", "/v1/completions"])
def test_a_body_has_a_largest_size(web: httpx.Client, path: str) -> None:
    body = b'{"data":["' + b"x" * MAX_BODY_BYTES + b'"]}'
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    assert web.post(path, content=body, headers=headers).status_code == 413


# --- errors ---------------------------------------------------------------------------------------

MALFORMED = [
    b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"data":{}}', b'{"data":[1e999]}',
    b"[" * 100_000, b'{"data":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"data":[],"session_hash":{"a":1},"fn_index":"x"}', b'{"data":[],"fn_index":99999}',
    b'{"__proto__":{"data":[]},"constructor":{"prototype":{}}}',
]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/call/status", "/gradio_api/queue/join", "/gradio_api/run/status",
     "/gradio_api/reset", "/gradio_api/component_server", "/gradio_api/mcp/",
     "/v1/chat/completions", "/v1/completions"],
)  # fmt: skip
def test_malformed_requests_are_told_nothing_about_the_server(web: httpx.Client, path: str) -> None:
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    for body in MALFORMED:
        with httpx.Client(base_url=web.base_url, timeout=60) as fresh:  # a 500 ends a connection
            found = fresh.post(path, content=body, headers=headers)
        told = found.text
        assert not any(sign in told for sign in ("Traceback", "site-packages", str(ROOT), '.py"'))
        assert found.status_code < 500 or len(told) < 200


def test_values_that_do_not_fit_are_not_printed(
    web: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    """Gradio's own error prints what it was given."""
    event = web.post("/gradio_api/call/generate", json={"data": [SECRET]}).json()["event_id"]
    told = web.get(f"/gradio_api/call/generate/{event}").text
    assert "event: error" in told
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err + told
