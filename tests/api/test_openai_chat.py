"""Chat completions, by the package that OpenAI's users have."""

import asyncio
import math
from typing import Any

import pytest

from gemma_space import chat
from gemma_space.types import ChatRequest, Controls, Message, Precision
from tests.api.conftest import DEMO, GATED, Served
from tests.api.openai_client import GREEDY, async_client, client, said
from tests.api.test_endpoints import final


def fp32(app: Served, name: str) -> str:
    return f"{app.folders[name]}:fp32"


def test_models_are_listed_and_found_by_their_names(app: Served) -> None:
    openai = client(app)
    rows = list(openai.models.list())
    assert [row.id for row in rows] == [DEMO, *app.folders.values(), GATED.repo_id]
    assert [row.owned_by for row in rows][0::6] == ["gemma-space", "local"]
    for name in (DEMO, app.folders["gemma3"]):
        assert openai.models.retrieve(name).id == name


def test_a_reply_is_the_use_cases_own(app: Served) -> None:
    request = ChatRequest(
        messages=(Message(role="user", content="Hello"),), model=DEMO, system_prompt="Be brief.",
        precision=Precision.FP32, controls=Controls(max_new_tokens=12, temperature=0.0),
    )  # fmt: skip
    *_, last = app.playground.chat(request)
    direct: Any = last
    reply: Any = client(app).chat.completions.create(
        model=f"{DEMO}:fp32",
        messages=[{"role": "developer", "content": "Be brief."}, *said("Hello")],
        **GREEDY,
    )
    (choice,) = reply.choices
    assert choice.message.content == direct.text
    assert choice.message.role == "assistant"
    assert choice.finish_reason == direct.finish_reason == "stop"
    assert choice.logprobs is None
    assert (reply.object, reply.model) == ("chat.completion", f"{DEMO}:fp32")
    assert reply.id.startswith("chatcmpl-")
    assert reply.system_fingerprint == "local-fp32"
    usage = reply.usage
    assert usage.completion_tokens == direct.completion_tokens > 0
    assert usage.prompt_tokens == direct.prompt_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_stream_is_the_same_text_in_pieces(app: Served) -> None:
    asked: dict[str, Any] = {
        "model": fp32(app, "gemma3"), "messages": said("Hi"), "temperature": 0,
        "extra_body": {"ignore_eos": True}, "max_completion_tokens": 120,
    }  # fmt: skip
    openai = client(app)
    whole = openai.chat.completions.create(**asked)
    chunks = list(openai.chat.completions.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:])
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) > 3
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_ends_a_stream_for_who_asks_and_tells_what_was_cached(app: Served) -> None:
    asked: dict[str, Any] = {
        "model": fp32(app, "gemma2"), "messages": said("Tell me all there is to tell " * 8),
        "stream": True, "stream_options": {"include_usage": True}, **GREEDY,
    }  # fmt: skip
    openai = client(app)
    first, second = (list(openai.chat.completions.create(**asked))[-1] for _ in range(2))
    assert first.choices == second.choices == []
    assert second.usage.prompt_tokens_details.cached_tokens == second.usage.prompt_tokens - 1
    assert first.usage.prompt_tokens == second.usage.prompt_tokens


