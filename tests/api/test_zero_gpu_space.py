"""The app as on a ZeroGPU Space: its own process, the real `spaces`, a stand-in for the scheduler.

The model runs in a worker that `spaces` forks; only the GPU itself may be missing.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests import stand_in_hub
from tests.api.conftest import DEMO
from tests.running_app import App, running
from tests.stand_in_zero_gpu import PRELUDE, Refusal, StandInZeroGpu, stand_in_zero_gpu

VISITOR = "header.eyJ1c2VyIjoiYSJ9.signature"  # as Hugging Face's proxy names a visitor
QUESTION = "What is this playground?"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, StandInZeroGpu]]:
    home = tmp_path_factory.mktemp("space")
    with stand_in_hub.serve() as hub, stand_in_zero_gpu(home) as zero_gpu:
        more = {"GEMMA_SPACE_MODELS": DEMO, **zero_gpu.environment()}
        with running(home / "home", hub, PRELUDE, **more) as app:
            yield app, zero_gpu


@pytest.fixture
def zero_gpu(space: tuple[App, StandInZeroGpu]) -> Iterator[StandInZeroGpu]:
    yield space[1]
    space[1].refusal = None


def connected(app: App, headers: dict[str, str]) -> Client:
    return Client(app.url, headers=headers, verbose=False, httpx_kwargs={"timeout": 60})


@pytest.fixture(scope="module")
def client(space: tuple[App, StandInZeroGpu]) -> Iterator[Client]:
    made = connected(space[0], {"x-ip-token": VISITOR})
    yield made
    made.close()


def ask(client: Client, text: str = QUESTION, **more: Any) -> dict[str, Any]:
    return client.predict(text, temperature=0, api_name="/chat", **more)


def test_a_reply_comes_through_a_worker(client: Client, zero_gpu: StandInZeroGpu) -> None:
    assert zero_gpu.count("/startup-report") == 1
    before = zero_gpu.count("/allow")
    first = ask(client, max_new_tokens=60)
    assert "playground" in first["text"]
    history = [
        {"role": "user", "content": QUESTION}, {"role": "assistant", "content": first["text"]}
    ]  # fmt: skip
    second = ask(client, "Which precision should I choose?", history=history, max_new_tokens=40)
    assert second["cached_tokens"] >= first["prompt_tokens"]  # the worker was there and remembered
    assert zero_gpu.count("/allow") - before <= 1
    assert zero_gpu.count("/release") == zero_gpu.count("/schedule")


def test_the_visitor_pays_and_asks_for_what_they_need(
    client: Client, zero_gpu: StandInZeroGpu
) -> None:
    ask(client, max_new_tokens=20)
    short = zero_gpu.asked[-1]
    assert short["token"] == VISITOR
    ask(client, max_new_tokens=1500)
    assert float(short["durationSeconds"]) <= float(zero_gpu.asked[-1]["durationSeconds"])
    status = client.predict(api_name="/status")
    assert [row["repo_id"] for row in status["loaded"]] == [DEMO]
    assert status["queue"] == 0


def test_a_stopped_reply_gives_the_gpu_back(client: Client, zero_gpu: StandInZeroGpu) -> None:
    lent = zero_gpu.count("/schedule")
    job = client.submit(QUESTION, max_new_tokens=1800, ignore_eos=True, api_name="/chat")
    seen: Any = next(iter(job))
    assert seen["finish_reason"] is None
    job.cancel()
    assert ask(client, max_new_tokens=5)["completion_tokens"] > 0
    assert zero_gpu.count("/schedule") == lent + 2
    assert zero_gpu.count("/release") >= lent + 1


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (Refusal(), r"more than is left for you.*Lower max new tokens.*try again in 1:06:40"),
        (Refusal(wait=0), r"used up.*Sign in"),
        (Refusal(wait=-1), r"more than is given at once.*Lower max new tokens"),
        (Refusal(result="pending-overquota-exceeded"), r"Your other requests.*Wait"),
        (Refusal(in_queue=True), r"No GPU became free.*Try again"),
    ],
)
def test_a_refusal_says_what_to_do(
    refusal: Refusal, words: str, client: Client, zero_gpu: StandInZeroGpu
) -> None:
    zero_gpu.refusal = refusal
    with pytest.raises(AppError) as caught:
        ask(client)
    assert re.search(words, str(caught.value)), caught.value
    assert "ZeroGPU" not in str(caught.value)


def test_nobody_known_may_ask_too(
    space: tuple[App, StandInZeroGpu], zero_gpu: StandInZeroGpu
) -> None:
    zero_gpu.refusal = Refusal()
    client = connected(space[0], {})
    with pytest.raises(AppError, match=r"used up.*Sign in"):
        ask(client)
    client.close()


def test_a_bad_request_costs_no_gpu(client: Client, zero_gpu: StandInZeroGpu) -> None:
    before = zero_gpu.count("/schedule")
    with pytest.raises(AppError, match="temperature"):
        client.predict(QUESTION, temperature=-1, api_name="/chat")
    assert zero_gpu.count("/schedule") == before


def test_scores_come_through_it_too(client: Client) -> None:
    found = client.predict("A text of some words.", DEMO, api_name="/score")
    assert found["perplexity"] > 1
    assert all(token["logprob"] <= 0 for token in found["tokens"])
