"""Tiny random checkpoints of every Gemma generation, written as the Hub lays them out.

Knows each generation's architecture (scaled down, features kept), its control tokens and their
ids, its chat template's rules and its generation defaults. The weights are random but not at
their usual tiny scale: greedy text depends on the whole context, crosses the sliding window
(16 tokens) and does not collapse into one repeated token.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import GemmaTokenizer, GenerationConfig, PreTrainedConfig

from gemma_space.assets import DEMO_MODEL
from gemma_space.hub import Answer
from tests import tiny_configs
from tests.tiny_configs import HIDDEN, LAYERS, SLIDING_WINDOW
from tests.tiny_templates import GEMMA_1_TEMPLATE, GEMMA_3_TEMPLATE, GEMMA_4_TEMPLATE

__all__ = ["GEMMA_1_TEMPLATE", "SLIDING_WINDOW"]  # for those who look for them here
POISON = "Ω"  # a letter of its own; `poison` gives its embedding no numbers

CORPUS = (
    "A tokenizer turns a text into tokens and the model reads their ids one after the other.",
    "The quick brown fox jumps over the lazy dog while the sun goes down behind the hills.",
    "Gemma answers questions about the weather, the sea, small towns, long trains and good bread.",
    "What is the answer? I think that the answer is here, there and everywhere: 0123456789!",
    "First we open the page, then we choose a model, and then we write what we want to know.",
    "This is a short story of a small model that wanted to be larger; it learned to listen.",
    "JUST SAY YES OR NO, PLEASE. (And if you do not know, say so.) <b>bold</b> `code` # * - _ + =",
    "東京は日本の首都です。これは小さなモデルです。",
    POISON,
)

TURNS_1 = {106: "<start_of_turn>", 107: "<end_of_turn>"}
TURNS_3 = {105: "<start_of_turn>", 106: "<end_of_turn>"}
TURNS_4 = {50: "<|tool_response>", 100: "<|channel>", 101: "<channel|>", 105: "<|turn>",
           106: "<turn|>"}  # fmt: skip
SAMPLED = {"do_sample": True, "top_k": 64, "top_p": 0.95}


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """One architecture: how to configure it and what its files say.

    `relayout` makes the Hub's files of what this architecture saves, where they differ.
    """

    name: str
    family: str
    config: Callable[[dict[str, Any]], PreTrainedConfig]
    architecture: str
    template: str | None
    controls: dict[int, str]
    generation: dict[str, Any]
    context_length: int = 2048
    turn_end: int = 106
    relayout: Callable[[Path], None] | None = None

    @property
    def stop_ids(self) -> frozenset[int]:
        """What must end a reply: the configured ids and the template's turn end."""
        configured = self.generation["eos_token_id"]
        ids = configured if isinstance(configured, list) else [configured]
        return frozenset((*ids, self.turn_end)) if self.template else frozenset(ids)


def _around_3n(folder: Path) -> None:
    """Put a Gemma 3n text model between the towers of the multimodal files on the Hub.

    The whole cannot be built here: its vision tower is timm's.
    """
    file = folder / "model.safetensors"
    text = {
        f"model.language_model.{name.removeprefix('model.')}": weight
        for name, weight in load_file(file).items()
    }
    towers = {
        "model.vision_tower.timm_model.conv_stem.conv.weight": torch.ones(8, 3, 3, 3),
        "model.vision_tower.timm_model.blocks.0.0.attn.proj.weight": torch.ones(64, 32),
        "model.audio_tower.conformer.0.attention.attn.q_proj.weight": torch.ones(32, 32),
        "model.audio_tower.conformer.0.norm.weight": torch.ones(32),
        "model.embed_vision.embedding.weight": torch.ones(16, 32),
        "model.embed_vision.embedding_projection.weight": torch.ones(HIDDEN, 32),
        "model.embed_audio.embedding_projection.weight": torch.ones(HIDDEN, 32),
    }
    save_file(text | towers, file, metadata={"format": "pt"})
    half = transformers.Gemma3nTextConfig.from_pretrained(folder)
    whole = transformers.Gemma3nConfig(text_config=half.to_dict())
    whole.architectures = ["Gemma3nForConditionalGeneration"]
    whole.save_pretrained(folder)


