"""The public contract: endpoint names, parameters, exact shapes, streaming, stopping."""

import itertools
import math
import time
from dataclasses import fields
from typing import Any

import pytest
from gradio_client import Client

from gemma_space import lease
from gemma_space.types import Controls, Message
from tests.api.conftest import DEMO, GATED, Served

GENERATION = {
    "text", "thinking", "finish_reason", "prompt_tokens", "completion_tokens", "cached_tokens",
    "dropped_messages", "seed", "ttft_seconds", "tokens_per_second", "model", "revision",
    "precision",
}  # fmt: skip
STATUS = {
    "device", "memory_total_bytes", "memory_free_bytes", "budget_bytes", "loaded", "queue",
    "cache_bytes",
}  # fmt: skip
MODEL = {
    "repo_id", "title", "family", "parameters", "variant", "license", "gated", "context_length",
    "revision", "precisions", "loaded",
}  # fmt: skip
CONTROL_NAMES = [field.name for field in fields(Controls)]
PARAMETERS = {
    "/models": [],
    "/status": [],
    "/check_access": ["model"],
    "/load": ["model", "precision", "attention"],
    "/unload": ["model", "precision"],
    "/chat": ["message", "history", "system_prompt", "model", "precision", *CONTROL_NAMES,
              "attention", "thinking"],
    "/generate": ["prompt", "model", "precision", "add_bos", "parse_special", "logprobs",
                  *CONTROL_NAMES, "attention"],
    "/score": ["text", "model", "precision", "top", "parse_special", "attention"],
    "/tokenize": ["text", "model", "parse_special"],
    "/render_chat": ["messages", "model", "system_prompt", "thinking"],
}  # fmt: skip
TAKE_A_TOKEN = set(PARAMETERS) - {"/models"}
GREEDY = {"temperature": 0, "max_new_tokens": 12, "precision": "fp32"}


def updates(client: Client, api_name: str, **arguments: Any) -> list[dict[str, Any]]:
    job: Any = client.submit(api_name=api_name, **arguments)
    return list(job)


def final(client: Client, api_name: str, **arguments: Any) -> dict[str, Any]:
    return updates(client, api_name, **arguments)[-1]


def queue(app: Served) -> int:
    return app.client.predict(api_name="/status")["queue"]


def test_exactly_these_endpoints_are_public_with_these_parameters(app: Served) -> None:
    listed = app.client.view_api(return_format="dict", print_info=False)
    assert isinstance(listed, dict)
    named = listed["named_endpoints"]
    found = {n: [p["parameter_name"] for p in e["parameters"]] for n, e in named.items()}
    assert found == PARAMETERS
    assert listed["unnamed_endpoints"] == {}
    assert {n for n, e in named.items() if e.get("oauth_token")} == TAKE_A_TOKEN
    for endpoint in named.values():
        assert endpoint["description"]
        for parameter in endpoint["parameters"]:
            needed = parameter["parameter_name"] in ("message", "prompt", "text", "messages")
            assert parameter["parameter_has_default"] is not needed


def test_defaults_are_the_contracts(app: Served) -> None:
    listed = app.client.view_api(return_format="dict", print_info=False)
    assert isinstance(listed, dict)
    for endpoint in listed["named_endpoints"].values():
        values = {p["parameter_name"]: p.get("parameter_default") for p in endpoint["parameters"]}
        for name, value in values.items():
            wanted = {
                "model": DEMO, "precision": "auto", "attention": "auto", "system_prompt": "",
                "history": [], "stop": [], "ignore_eos": False, "add_bos": True,
                "parse_special": True, "logprobs": 0, "top": 0,
            }.get(name)  # fmt: skip
            assert value == wanted, name


