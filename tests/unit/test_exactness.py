"""Greedy text equals `model.generate` on the whole prompt, token for token, for every generation.

Six growing turns per architecture, in fp32, across sliding windows and prefill chunks.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from gemma_space.engine import steps
from gemma_space.engine.batch import BatchEngine
from gemma_space.playground import Playground
from gemma_space.types import ChatRequest, Controls, Generation, Message, Precision, SamplingParams
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints

NEW_TOKENS = 16
QUESTIONS = (
    "What is the answer to the question that we asked before the train left the station?",
    "And what is the weather like in the hills behind the sea, where the sun goes down?",
    "Hi.",
    "Say it again: 0123456789, (please) and do not forget the quick brown fox!",
    "東京は日本の首都です。",
    "Then open the page and choose a small model that learned to listen to the story.",
)


class Reference:
    """Plain transformers on its own copy of the model: what the answer has to be."""

    def __init__(self, folder: Path, stop_ids: frozenset[int]) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.stop_ids = stop_ids

    def prompt(self, messages: list[Message]) -> list[int]:
        return self.tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages],
            add_generation_prompt=True,
            return_dict=False,
        )

    def reply(self, prompt: list[int], new_tokens: int = NEW_TOKENS) -> list[int]:
        ids = torch.tensor([prompt], device=self.model.device)
        config = GenerationConfig(
            do_sample=False, max_new_tokens=new_tokens, eos_token_id=sorted(self.stop_ids),
            pad_token_id=0,
        )  # fmt: skip
        self.model.generation_config = GenerationConfig(pad_token_id=0)
        out = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=config
        )
        return out[0, len(prompt) :].tolist()


def greedy(**changed: Any) -> SamplingParams:
    values: dict[str, Any] = {
        "max_new_tokens": NEW_TOKENS, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
        "typical_p": 1.0, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "seed": 0,
    }  # fmt: skip
    return SamplingParams(**(values | changed))


@pytest.mark.parametrize("name", [*(t.name for t in tiny.CHATTING), "demo"])
def test_six_growing_turns_equal_generate(
    playground: Playground, checkpoints: Checkpoints, name: str
) -> None:
    folder, stop_ids = checkpoints.demo(), frozenset((1, 106))
    if name != "demo":
        checkpoint = next(t for t in tiny.CHATTING if t.name == name)
        folder, stop_ids = checkpoints.folder(checkpoint), checkpoint.stop_ids
    reference = Reference(folder, stop_ids)
    engine = BatchEngine(reference.model, stop_ids)
    messages: list[Message] = []
    seen: set[int] = set()
    prompt: list[int] = []
    for question in QUESTIONS:
        messages.append(Message(role="user", content=question))
        request = ChatRequest(
            messages=tuple(messages), model=str(folder), precision=Precision.FP32,
            controls=Controls(max_new_tokens=NEW_TOKENS, temperature=0.0),
        )  # fmt: skip
        *_, last = playground.chat(request)
        assert isinstance(last, Generation)

        prompt = reference.prompt(messages)
        wanted = reference.reply(prompt)
        spoken = [i for i in wanted if i not in stop_ids]
        seen.update(spoken)
        text = reference.tokenizer.decode(spoken, skip_special_tokens=True)
        assert last.text == text.rstrip("\ufffd")
        assert last.prompt_tokens == len(prompt)
        assert last.completion_tokens == len(spoken)
        assert last.finish_reason == ("length" if len(spoken) == len(wanted) else "stop")
        assert last.dropped_messages == 0

        chunks = list(engine.stream(tuple(prompt), greedy()))
        assert [c.token_id for c in chunks if c.token_id is not None] == wanted
        messages.append(Message(role="assistant", content=last.text or "(nothing)"))
    assert len(prompt) > steps.PREFILL_TOKENS["cpu"]
    if name != "demo":
        assert len(seen) > 30, "the text collapsed: exactness would prove nothing"


@pytest.mark.parametrize("checkpoint", tiny.CHATTING, ids=lambda t: t.name)
@pytest.mark.parametrize("size", [1, 7, tiny.SLIDING_WINDOW, 3 * tiny.SLIDING_WINDOW + 1])
def test_prefill_chunks_of_any_size_change_nothing(
    checkpoints: Checkpoints,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: tiny.Tiny,
    size: int,
) -> None:
    reference = Reference(checkpoints.folder(checkpoint), checkpoint.stop_ids)
    prompt = reference.prompt([Message(role="user", content=QUESTIONS[0])])
    monkeypatch.setitem(steps.PREFILL_TOKENS, "cpu", size)
    engine = BatchEngine(reference.model, checkpoint.stop_ids)
    chunks = list(engine.stream(tuple(prompt), greedy(max_new_tokens=8)))
    assert [c.token_id for c in chunks if c.token_id is not None] == reference.reply(prompt, 8)
    # Whoever waits long for the first token is told again, then with all of the prompt.
    done = [c.prompt_done_tokens for c in chunks if c.token_id is None]
    told = [count for count in dict.fromkeys(done) if count < len(prompt)]
    assert told == list(range(0, len(prompt), size))