GEMMA_1 = Tiny(
    name="gemma1", family="gemma1", config=tiny_configs.gemma_1, architecture="GemmaForCausalLM",
    template=GEMMA_1_TEMPLATE, controls=TURNS_1, generation={"eos_token_id": 1},
    context_length=512, turn_end=107,
)  # fmt: skip
GEMMA_2 = Tiny(
    name="gemma2", family="gemma2", config=tiny_configs.gemma_2, architecture="Gemma2ForCausalLM",
    template=GEMMA_1_TEMPLATE, controls=TURNS_1, generation={"eos_token_id": 1}, turn_end=107,
)  # fmt: skip
GEMMA_3 = Tiny(
    name="gemma3", family="gemma3", config=tiny_configs.gemma_3, architecture="Gemma3ForCausalLM",
    template=GEMMA_3_TEMPLATE, controls=TURNS_3,
    generation={"eos_token_id": [1, 106], **SAMPLED}, context_length=8192,
)  # fmt: skip
GEMMA_3_MULTIMODAL = Tiny(
    name="gemma3-multimodal", family="gemma3", config=tiny_configs.gemma_3_multimodal,
    architecture="Gemma3ForConditionalGeneration", template=GEMMA_3_TEMPLATE, controls=TURNS_3,
    generation={"eos_token_id": [1, 106], **SAMPLED},
)  # fmt: skip
GEMMA_3N = Tiny(
    name="gemma3n", family="gemma3n", config=tiny_configs.gemma_3n,
    architecture="Gemma3nForCausalLM", template=GEMMA_3_TEMPLATE, controls=TURNS_3,
    generation={"eos_token_id": [1, 106], **SAMPLED},
)  # fmt: skip
GEMMA_4 = Tiny(
    name="gemma4", family="gemma4", config=tiny_configs.gemma_4, architecture="Gemma4ForCausalLM",
    template=GEMMA_4_TEMPLATE, controls=TURNS_4,
    generation={"eos_token_id": [1, 106, 50], "temperature": 1.0, **SAMPLED},
)  # fmt: skip
GEMMA_3_BASE = Tiny(
    name="gemma3-base", family="gemma3", config=tiny_configs.gemma_3,
    architecture="Gemma3ForCausalLM", template=None, controls=TURNS_3,
    generation={"eos_token_id": 1},
)  # fmt: skip
GEMMA_3N_MULTIMODAL = replace(GEMMA_3N, name="gemma3n-multimodal", relayout=_around_3n)
GEMMA_4_MULTIMODAL = replace(
    GEMMA_4, name="gemma4-multimodal", config=tiny_configs.gemma_4_multimodal,
    architecture="Gemma4ForConditionalGeneration",
)  # fmt: skip
GEMMA_4_MOE = replace(GEMMA_4_MULTIMODAL, name="gemma4-moe", config=tiny_configs.gemma_4_moe)
GEMMA_4_UNIFIED = replace(
    GEMMA_4, name="gemma4-unified", config=tiny_configs.gemma_4_unified,
    architecture="Gemma4UnifiedForConditionalGeneration",
)  # fmt: skip
CHATTING = (GEMMA_1, GEMMA_2, GEMMA_3, GEMMA_3_MULTIMODAL, GEMMA_3N, GEMMA_4)
EVERY = (*CHATTING, GEMMA_3N_MULTIMODAL, GEMMA_4_MULTIMODAL, GEMMA_4_MOE, GEMMA_4_UNIFIED)


def build_tokenizer(tiny: Tiny) -> Any:
    """A byte-fallback BPE over `CORPUS` with this generation's control tokens at their ids."""
    names = {0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 4: "<mask>", **tiny.controls}
    controls = [names.get(i, f"<unused{i}>") for i in range(108)]
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=512 - 108 - 256, min_frequency=1, show_progress=False)
    learner.train_from_iterator(list(CORPUS), trainer)
    learned = json.loads(learner.to_str())["model"]
    words = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    vocabulary = [*controls, *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    make: Any = GemmaTokenizer  # its annotations are narrower than what it takes
    tokenizer = make(
        vocab={word: i for i, word in enumerate(vocabulary)},
        merges=[tuple(pair) for pair in learned["merges"]],
        add_bos_token=tiny.family != "gemma4",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [*tiny.controls.values()]})
    tokenizer.chat_template = tiny.template
    return tokenizer