def test_models(app: Served) -> None:
    rows = app.client.predict(api_name="/models")
    assert [row["repo_id"] for row in rows] == [DEMO, *app.folders.values(), GATED.repo_id]
    for row in rows:
        assert set(row) == MODEL
        assert set(row["precisions"]) == {"fp32", "bf16", "fp16", "int8", "int4"}
        for fit in row["precisions"].values():
            assert set(fit) == {"weights_bytes", "fits", "reason"}
            assert fit["fits"] is (fit["reason"] == "")
        assert isinstance(row["loaded"], list)
    by_id = {row["repo_id"]: row for row in rows}
    assert by_id[GATED.repo_id]["gated"] is True
    assert by_id[GATED.repo_id]["parameters"] == 268_098_176
    assert by_id[DEMO]["family"] == "gemma3"
    assert by_id[app.folders["gemma3-base"]]["variant"] == "base"
    assert by_id[app.folders["gemma3"]]["precisions"]["fp16"]["fits"] is False


def test_load_status_unload(app: Served) -> None:
    model = app.folders["gemma2"]
    steps = updates(app.client, "/load", model=model, precision="bf16")
    assert all(set(s) == {"phase", "done_bytes", "total_bytes", "seconds"} for s in steps)
    assert steps[-1]["phase"] == "ready"
    assert steps[-1]["done_bytes"] == steps[-1]["total_bytes"] > 0
    status = app.client.predict(api_name="/status")
    assert set(status) == STATUS
    assert 0 < status["memory_free_bytes"] <= status["memory_total_bytes"]
    (loaded,) = [row for row in status["loaded"] if row["repo_id"] == model]
    assert set(loaded) == {
        "repo_id", "precision", "revision", "nbytes", "leases", "idle_seconds",
    }  # fmt: skip
    assert (loaded["precision"], loaded["revision"], loaded["leases"]) == ("bf16", "local", 0)
    assert loaded["nbytes"] == steps[-1]["total_bytes"]
    rows = {row["repo_id"]: row["loaded"] for row in app.client.predict(api_name="/models")}
    assert rows[model] == ["bf16"]
    after = app.client.predict(model=model, api_name="/unload")
    assert set(after) == STATUS
    assert model not in [row["repo_id"] for row in after["loaded"]]


@pytest.mark.parametrize("name", ["gemma1", "gemma2", "gemma3", "gemma3n", "gemma4"])
def test_chat_streams_a_generation(app: Served, name: str) -> None:
    model = app.folders[name]
    found = updates(app.client, "/chat", message="Hi there", model=model, seed=5, **GREEDY)
    for update in found:
        assert set(update) == GENERATION
        assert isinstance(update["thinking"], str)
    for earlier, later in itertools.pairwise(found):
        assert later["text"].startswith(earlier["text"])
        assert earlier["finish_reason"] is None
    last = found[-1]
    assert last["finish_reason"] in ("stop", "length")
    assert last["completion_tokens"] <= 12
    assert (last["model"], last["revision"], last["precision"]) == (model, "local", "fp32")
    assert (last["seed"], last["dropped_messages"], last["cached_tokens"]) == (5, 0, 0)
    assert last["ttft_seconds"] > 0
    rendered = app.client.predict(
        messages=[{"role": "user", "content": "Hi there"}], model=model, api_name="/render_chat"
    )
    assert last["prompt_tokens"] == len(rendered["token_ids"])


def test_a_model_not_loaded_yet_is_loaded_and_the_stream_has_generations_only(
    app: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "TICK_SECONDS", 0.001)
    model = app.folders["gemma3-multimodal"]
    found = updates(app.client, "/chat", message="Hi", model=model, **GREEDY)
    assert all(set(update) == GENERATION for update in found)
    app.client.predict(model=model, api_name="/unload")
    steps = updates(app.client, "/load", model=model, precision="fp32")
    phases = [step["phase"] for step in steps]
    assert [p for p in ("access", "load", "ready") if p in phases] == list(dict.fromkeys(phases))
    assert len(set(phases)) > 1
    assert [s["seconds"] for s in steps] == sorted(s["seconds"] for s in steps)
    app.client.predict(model=model, api_name="/unload")


def test_a_long_reply_streams_piece_by_piece(app: Served) -> None:
    found = updates(
        app.client, "/chat", message="Hi", model=app.folders["gemma3"], precision="fp32",
        temperature=0, max_new_tokens=150, ignore_eos=True,
    )  # fmt: skip
    assert len(found) > 3
    assert len({u["text"] for u in found}) > 3
    assert found[-1]["finish_reason"] == "length"
    assert found[-1]["completion_tokens"] == 150


