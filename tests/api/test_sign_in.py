"""Signing in with Hugging Face: only on a Space, for one browser, with the probe's last word.

The session cookie is made as Gradio's middleware makes it; the way there over the provider's own
pages is Gradio's code.
"""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import itsdangerous
import pytest

from tests import stand_in_hub
from tests import tiny_checkpoints as tiny
from tests.running_app import App, running
from tests.tiny_checkpoints import Checkpoints

GATED = "google/gemma-3-270m-it"
SECRET = "secret-of-the-space"
SPACE = {
    "SPACE_ID": "somebody/gemma-space", "SYSTEM": "spaces",
    "SPACE_HOST": "somebody-gemma-space.hf.space",
    "OAUTH_CLIENT_ID": "client", "OAUTH_CLIENT_SECRET": SECRET,
    "OAUTH_SCOPES": "openid profile gated-repos", "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
    "HF_TOKEN": "hf_ownOwnOwnOwn0001",
}  # fmt: skip


@pytest.fixture(scope="module")
def space(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with stand_in_hub.serve() as hub:
        hub.add(GATED, checkpoints.folder(tiny.GEMMA_3), gated=True)
        hub.granted.add(SPACE["HF_TOKEN"])
        with running(tmp_path_factory.mktemp("space") / "home", hub, **SPACE) as served:
            yield served


def cookie(token: str, secret: str = SECRET, seconds: float = 3600) -> dict[str, str]:
    """The session of somebody who signed in, as a request's header."""
    session = {
        "oauth_info": {
            "access_token": token, "scope": SPACE["OAUTH_SCOPES"],
            "expires_at": int(time.time() + seconds),
            "userinfo": {"name": "Alice", "preferred_username": "alice", "profile": "",
                         "picture": ""},
        }
    }  # fmt: skip
    key = hashlib.sha256((secret + "-v4").encode()).hexdigest()
    signed = itsdangerous.TimestampSigner(key).sign(base64.b64encode(json.dumps(session).encode()))
    return {"Cookie": f"session={signed.decode()}"}


def checked(app: App, headers: dict[str, str]) -> dict[str, Any]:
    """What the access doctor tells this visitor."""
    call = app.url + "gradio_api/call/v2/check_access"
    event = httpx.post(call, json={"model": GATED}, headers=headers).json()["event_id"]
    answer = httpx.get(
        f"{app.url}gradio_api/call/check_access/{event}", headers=headers, timeout=30
    )
    line = next(text for text in answer.text.splitlines() if text.startswith("data: "))
    return json.loads(line.removeprefix("data: "))[0]


def test_a_visitor_who_signed_in_is_asked_about_with_their_own_token(space: App) -> None:
    told = checked(space, cookie("hf_oauth_good"))
    assert (told["verdict"], told["account"]) == ("ready", "oauth-alice")
    assert checked(space, cookie("hf_not_accepted"))["verdict"] == "license_not_accepted"


def test_who_did_not_sign_in_gets_nothing_of_others_or_of_the_host(space: App) -> None:
    assert checked(space, cookie("hf_oauth_good"))["verdict"] == "ready"
    assert checked(space, {})["verdict"] == "no_token"
    assert SPACE["HF_TOKEN"] not in {token for _, _, token in space.hub.requests}


def test_a_session_that_is_over_or_forged_counts_for_nothing(space: App) -> None:
    assert checked(space, cookie("hf_oauth_good", seconds=-1))["verdict"] == "no_token"
    for guessed in ("", "x"):
        assert checked(space, cookie("hf_oauth_good", guessed))["verdict"] == "no_token"


def test_the_way_in_is_there_and_is_not_part_of_the_api(space: App) -> None:
    config = httpx.get(space.url + "config").json()
    ids = [c["props"].get("elem_id") for c in config["components"]]
    assert ids.count("sign-in") == 1
    named = httpx.get(space.url + "gradio_api/info").json()["named_endpoints"]
    assert set(named) == {
        "/models", "/status", "/check_access", "/load", "/unload", "/chat", "/generate",
        "/score", "/tokenize", "/render_chat",
    }  # fmt: skip
    assert space.holds(["hf_oauth_good"]) == []


def test_off_a_space_nobody_can_sign_in(
    checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """There the session's key is known to everybody, so a session means nothing."""
    with stand_in_hub.serve() as hub:
        hub.add(GATED, checkpoints.folder(tiny.GEMMA_3), gated=True)
        home = tmp_path_factory.mktemp("no-space") / "home"
        with running(home, hub, OAUTH_CLIENT_ID="client") as app:
            assert checked(app, cookie("hf_oauth_good", ""))["verdict"] == "no_token"
            config = httpx.get(app.url + "config").json()
            assert "sign-in" not in {c["props"].get("elem_id") for c in config["components"]}
            assert httpx.get(app.url + "login/huggingface").status_code == 404
