"""How the app is served: health, closed routes, tokens, lazy imports, nothing at import."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests import tiny_checkpoints as tiny
from tests.api.conftest import GATED, Served
from tests.tiny_checkpoints import Checkpoints

CANARY = "hf_canaryCANARYcanary0002"
ROOT = Path(__file__).resolve().parents[2]


def test_healthz_answers_with_json(app: Served) -> None:
    answer = httpx.get(app.url + "healthz")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["status"] == "ok"


def test_pages_show_no_pictures_of_other_servers(app: Served) -> None:
    policy = httpx.get(app.url).headers["content-security-policy"]
    assert "img-src 'self' data: blob:;" in policy


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_deep_link_route_is_closed(app: Served, method: str) -> None:
    url = app.url + "gradio_api/deep_link?session_hash=x"
    assert httpx.request(method, url).status_code == 404


def test_the_page_is_there_and_keeps_no_history_of_runs(app: Served) -> None:
    page = httpx.get(app.url)
    assert page.status_code == 200
    assert "Gemma Space" in page.text
    config = httpx.get(app.url + "config").json()
    assert config["run_history"] is False
    assert config.get("analytics_enabled") is False


def test_any_http_client_can_call_an_endpoint(app: Served) -> None:
    """Two plain requests: one starts it, one reads the events."""
    url = app.url + "gradio_api/call/v2/tokenize"
    started = httpx.post(url, json={"text": "Hello there"})
    event = started.json()["event_id"]
    told = httpx.get(f"{url}/{event}").text
    assert told.startswith("event: complete")
    (found,) = json.loads(told.split("data: ", 1)[1])
    assert found["count"] == len(found["tokens"]) > 0


@pytest.mark.parametrize("body", ["", "{", "[]", '{"data": 5}', '{"data": [NaN]}', '{"data": []}'])
def test_what_is_no_call_is_refused_and_the_app_goes_on(app: Served, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(app.url + "gradio_api/call/chat", content=body, headers=headers)
    if answer.status_code == 200:
        event = answer.json()["event_id"]
        told = httpx.get(app.url + f"gradio_api/call/chat/{event}").text
        assert "event: error" in told
    assert httpx.get(app.url + "healthz").status_code == 200
    assert app.client.predict(text="", api_name="/tokenize")["count"] == 0


def test_everything_the_page_uses_is_private(app: Served) -> None:
    config = httpx.get(app.url + "config").json()
    public = {d["api_name"] for d in config["dependencies"] if d["api_visibility"] == "public"}
    assert public == {
        "models", "status", "check_access", "load", "unload", "chat", "generate", "tokenize",
        "render_chat",
        "score",
    }  # fmt: skip


def test_a_callers_token_reaches_the_access_check_and_nothing_else(
    app: Served, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    calls = {
        "/chat": {"message": "Hi"}, "/generate": {"prompt": "Hi"}, "/load": {},
        "/tokenize": {"text": "Hi"},
        "/render_chat": {"messages": [{"role": "user", "content": "Hi"}]},
        "/score": {"text": "Hi"},
    }  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        for number, (endpoint, arguments) in enumerate(calls.items()):
            token = f"{CANARY}{number}"  # a no is kept for a while
            client = Client(app.url, verbose=False, oauth_token=token)
            app.tokens_asked.clear()
            with pytest.raises(AppError) as caught:
                client.predict(api_name=endpoint, model=GATED.repo_id, **arguments)
            assert app.tokens_asked == [token], endpoint
            assert "accept" in str(caught.value)
            assert CANARY not in str(caught.value)
            with pytest.raises(AppError, match="token"):
                app.client.predict(api_name=endpoint, model=GATED.repo_id, **arguments)
            assert app.tokens_asked in ([token], [token, None]), endpoint
    server_side = "".join(
        record.getMessage() for record in caplog.records if record.name != "httpcore"
    )
    assert "canary" not in server_side.lower()
    assert "canary" not in "".join(capfd.readouterr()).lower()
    pages = httpx.get(app.url).text + httpx.get(app.url + "config").text
    assert "canary" not in pages.lower()


def python(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("GEMMA_SPACE_", "GRADIO_"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_page_is_built_without_torch_or_transformers(
    tmp_path: Path, checkpoints: Checkpoints
) -> None:
    """And it serves several local folders named in the environment."""
    code = """
import json, sys
from gemma_space.environment import set_library_defaults
from gemma_space.settings import Settings
set_library_defaults()
from gemma_space.app import build_app, launch_options
from gemma_space.playground import Playground
settings = Settings.from_env()
playground = Playground.from_settings(settings)
launch_options(build_app(playground, settings))
heavy = {"torch", "transformers", "accelerate", "bitsandbytes", "peft", "safetensors"}
names = [row.repo_id for row in playground.library.choices()]
print(json.dumps({"heavy": sorted(heavy & set(sys.modules)), "names": names,
                  "default": playground.default_model}))
"""
    folders = [str(checkpoints.folder(t)) for t in (tiny.GEMMA_1, tiny.GEMMA_4)]
    done = python(code, tmp_path, GEMMA_SPACE_MODELS=",".join(folders))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"heavy": [], "names": folders, "default": folders[0]}


def test_nothing_happens_at_import(tmp_path: Path) -> None:
    """No network, no thread, no file, no reading of settings: even bad ones do not matter yet."""
    code = """
import importlib, os, pkgutil, socket, sys, threading
def refuse(*args, **kwargs):
    raise AssertionError("network at import")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
before = dict(os.environ)
import gemma_space
for module in pkgutil.walk_packages(gemma_space.__path__, "gemma_space."):
    importlib.import_module(module.name)
changed = {n for n in os.environ if os.environ[n] != before.get(n)}
ours = {n for n in changed if n.startswith(("GEMMA_SPACE_", "HF_", "GRADIO_"))}
assert not ours, ours
assert threading.active_count() == 1, threading.enumerate()
import torch
assert not torch.cuda.is_initialized()
"""
    home = tmp_path / "home"
    home.mkdir()
    done = python(
        code, tmp_path, HF_HOME=str(tmp_path / "hf"), HOME=str(home),
        GEMMA_SPACE_MEMORY_BUDGET="nonsense",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "hf").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert done.stdout == ""


def test_bad_settings_end_in_one_sentence_naming_the_variable(tmp_path: Path) -> None:
    app = str(ROOT / "app.py")
    code = f"import runpy; runpy.run_path({app!r}, run_name='__main__')"
    done = python(code, tmp_path, GEMMA_SPACE_MEMORY_BUDGET="nonsense")
    assert done.returncode != 0
    assert "GEMMA_SPACE_MEMORY_BUDGET" in done.stderr.splitlines()[-1]