def test_probabilities_in_the_shape_of_chat(app: Served) -> None:
    asked: dict[str, Any] = {
        "model": fp32(app, "gemma3"), "messages": said("Hi"), "logprobs": True, "top_logprobs": 3,
        **GREEDY,
    }  # fmt: skip
    openai = client(app)
    reply = openai.chat.completions.create(**asked)
    found = reply.choices[0].logprobs.content
    assert len(found) == reply.usage.completion_tokens
    for token in found:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob <= 0, "greedy takes the likeliest"
        assert token.token == token.top_logprobs[0].token
    raw = b"".join(bytes(token.bytes) for token in found)
    assert raw.decode(errors="replace").startswith(reply.choices[0].message.content[:8])
    chunks = openai.chat.completions.create(**asked, stream=True)
    streamed = [t for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert [t.token for t in streamed] == [t.token for t in found]
    assert [t.logprob for t in streamed] == pytest.approx([t.logprob for t in found])
    bare = openai.chat.completions.create(**asked | {"top_logprobs": 0}).choices[0].logprobs.content
    assert [t.top_logprobs for t in bare] == [[]] * len(found)
    assert [t.logprob for t in bare] == pytest.approx([t.logprob for t in found])


def test_stop_strings_end_it_as_stop(app: Served) -> None:
    asked: dict[str, Any] = {"model": fp32(app, "gemma3"), "messages": said("Hi"), **GREEDY}
    openai = client(app)
    whole = openai.chat.completions.create(**asked).choices[0].message.content
    for stop in (whole[4:7], ["unused", whole[4:7]]):
        (choice,) = openai.chat.completions.create(**asked, stop=stop).choices
        assert (choice.message.content, choice.finish_reason) == (
            whole[: whole.index(whole[4:7])], "stop"
        )  # fmt: skip


def test_a_seed_repeats_a_sampled_reply_and_the_one_used_is_told(app: Served) -> None:
    asked: dict[str, Any] = {
        "model": fp32(app, "gemma4"), "messages": said("Hi"), "temperature": 1, "max_tokens": 12,
        "top_p": 0.9, "extra_body": {"top_k": 40, "min_p": 0.01, "repetition_penalty": 1.1},
    }  # fmt: skip
    openai = client(app)
    one: Any = openai.chat.completions.create(**asked)
    again = openai.chat.completions.create(**asked, seed=one.gemma_space["seed"])
    assert again.choices[0].message.content == one.choices[0].message.content


@pytest.mark.parametrize("switch", [{"thinking": True}, {"reasoning_effort": "high"}], ids=str)
def test_what_was_changed_on_the_way_is_told(app: Served, switch: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"model": fp32(app, "gemma2"), "messages": said("Hi"), **GREEDY}
    openai = client(app)
    notes = openai.chat.completions.create(**asked, extra_body=switch).gemma_space["notes"]
    assert notes == [chat.UNTHINKING]
    last = list(openai.chat.completions.create(**asked, extra_body=switch, stream=True))[-1]
    assert last.gemma_space["notes"] == notes
    off: Any = {"reasoning_effort": "none"}
    assert openai.chat.completions.create(**asked, extra_body=off).gemma_space["notes"] == []


def test_fields_of_accounts_are_left_aside_and_neutral_ones_taken(app: Served) -> None:
    asked: dict[str, Any] = {"model": f"{DEMO}:fp32", "messages": said("Hello"), **GREEDY}
    openai = client(app)
    plain = openai.chat.completions.create(**asked).choices[0].message.content
    full = openai.chat.completions.create(
        **asked, user="me", metadata={"a": "b"}, store=False, n=1, frequency_penalty=0,
        presence_penalty=0.0, logit_bias={}, tools=[], response_format={"type": "text"},
        parallel_tool_calls=True, service_tier="auto",
    )  # fmt: skip
    assert full.choices[0].message.content == plain


def test_both_apis_answer_alike(app: Served) -> None:
    gradio = final(
        app.client, "/chat", message="Hello", precision="fp32", temperature=0, max_new_tokens=12
    )
    (choice,) = (
        client(app)
        .chat.completions.create(model=f"{DEMO}:fp32", messages=said("Hello"), **GREEDY)
        .choices
    )
    assert choice.message.content == gradio["text"]


@pytest.mark.parametrize("streams", [True, False])
def test_hanging_up_frees_the_engine(app: Served, streams: bool) -> None:
    asked: dict[str, Any] = {
        "model": fp32(app, "gemma3"), "messages": said("Hi"), "stream": streams,
        "max_tokens": 4000, "extra_body": {"ignore_eos": True},
    }  # fmt: skip
    busy = app.playground.library

    async def hang_up() -> None:
        async with async_client(app) as openai:
            if streams:
                stream: Any = await openai.chat.completions.create(**asked)
                async for chunk in stream:
                    if chunk.choices[0].delta.content:
                        break
                assert busy.status().queue == 1
                await stream.close()
            else:
                task = asyncio.create_task(openai.chat.completions.create(**asked))
                while not busy.status().queue:
                    await asyncio.sleep(0.02)
                task.cancel()
            # the test's own limit ends this
            while busy.status().queue or any(row.leases for row in busy.status().loaded):
                await asyncio.sleep(0.02)

    asyncio.run(hang_up())


def test_many_at_once_each_get_their_own_answer(app: Served) -> None:
    texts = [f"Hello {number}" for number in range(6)]

    async def ask(text: str) -> str:
        async with async_client(app) as openai:
            reply: Any = await openai.chat.completions.create(
                model=f"{DEMO}:fp32", messages=said(text), **GREEDY
            )
            return reply.choices[0].message.content

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*map(ask, texts))

    together = asyncio.run(all_of_them())
    assert together == [asyncio.run(ask(text)) for text in texts]


def test_likeliest_tokens_add_up(app: Served) -> None:
    reply = client(app).chat.completions.create(
        model=fp32(app, "gemma3"), messages=said("Hi"), logprobs=True, top_logprobs=20, **GREEDY
    )
    logprobs: Any = reply.choices[0].logprobs
    for token in logprobs.content:
        assert sum(math.exp(other.logprob) for other in token.top_logprobs) <= 1 + 1e-5
