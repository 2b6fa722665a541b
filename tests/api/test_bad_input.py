"""Whatever a caller sends gets one clear sentence and a next step, and the app goes on."""

import re
from typing import Any

import pytest
from gradio_client.exceptions import AppError

from gemma_space.controls import CONTROLS, SEED
from tests import tiny_checkpoints as tiny
from tests.api.conftest import GATED, Served

NEEDED = {
    "/chat": {"message": "Hi"}, "/generate": {"prompt": "Hi"}, "/tokenize": {"text": "Hi"},
    "/render_chat": {"messages": [{"role": "user", "content": "Hi"}]}, "/load": {}, "/unload": {},
}  # fmt: skip
NO_TEXT = (5, None, ["a"], {"a": 1}, True)
NO_FLAG = (1, "yes", None, [])
OUT_OF_RANGE = [
    (control.name, value)
    for control in (*CONTROLS, SEED)
    for value in (control.minimum - 1, control.maximum + 1)
]
NO_NUMBER = [(c.name, v) for c in (*CONTROLS, SEED) for v in ("x", True, [1], {"a": 1})]
BAD: list[tuple[str, dict[str, Any]]] = [
    *(("/chat", {name: value}) for name, value in OUT_OF_RANGE + NO_NUMBER),
    *(("/generate", {name: value}) for name, value in OUT_OF_RANGE),
    *(("/chat", {"message": value}) for value in ("", " \n", *NO_TEXT)),
    *(("/chat", {"history": value}) for value in (
        "x", 5, None, {"a": 1}, ["x"], [{"role": "user"}], [{"role": "wizard", "content": "x"}],
        [{"role": "user", "content": 5}], [{"role": "user", "content": [{"type": "image"}]}],
    )),
    *(("/chat", {"system_prompt": value}) for value in NO_TEXT),
    *(("/chat", {"stop": value}) for value in (5, [5], [None], {"a": 1}, ["x"] * 99, ["x" * 999])),
    *(("/chat", {"ignore_eos": value}) for value in NO_FLAG),
    *(("/generate", {"prompt": value}) for value in NO_TEXT),
    ("/generate", {"prompt": "", "add_bos": False}),
    *(("/generate", {"add_bos": value}) for value in NO_FLAG),
    *(("/generate", {"parse_special": value}) for value in NO_FLAG),
    *(("/generate", {"logprobs": value}) for value in (-1, 21, 1.5, "3", None, True, [1])),
    *(("/tokenize", {"text": value}) for value in NO_TEXT),
    *(("/tokenize", {"parse_special": value}) for value in NO_FLAG),
    *(("/render_chat", {"messages": value}) for value in ("x", 5, [], [1], [{"role": "user"}],
        [{"role": "assistant", "content": "x"}])),
    *(("/render_chat", {"system_prompt": value}) for value in NO_TEXT),
    *((endpoint, {"model": value}) for endpoint in NEEDED
      for value in ("google/gemma-99b", "", None, 5, ["x"], {"a": 1}, "x" * 10_000)),
    *((endpoint, {"precision": value}) for endpoint in ("/chat", "/generate", "/load", "/unload")
      for value in ("fp8", "", None, 16, ["bf16"])),
    ("/chat", {"precision": "fp16"}),
    ("/load", {"precision": "fp16"}),
    ("/load", {"model": GATED.repo_id}),
    ("/chat", {"model": GATED.repo_id}),
]  # fmt: skip


def refusal(app: Served, endpoint: str, **arguments: Any) -> str:
    with pytest.raises(AppError) as caught:
        app.client.predict(api_name=endpoint, **(NEEDED[endpoint] | arguments))
    text = str(caught.value)
    assert "reference" not in text, f"not foreseen: {text}"
    assert "Traceback" not in text
    assert len(text) < 500
    sentences = re.findall(r"[^.]+\.(?:\s|$)", text)
    assert len(sentences) >= 2, f"no next step: {text}"
    return text


@pytest.mark.parametrize(("endpoint", "arguments"), BAD, ids=lambda v: str(v)[:60])
def test_bad_input_gets_a_sentence_and_a_next_step(
    app: Served, endpoint: str, arguments: dict[str, Any]
) -> None:
    refusal(app, endpoint, **arguments)


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_control_out_of_range_is_named_with_its_range_and_value(
    app: Served, name: str, value: float
) -> None:
    text = refusal(app, "/chat", **{name: value})
    assert name in text
    assert re.search(r"from \S+ to \S+", text)
    assert f"{value:g}" in text or str(int(value)) in text


def test_a_megabyte_of_text_is_refused_with_counts(app: Served) -> None:
    text = "word " * 200_000
    for endpoint, name in (("/chat", "message"), ("/generate", "prompt")):
        told = refusal(app, endpoint, **{name: text})
        assert re.search(r"\d{3},\d{3} tokens", told)
    for endpoint, name in (("/chat", "message"), ("/generate", "prompt"), ("/tokenize", "text")):
        assert "3,000,000 characters" in refusal(app, endpoint, **{name: "x" * 3_000_000})


def test_markup_in_a_name_comes_back_escaped(app: Served) -> None:
    told = refusal(app, "/chat", model="<img src=x onerror=alert(1)>")
    assert "<img" not in told


def test_a_base_model_has_no_chat(app: Served) -> None:
    assert "base model" in refusal(app, "/chat", model=app.folders["gemma3-base"])


def test_unloading_what_is_not_loaded(app: Served) -> None:
    assert "not loaded" in refusal(app, "/unload", model=app.folders["gemma3-multimodal"])


def test_a_failing_model_is_reported_and_works_again(app: Served) -> None:
    model = app.folders["poisoned"]
    told = refusal(app, "/chat", message=tiny.POISON, model=model, precision="fp32")
    assert "overflowed" in told
    reply = app.client.predict(
        message="Hi", model=model, precision="fp32", max_new_tokens=3, api_name="/chat"
    )
    assert reply["finish_reason"]


def test_after_all_that_the_app_still_answers(app: Served) -> None:
    reply = app.client.predict(message="Hi", max_new_tokens=3, precision="fp32", api_name="/chat")
    assert reply["finish_reason"]
    status = app.client.predict(api_name="/status")
    assert status["queue"] == 0
    assert all(row["leases"] == 0 for row in status["loaded"])
