"""The endpoints keep their names and shapes where another server generates."""

from collections.abc import Iterator
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from gemma_space.app import build_app, launch_options
from gemma_space.settings import Settings
from gemma_space.types import ChatRequest, Controls, Generation, Message
from tests.api.conftest import DEMO, Served, free_port
from tests.stand_in_server import StandInServer, standing_in
from tests.unit.test_remote import MODEL, playground_on


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInServer]:
    with standing_in(StandInServer(thoughts="Hm.")) as server:
        yield server


@pytest.fixture(scope="module")
def client(stand_in: StandInServer) -> Iterator[Client]:
    playground = playground_on(stand_in)
    demo = build_app(playground, Settings(engine_url=(stand_in.url,)))
    options = launch_options(demo)
    _, url, _ = demo.launch(
        prevent_thread_lock=True, quiet=True, server_port=free_port(), **options
    )
    try:
        yield Client(url, verbose=False)
    finally:
        demo.close()


def test_models_and_status(client: Any) -> None:
    (row,) = client.predict(api_name="/models")
    assert (row["repo_id"], row["loaded"]) == (MODEL, ["as served"])
    assert row["precisions"] == {
        "as served": {"weights_bytes": 0, "fits": True, "reason": ""}
    }  # fmt: skip
    status = client.predict(api_name="/status")
    assert status["loaded"][0]["repo_id"] == MODEL
    assert client.predict(model=MODEL, api_name="/check_access")["verdict"] == "open"
    job = client.submit(model=MODEL, api_name="/load")
    assert [step["phase"] for step in job][-1] == "ready"


def test_text(client: Any) -> None:
    reply = list(client.submit("Hello", model=MODEL, seed=4, api_name="/chat"))[-1]
    assert (reply["thinking"], reply["finish_reason"]) == ("Hm.", "stop")
    assert (reply["precision"], reply["seed"]) == ("as served", 4)
    raw = list(client.submit("Once", model=MODEL, logprobs=2, api_name="/generate"))[-1]
    assert "".join(token["text"] for token in raw["tokens"]) == raw["text"]
    assert {token["id"] for token in raw["tokens"]} == {None}


def test_what_is_elsewhere_says_so(client: Any) -> None:
    for endpoint, words in (
        ("/score", "only be scored where the weights are"),
        ("/tokenize", "tokenizer is not known here"),
        ("/unload", "on another server"),
    ):
        asked = {} if endpoint == "/unload" else {"text": "Hello"}
        with pytest.raises(AppError, match=words):
            client.predict(**asked, model=MODEL, api_name=endpoint)


def test_another_gemma_space_follows_every_control(app: Served) -> None:
    playground = playground_on(app.url.rstrip("/"))
    row = playground.library.find(DEMO)
    asked = ChatRequest(
        messages=(Message(role="user", content="What is a token?"),), model=DEMO,
        controls=Controls(max_new_tokens=4, temperature=0.0),
    )  # fmt: skip
    *_, reply = playground.chat(asked)
    assert playground.library.unfollowed(row) == ()
    assert isinstance(reply, Generation)
    assert reply.completion_tokens == 4