def test_history_may_be_plain_or_in_parts(app: Served) -> None:
    plain = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]
    parts = [
        {"role": m["role"], "content": [{"type": "text", "text": m["content"]}], "metadata": None}
        for m in plain
    ]
    asked = {"message": "And now?", "model": app.folders["gemma2"], **GREEDY}
    one = final(app.client, "/chat", history=plain, **asked)
    two = final(app.client, "/chat", history=parts, **asked)
    assert one["text"] == two["text"]
    assert one["prompt_tokens"] == two["prompt_tokens"]
    assert one["prompt_tokens"] > final(app.client, "/chat", **asked)["prompt_tokens"]


def test_chat_says_what_the_playground_says(app: Served) -> None:
    """The endpoint adds nothing: the same text as the use case called directly."""
    from gemma_space.types import ChatRequest, Controls, Precision

    request = ChatRequest(
        messages=(Message(role="user", content="Hello"),), model=DEMO, system_prompt="Be brief.",
        precision=Precision.FP32, controls=Controls(max_new_tokens=12, temperature=0.0),
    )  # fmt: skip
    *_, direct = app.playground.chat(request)
    served = final(app.client, "/chat", message="Hello", system_prompt="Be brief.", **GREEDY)
    assert served["text"] == getattr(direct, "text", None)


def test_a_seed_makes_a_sampled_reply_repeatable(app: Served) -> None:
    asked = {"message": "Hi", "model": app.folders["gemma4"], "precision": "fp32",
             "max_new_tokens": 12, "temperature": 1}  # fmt: skip
    one = final(app.client, "/chat", **asked)
    assert isinstance(one["seed"], int)
    assert final(app.client, "/chat", seed=one["seed"], **asked)["text"] == one["text"]
    assert final(app.client, "/chat", **asked)["seed"] != one["seed"]


def test_stop_strings(app: Served) -> None:
    asked = {"message": "Hi", "model": app.folders["gemma3"], **GREEDY}
    whole = final(app.client, "/chat", **asked)["text"]
    found = updates(app.client, "/chat", stop=[whole[4:7], "unused"], **asked)
    assert found[-1]["finish_reason"] == "stop_string"
    assert found[-1]["text"] == whole[: whole.index(whole[4:7])]


def test_generate_continues_the_prompt(app: Served) -> None:
    asked = {"prompt": "The answer is", "model": app.folders["gemma3-base"], **GREEDY}
    last = final(app.client, "/generate", **asked)
    assert set(last) == GENERATION
    count = app.client.predict(
        text="The answer is", model=app.folders["gemma3-base"], api_name="/tokenize"
    )["count"]
    assert last["prompt_tokens"] == count + 1
    bare = final(app.client, "/generate", add_bos=False, **asked)
    assert bare["prompt_tokens"] == count
    assert bare["text"] != last["text"]


def test_generate_reports_log_probabilities(app: Served) -> None:
    last = final(
        app.client, "/generate", prompt="The answer is", model=app.folders["gemma3"], logprobs=3,
        **GREEDY,
    )  # fmt: skip
    assert set(last) == GENERATION | {"tokens"}
    assert len(last["tokens"]) == last["completion_tokens"]
    assert "".join(t["text"] for t in last["tokens"]).startswith(last["text"][:8])
    for token in last["tokens"]:
        assert set(token) == {"id", "text", "logprob", "entropy", "top"}
        assert len(token["top"]) == 3
        assert token["entropy"] > 0
        assert all(set(t) == {"id", "text", "logprob"} for t in token["top"])
        assert token["top"][0]["id"] == token["id"], "greedy takes the likeliest"
        assert token["top"][0]["logprob"] == token["logprob"] <= 0
        assert [t["logprob"] for t in token["top"]] == sorted(
            (t["logprob"] for t in token["top"]), reverse=True
        )