def build_model(tiny: Tiny, *, seed: int = 0, tied: bool = True) -> Any:
    """A random model in fp32; what it would rather not say (controls, bytes) it hardly does."""
    torch.manual_seed(seed)
    common: dict[str, Any] = {
        "vocab_size": 512, "hidden_size": HIDDEN, "intermediate_size": 128,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": tiny.context_length, "tie_word_embeddings": tied,
        "bos_token_id": 2, "eos_token_id": tiny.generation["eos_token_id"], "pad_token_id": 0,
    }  # fmt: skip
    model = getattr(transformers, tiny.architecture)(tiny.config(common)).float().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            _randomize(name, weight)
        for weight in {
            id(w): w
            for w in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        }.values():
            weight[: 108 + 256] *= 0.05
    model.generation_config = GenerationConfig(bos_token_id=2, pad_token_id=0, **tiny.generation)
    return model


_TOWERS = ("vision", "audio", "multi_modal")


def _randomize(name: str, weight: torch.nn.Parameter) -> None:
    if any(part in name for part in _TOWERS) or weight.dim() < 2:
        if name.endswith("norm.weight") and name.count("norm") == 1 and weight.numel() == HIDDEN:
            weight.fill_(3.0)  # the last norm: logits far enough apart for sampling to matter
        if "q_norm" in name or "k_norm" in name:
            weight.fill_(1.0)
        return
    gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.2
    std = 0.05 if "embed_tokens" in name else gain / weight.shape[-1] ** 0.5
    torch.nn.init.normal_(weight, std=std)


def write(
    tiny: Tiny,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    change: Callable[[Any], None] | None = None,
    seed: int = 0,
    tied: bool = True,
) -> Path:
    """Write one checkpoint and return its folder; `change` edits the weights first."""
    model = build_model(tiny, seed=seed, tied=tied)
    if change is not None:
        with torch.no_grad():
            change(model)
    model.to(dtype).save_pretrained(folder)
    if tiny.relayout is not None:
        tiny.relayout(folder)
    build_tokenizer(tiny).save_pretrained(folder)
    return folder


def poison(model: Any) -> None:
    """Any prompt with `POISON` in it gives logits that are no numbers; use with `tied=False`."""
    poisoned = build_tokenizer(GEMMA_3).encode(POISON, add_special_tokens=False)[-1]
    model.get_input_embeddings().weight[poisoned] = float("nan")
    model.get_output_embeddings().weight[poisoned] = 0.0  # so that it never says it itself


def end_turn_after(tokens: int, prompt_ids: list[int], token_id: int) -> Callable[..., None]:
    """A change that makes greedy decoding of `prompt_ids` say `token_id` after `tokens` tokens.

    The output row of `token_id` is turned towards the last hidden state of that step; use with
    `tied=False`, so that nothing else changes.
    """

    def change(model: Any) -> None:
        ids = torch.tensor([prompt_ids])
        for _ in range(tokens):
            likeliest = model(ids).logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, likeliest], dim=1)
        out = model(ids, output_hidden_states=True)
        scores, state = out.logits[0, -1], out.hidden_states[-1][0, -1]
        best = model.get_output_embeddings().weight[int(scores.argmax())]
        row = state * (1.3 * float(best @ state) / float(state @ state))
        model.get_output_embeddings().weight[token_id] = row

    return change


class Checkpoints:
    """Tiny checkpoint folders by name, each built at its first use and kept for the session."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, Path] = {}

    def folder(self, checkpoint: Tiny) -> Path:
        return self.variant(checkpoint.name, lambda path: write(checkpoint, path))

    def variant(self, name: str, build: Callable[[Path], object]) -> Path:
        if name not in self._folders:
            build(self._root / name)
            self._folders[name] = self._root / name
        return self._folders[name]

    def poisoned(self) -> Path:
        """A Gemma 3 that computes no numbers as soon as it reads `POISON`."""
        return self.variant(
            "poisoned",
            lambda path: write(GEMMA_3, path, change=poison, tied=False),
        )

    def demo(self) -> Path:
        """The checkpoint the project ships, copied: it may be retrained meanwhile."""
        return self.variant("demo", lambda path: shutil.copytree(DEMO_MODEL, path))


def no_hub(repo_id: str, revision: str, token: str | None) -> Answer:
    """A probe for tests that must not ask about access."""
    raise AssertionError(f"the Hub was asked about {repo_id}")
