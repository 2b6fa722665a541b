"""Completions: raw prompts as text or ids, echoes, probabilities in their older shape."""

from typing import Any

import pytest
from openai import BadRequestError

from tests.api.conftest import Served
from tests.api.openai_client import GREEDY, client
from tests.api.test_endpoints import final

PROMPT = "The answer is"


@pytest.fixture
def asked(app: Served) -> dict[str, Any]:
    return {"model": f"{app.folders['gemma3-base']}:fp32", "prompt": PROMPT, **GREEDY}


def test_a_completion_is_what_the_other_api_says(app: Served, asked: dict[str, Any]) -> None:
    reply: Any = client(app).completions.create(**asked)
    gradio = final(
        app.client, "/generate", prompt=PROMPT, model=app.folders["gemma3-base"],
        precision="fp32", temperature=0, max_new_tokens=12,
    )  # fmt: skip
    (choice,) = reply.choices
    assert choice.text == gradio["text"]
    assert choice.finish_reason == gradio["finish_reason"] == "length"
    assert choice.logprobs is None
    assert reply.object == "text_completion"
    assert reply.usage.prompt_tokens == gradio["prompt_tokens"]
    assert reply.usage.completion_tokens == 12


def test_a_stream_joins_to_the_whole(app: Served, asked: dict[str, Any]) -> None:
    openai = client(app)
    asked |= {"max_tokens": 60, "extra_body": {"ignore_eos": True}}
    whole = openai.completions.create(**asked)
    chunks: Any = list(
        openai.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    *pieces, usage = chunks
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text
    assert len(pieces) > 2
    assert pieces[-1].choices[0].finish_reason == "length"
    assert (usage.choices, usage.usage.completion_tokens) == ([], 60)


def test_a_prompt_may_be_ids(app: Served, asked: dict[str, Any]) -> None:
    openai = client(app)
    told = app.client.predict(
        text=PROMPT, model=app.folders["gemma3-base"], api_name="/tokenize"
    )["tokens"]  # fmt: skip
    ids = [2, *(token["id"] for token in told)]
    whole = openai.completions.create(**asked).choices[0].text
    for prompt in (ids, [ids], [PROMPT]):
        assert openai.completions.create(**asked | {"prompt": prompt}).choices[0].text == whole


def test_probabilities_in_the_shape_of_completions(app: Served, asked: dict[str, Any]) -> None:
    openai = client(app)
    reply = openai.completions.create(**asked, logprobs=2)
    text, found = reply.choices[0].text, reply.choices[0].logprobs
    assert len(found.tokens) == len(found.token_logprobs) == len(found.text_offset) == 12
    assert "".join(found.tokens)[: len(text)].startswith(text[:8])
    assert found.text_offset[:2] == [0, len(found.tokens[0])]
    for token, logprob, top in zip(
        found.tokens, found.token_logprobs, found.top_logprobs, strict=True
    ):
        assert max(top.values()) == top[token] == logprob
        assert len(top) <= 2
    chunks = list(openai.completions.create(**asked, logprobs=2, stream=True))
    streamed = [t for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.tokens]
    assert streamed == found.tokens
    bare = openai.completions.create(**asked, logprobs=0).choices[0].logprobs
    assert bare.top_logprobs == [{}] * 12
    assert bare.token_logprobs == pytest.approx(found.token_logprobs)


def test_an_echo_has_the_prompt_and_its_probabilities(app: Served, asked: dict[str, Any]) -> None:
    openai = client(app)
    plain = openai.completions.create(**asked).choices[0].text
    assert openai.completions.create(**asked, echo=True).choices[0].text == PROMPT + plain
    pieces = openai.completions.create(**asked, echo=True, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == PROMPT + plain
    scored = app.client.predict(
        text=PROMPT, model=app.folders["gemma3-base"], precision="fp32", top=1, api_name="/score"
    )["tokens"]
    found = openai.completions.create(**asked, echo=True, logprobs=1).choices[0].logprobs
    assert "".join(found.tokens).startswith(PROMPT)
    assert found.token_logprobs[: len(scored)] == pytest.approx([t["logprob"] for t in scored])
    assert len(found.tokens) == len(scored) + 12
    only = openai.completions.create(**asked | {"max_tokens": 0}, echo=True, logprobs=1)
    assert only.choices[0].text == PROMPT
    assert only.choices[0].logprobs.tokens == found.tokens[: len(scored)]
    assert (only.usage.prompt_tokens, only.usage.completion_tokens) == (len(scored), 0)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [({"prompt": []}, "prompt"), ({"prompt": ["a", "b"]}, "prompt"), ({"prompt": 5}, "prompt"),
     ({"prompt": [1, "a"]}, "prompt"), ({"logprobs": 21}, None), ({"logprobs": -1}, "logprobs"),
     ({"suffix": "end"}, "suffix"), ({"best_of": 3}, "best_of"), ({"max_tokens": 0}, "max_tokens"),
     ({"echo": True, "prompt": [2, 5]}, "echo"), ({"prompt": [2, 10**9]}, None),
     ({"echo": True, "logprobs": 1, "stream": True}, "echo"),
     ({"echo": True, "logprobs": 1, "extra_body": {"add_bos": False}}, "add_bos")],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_served_is_refused_by_its_name(
    app: Served, asked: dict[str, Any], wrong: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(BadRequestError) as caught:
        client(app).completions.create(**asked | wrong)
    assert caught.value.param == param
    assert str(caught.value.body["message"]).endswith((".", "!"))  # type: ignore[index]
