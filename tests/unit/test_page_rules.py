"""The rules that every answer carries, and whom a page for this machine alone answers."""

import re

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from gemma_space.page_rules import OwnName, PageRules


def client(*middleware: Middleware) -> TestClient:
    def answer(request: Request) -> Response:
        return PlainTextResponse("here")

    return TestClient(Starlette(routes=[Route("/", answer)], middleware=middleware))


def policy(on_space: bool) -> dict[str, str]:
    found = client(Middleware(PageRules, on_space=on_space)).get("/").headers
    return dict(re.findall(r"([a-z-]+) ([^;]+)", found["content-security-policy"]))


def test_nothing_is_loaded_from_or_sent_to_others() -> None:
    rules = policy(on_space=False)
    outside = {name: where for name, where in rules.items() if "://" in where or "*" in where}
    assert outside == {}
    assert rules["default-src"] == rules["connect-src"].split()[0] == "'self'"
    assert rules["object-src"] == "'none'"


def test_only_hugging_face_shows_a_space_in_a_frame() -> None:
    assert policy(on_space=False)["frame-ancestors"] == "'self'"
    frames = policy(on_space=True)["frame-ancestors"].split()
    assert frames == ["'self'", "https://huggingface.co", "https://*.huggingface.co"]


def test_what_a_file_is_is_not_guessed_and_no_address_is_told() -> None:
    found = client(Middleware(PageRules)).get("/").headers
    assert (found["x-content-type-options"], found["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "127.0.0.1"])
def test_this_machine_is_answered_by_its_own_names(host: str) -> None:
    assert client(Middleware(OwnName)).get("/", headers={"host": host}).text == "here"


@pytest.mark.parametrize("host", ["evil.example:7860", "127.0.0.1.evil.example", "", "[oops"])
def test_a_name_that_was_made_to_lead_here_is_not(host: str) -> None:
    found = client(Middleware(OwnName)).get("/", headers={"host": host})
    assert found.status_code == 421
    assert "http://127.0.0.1" in found.text


def test_what_a_proxy_passes_on_is_its_own_business() -> None:
    headers = {"host": "gemma.example", "x-forwarded-for": "203.0.113.9"}
    assert client(Middleware(OwnName)).get("/", headers=headers).text == "here"
