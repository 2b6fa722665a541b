"""Scores a checkpoint on questions it was never trained on.

Greedy replies, and for each a list of word groups of which the reply must hold one word each.
Knows `tests/held_out_paraphrases.json`, nothing of how the model was trained.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.vocabulary import TURN_END

HELD_OUT = Path(__file__).parent.parent / "tests" / "held_out_paraphrases.json"
LIMIT = 200  # tokens
Message = dict[str, str]


@dataclass(frozen=True)
class Reply:
    """A greedy reply and whether the model ended its turn within the limit."""

    text: str
    ended: bool

    def covers(self, needs: list[list[str]]) -> bool:
        text = self.text.lower()
        return all(any(word.lower() in text for word in group) for group in needs)


@dataclass(frozen=True)
class Score:
    """How many of the questions were answered on topic, and which were not."""

    right: int
    total: int
    ended: int
    misses: list[tuple[str, str]]

    @property
    def share(self) -> float:
        return self.right / self.total


@torch.inference_mode()
def reply_all(
    model: Any, tokenizer: Any, chats: list[list[Message]], batch: int = 48
) -> list[Reply]:
    """Answer every chat greedily, in left-padded batches."""
    replies: list[Reply] = []
    for start in range(0, len(chats), batch):
        inputs = tokenizer.apply_chat_template(
            chats[start : start + batch],
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
            sanitize_control_tokens=True,
        )
        output = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=LIMIT,
            top_p=None,
            top_k=None,
            temperature=None,
        )
        for row in output[:, inputs["input_ids"].shape[1] :].tolist():
            text = tokenizer.decode(row, skip_special_tokens=True)
            replies.append(Reply(text, TURN_END in row))
    return replies


def score_paraphrases(model: Any, tokenizer: Any, file: Path = HELD_OUT) -> Score:
    """Single questions in wordings that the corpus does not have."""
    rows = json.loads(file.read_text("utf-8"))["paraphrases"]
    chats = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    return _score(rows, reply_all(model, tokenizer, chats))


def score_conversations(model: Any, tokenizer: Any, file: Path = HELD_OUT) -> Score:
    """Whole conversations, each turn answered on top of the model's own earlier replies."""
    scripts = json.loads(file.read_text("utf-8"))["conversations"]
    chats: list[list[Message]] = [[] for _ in scripts]
    rows: list[dict] = []
    replies: list[Reply] = []
    for turn in range(max(map(len, scripts))):
        active = [i for i, script in enumerate(scripts) if turn < len(script)]
        for i in active:
            chats[i].append({"role": "user", "content": scripts[i][turn]["prompt"]})
        answers = reply_all(model, tokenizer, [chats[i] for i in active])
        for i, answer in zip(active, answers, strict=True):
            chats[i].append({"role": "assistant", "content": answer.text})
            rows.append(scripts[i][turn])
            replies.append(answer)
    return _score(rows, replies)


def _score(rows: list[dict], replies: list[Reply]) -> Score:
    good = [reply.covers(row["needs"]) for row, reply in zip(rows, replies, strict=True)]
    pairs = zip(rows, replies, good, strict=True)
    misses = [(row["prompt"], reply.text) for row, reply, hit in pairs if not hit]
    return Score(sum(good), len(rows), sum(reply.ended for reply in replies), misses)
