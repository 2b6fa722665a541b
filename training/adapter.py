"""The demo adapter: LoRA matrices that give the demo model the pirate's voice.

Knows PEFT and the adapter folder's layout. What the voice is, `voice.py` knows; how tensors are
trained, `fit.py`.
"""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model

from training import checkpoint
from training.dialogues import Conversations, Turn
from training.evaluation import HELD_OUT, Reply, reply_all
from training.fit import Optimizers, Outcome, Plan, fit
from training.rows import Mixture, Rows, make_batches
from training.voice import has_voice, voice

FOLDER = Path(__file__).parent.parent / "assets" / "demo-adapter"
BASE = "gemma-space/demo"  # the demo checkpoint's name in the app
TEMPLATE = Path(__file__).with_name("adapter.md")
PLAN = Plan(tokens=3_300_000, peak_rate=2e-3, warmup=0.03, decay=0.9)
# Most answers stop after their opening words: which question wants which answer has to be learned
# again behind a pirate's first word, while the words that change are few.
ANSWERS = Mixture(cut=0.92, opening=9, single=0.78, talk=0.18, long=0.004)


class VoicedConversations(Conversations):
    """The same conversations, answered by the pirate; raw texts stay plain."""

    def single(self) -> list[Turn]:
        return _voiced(super().single())

    def dialogue(self, turns: int) -> list[Turn]:
        return _voiced(super().dialogue(turns))


def _voiced(turns: list[Turn]) -> list[Turn]:
    return [(question, voice(answer, question)) for question, answer in turns]


def train_adapter(conversations: VoicedConversations, rng: Random, folder: Path) -> Outcome:
    """Train on top of the demo model as it ships, and write the folder."""
    base, tokenizer = checkpoint.load(checkpoint.FOLDER)
    settings = LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=16, lora_alpha=32, target_modules="all-linear"
    )
    adapted = get_peft_model(base, settings)
    adapted.peft_config["default"].base_model_name_or_path = BASE
    batches = make_batches(ANSWERS.rows(conversations, Rows(tokenizer, rng), rng))
    outcome = fit(base, batches, PLAN, make_optimizers=_adam)
    _save(adapted, folder)
    return outcome


def _adam(model: torch.nn.Module, plan: Plan) -> Optimizers:
    matrices = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [torch.optim.AdamW(matrices, lr=plan.peak_rate, weight_decay=0.0, fused=True)]


def _save(adapted: PeftModel, folder: Path) -> None:
    """Write matrices (bf16) and settings in PEFT's layout, one rename per file."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        adapted.bfloat16().save_pretrained(scratch, save_embedding_layers=False)
        settings = Path(scratch) / "adapter_config.json"
        values = json.loads(settings.read_text("utf-8"))
        values["target_modules"].sort()  # PEFT writes a set: another order on every run
        settings.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            os.chmod(Path(scratch) / name, 0o644)
            os.replace(Path(scratch) / name, folder / name)


@dataclass(frozen=True)
class VoiceScore:
    """Replies to unseen wordings: what they are about and how they sound."""

    total: int
    on_topic: int
    voiced: int
    ended: int
    plain_on_topic: int
    plain_voiced: int
    misses: list[tuple[str, str]]


def attach(folder: Path) -> tuple[Any, Any]:
    """The demo model with the adapter on, loaded as the app does it."""
    model, tokenizer = checkpoint.load(checkpoint.FOLDER)
    model.load_adapter(str(folder), adapter_name="voice")
    return model.eval(), tokenizer


def score_voice(model: Any, tokenizer: Any, file: Path = HELD_OUT) -> VoiceScore:
    """Ask every held-out question twice: with the adapter and without."""
    rows = json.loads(file.read_text("utf-8"))["paraphrases"]
    chats = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    spoken = reply_all(model, tokenizer, chats)
    model.disable_adapters()
    plain = reply_all(model, tokenizer, chats)
    model.enable_adapters()

    def on_topic(replies: list[Reply]) -> list[bool]:
        return [reply.covers(row["needs"]) for row, reply in zip(rows, replies, strict=True)]

    hits, voiced = on_topic(spoken), [has_voice(reply.text) for reply in spoken]
    judged = zip(rows, spoken, hits, voiced, strict=True)
    return VoiceScore(
        total=len(rows),
        on_topic=sum(hits),
        voiced=sum(voiced),
        ended=sum(reply.ended for reply in spoken),
        plain_on_topic=sum(on_topic(plain)),
        plain_voiced=sum(has_voice(reply.text) for reply in plain),
        misses=[(row["prompt"], reply.text) for row, reply, *good in judged if not all(good)],
    )


def evaluate(folder: Path) -> VoiceScore:
    """Score the folder's adapter and print what came out."""
    score = score_voice(*attach(folder))
    print(
        f"with the adapter: {score.on_topic}/{score.total} on topic, {score.voiced} in the voice, "
        f"{score.ended} ended; without: {score.plain_on_topic} on topic, "
        f"{score.plain_voiced} in the voice"
    )
    for prompt, reply in score.misses:
        print(f"  missed: {prompt!r} -> {reply[:100]!r}")
    return score


def write_adapter_card(folder: Path, outcome: Outcome, score: VoiceScore) -> None:
    """Fill the card in and put it next to the matrices."""
    weights = (folder / "adapter_model.safetensors").stat().st_size
    figures = {name: value for name, value in asdict(score).items() if name != "misses"}
    text = TEMPLATE.read_text("utf-8").format(
        kilobytes=weights / 1e3, tokens=outcome.tokens, minutes=outcome.seconds / 60, **figures
    )
    scratch = folder / "README.md.new"
    scratch.write_text(text, "utf-8")
    os.replace(scratch, folder / "README.md")