def test_score(app: Served) -> None:
    asked: Any = {"text": "The answer is", "model": app.folders["gemma3"], "precision": "fp32"}
    found = app.client.predict(**asked, top=2, api_name="/score")
    assert set(found) == {"tokens", "perplexity", "model", "revision", "precision"}
    assert "".join(t["text"] for t in found["tokens"]) == "The answer is"
    mean = sum(t["logprob"] for t in found["tokens"]) / len(found["tokens"])
    assert found["perplexity"] == pytest.approx(math.exp(-mean))
    assert all(len(t["top"]) == 2 and t["entropy"] > 0 for t in found["tokens"])
    assert app.client.predict(**asked, api_name="/score")["tokens"][0]["top"] == []


def test_status_counts_what_conversations_keep(app: Served) -> None:
    final(app.client, "/generate", prompt="The answer is", model=app.folders["gemma3"], **GREEDY)
    assert app.client.predict(api_name="/status")["cache_bytes"] > 0


def test_tokenize(app: Served) -> None:
    found = app.client.predict(
        text="the <end_of_turn>🦊", model=app.folders["gemma3"], api_name="/tokenize"
    )
    assert set(found) == {"count", "tokens"}
    assert found["count"] == len(found["tokens"])
    assert all(set(t) == {"id", "text"} for t in found["tokens"])
    assert {"id": 106, "text": "<end_of_turn>"} in found["tokens"]
    assert found["tokens"][-1]["text"] == "<0x8A>"
    literal = app.client.predict(
        text="<end_of_turn>", model=app.folders["gemma3"], parse_special=False,
        api_name="/tokenize",
    )  # fmt: skip
    assert 106 not in [t["id"] for t in literal["tokens"]]
    empty = app.client.predict(text="", model=DEMO, api_name="/tokenize")
    assert empty == {"count": 0, "tokens": []}


def test_render_chat(app: Served) -> None:
    found = app.client.predict(
        messages=[
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": [{"type": "text", "text": "Hi!"}]},
            {"role": "user", "content": "And now?"},
        ],
        model=app.folders["gemma2"], system_prompt="Be brief.", api_name="/render_chat",
    )  # fmt: skip
    assert set(found) == {"prompt", "token_ids", "bos_count", "dropped_messages", "notes"}
    assert found["prompt"] == (
        "<bos><start_of_turn>user\nBe brief.\n\nHello<end_of_turn>\n<start_of_turn>model\n"
        "Hi!<end_of_turn>\n<start_of_turn>user\nAnd now?<end_of_turn>\n<start_of_turn>model\n"
    )
    assert (found["bos_count"], found["dropped_messages"]) == (1, 0)
    assert len(found["notes"]) == 1
    assert found["token_ids"][0] == 2


@pytest.mark.parametrize("endpoint", ["/chat", "/generate"])
def test_cancelling_frees_the_engine_before_the_reply_would_end(app: Served, endpoint: str) -> None:
    text: dict[str, Any] = {"message" if endpoint == "/chat" else "prompt": "Hi"}
    job: Any = app.client.submit(
        api_name=endpoint, model=app.folders["gemma3"], precision="fp32", temperature=0,
        max_new_tokens=4000, ignore_eos=True, **text,
    )  # fmt: skip
    while len(job.outputs()) < 2:
        time.sleep(0.02)
    assert queue(app) == 1
    job.cancel()
    while queue(app) or any(row.leases for row in app.playground.library.status().loaded):
        time.sleep(0.02)  # the test's own limit ends this
    assert job.outputs()[-1]["finish_reason"] is None, "it was left to its end"
    again = final(app.client, "/chat", message="Hi", model=app.folders["gemma3"], **GREEDY)
    assert again["finish_reason"]


def test_requests_at_the_same_time_all_get_their_own_answer(app: Served) -> None:
    models = [app.folders["gemma3"], app.folders["gemma3"], app.folders["gemma4"], DEMO]
    asked = [{"message": f"Hello {i}", "model": m, **GREEDY} for i, m in enumerate(models)]
    alone = [final(app.client, "/chat", **arguments)["text"] for arguments in asked]
    jobs: list[Any] = [app.client.submit(api_name="/chat", **arguments) for arguments in asked]
    assert [list(job)[-1]["text"] for job in jobs] == alone
    assert queue(app) == 0
