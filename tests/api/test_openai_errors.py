"""What goes wrong, as clients see it: the status, the error's own sentence, who may do what."""

from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest

from gemma_space.api.openai.routes import MAX_BODY_BYTES
from tests import tiny_checkpoints as tiny
from tests.api.conftest import DEMO, GATED, Served
from tests.api.openai_client import GREEDY, client, said

CANARY = "hf_canaryCANARYcanary01"
HELLO: dict[str, Any] = {"model": DEMO, "messages": said("Hello"), **GREEDY}


def refused(app: Served, **changed: Any) -> Any:
    """What a client is told about a request that is like a good one but for this."""
    with pytest.raises(openai.APIStatusError) as caught:
        client(app).chat.completions.create(**HELLO | changed)
    error = caught.value
    assert set(error.body) == {"message", "type", "param", "code"}  # type: ignore[arg-type]
    assert error.response.json()["error"]["message"][-1] in ".”"
    return error


@pytest.mark.parametrize(
    ("changed", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "warm"}, "temperature", "invalid_type"),
        ({"top_p": -1}, "top_p", "invalid_value"),
        ({"max_tokens": 10**6}, "max_tokens", "invalid_value"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens", "invalid_type"),
        ({"seed": -4}, "seed", "invalid_value"),
        ({"stop": ["x"] * 20}, "stop", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format",
         "unsupported_parameter"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "unsupported_parameter"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "unsupported_parameter"),
        ({"extra_body": {"beam_width": 4}}, "beam_width", "unsupported_parameter"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages", "invalid_value"),
        ({"messages": [*said("Hi"), {"role": "assistant", "content": "x"}]}, "messages",
         "invalid_value"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {
            "url": "data:,x"}}]}]}, "messages", "invalid_value"),
        ({"messages": said("word " * 4000)}, None, "context_length_exceeded"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 50}, None, "invalid_value"),
        ({"model": f"{DEMO}:int8:int8"}, "model", "model_not_found"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_requests_name_the_field(
    app: Served, changed: dict[str, Any], param: str | None, code: str
) -> None:
    for streams in ({}, {"stream": True}) if changed.keys() != {"stream"} else ({},):
        error = refused(app, **changed, **streams)
        assert error.status_code == (404 if code == "model_not_found" else 400)
        assert (error.param, error.code) == (param, code)


def test_a_precision_that_breaks_the_model_is_refused(app: Served) -> None:
    error = refused(app, model=f"{app.folders['gemma3']}:fp16")
    assert (error.status_code, error.code) == (400, "precision_unsupported")
    assert "bf16" in error.message


def test_models_that_are_not_there(app: Served) -> None:
    error = refused(app, model="nothing-of-that-name")
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client(app).models.retrieve("./nowhere")
    with pytest.raises(openai.NotFoundError, match="v1/embeddings"):
        client(app).embeddings.create(model=DEMO, input="x")


def test_a_broken_model_is_the_servers_fault(app: Served) -> None:
    asked = {"model": f"{app.folders['poisoned']}:fp32", "messages": said(tiny.POISON)}
    error = refused(app, **asked)
    assert (error.status_code, error.type) == (500, "server_error")
    with pytest.raises(openai.APIError, match="overflowed"):  # the stream has begun by then
        list(client(app).chat.completions.create(**HELLO | asked, stream=True))


@pytest.mark.parametrize(
    ("body", "status"),
    [("", 400), ("{", 400), ("[]", 400), ("null", 400), ('{"model": 5}', 400),
     ("x" * (MAX_BODY_BYTES + 1), 413)],
    ids=["nothing", "half", "list", "null", "wrong", "large"],
)  # fmt: skip
def test_what_is_no_request(app: Served, body: str, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(app.url + "v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_what_a_page_may_send_without_asking_first_is_no_request(app: Served) -> None:
    body = '{"model": "' + DEMO + '", "messages": [{"role": "user", "content": "Hi"}]}'
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = httpx.post(
            app.url + "v1/chat/completions", content=body, headers={"Content-Type": kind}
        )
        assert answer.status_code == 400


def test_a_callers_own_token_is_what_the_hub_is_asked_with(
    app: Served, caplog: pytest.LogCaptureFixture
) -> None:
    asked: dict[str, Any] = HELLO | {"model": GATED.repo_id}
    for number, streams in enumerate((False, True)):
        token = f"{CANARY}{number}"
        app.tokens_asked.clear()
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client(app, token).chat.completions.create(**asked, stream=streams)
        assert app.tokens_asked == [token]
        assert (caught.value.code, caught.value.param) == ("license_not_accepted", "model")
        assert CANARY not in str(caught.value)
    with pytest.raises(openai.AuthenticationError, match="token"):
        client(app, "sk-of-another-service").chat.completions.create(**asked)
    with pytest.raises(openai.AuthenticationError):
        client(app, "hf_ no token").chat.completions.create(**asked)
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("headers", "acts"),
    [({}, True), ({"sec-fetch-site": "same-origin"}, True),
     ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
     ({"host": "evil.example"}, False), ({"x-forwarded-for": "203.0.113.9"}, False)],
    ids=str,
)  # fmt: skip
def test_the_owners_login_acts_for_the_owner_alone(
    app: Served, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], acts: bool
) -> None:
    own = f"hf_ownOwnOwnOwn{len(str(headers))}"
    monkeypatch.setattr(app.playground.visitors, "_own_token", lambda: own)
    app.tokens_asked.clear()
    body = HELLO | {"model": GATED.repo_id}
    answer = httpx.post(app.url + "v1/chat/completions", json=body, headers=headers, timeout=60)
    # Under another name the page is not answered at all.
    refused = 421 if "host" in headers else 401
    assert answer.status_code == (403 if acts else refused)
    assert (own in app.tokens_asked) is acts


def test_too_many_who_wait_are_told_to_come_back(app: Served) -> None:
    with ExitStack() as line:
        for _ in range(16 + 64):
            line.enter_context(app.admission.enter())
        for streams in (False, True):
            error = refused(app, stream=streams)
            assert (error.status_code, error.code) == (429, "queue_full")
            assert "80 requests are running or waiting" in error.message
            assert int(error.response.headers["retry-after"]) > 0
    assert client(app).chat.completions.create(**HELLO).choices


def test_an_answer_has_the_name_that_the_log_gives_it(app: Served) -> None:
    answer = client(app).chat.completions.with_raw_response.create(**HELLO)
    assert answer.parse().id == f"chatcmpl-{answer.headers['x-request-id']}"
