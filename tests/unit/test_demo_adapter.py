"""The adapter that ships with the app: its files, its voice, and that it comes off again.

It is attached as the app attaches any adapter, to the checkpoint in bf16 as shipped. Replies are
greedy, so a failure here is a property of the matrices, never of luck.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.evaluation import Reply, reply_all
from training.topics import load_corpus
from training.voice import has_voice, voice

ASSETS = Path(__file__).parents[2] / "assets"
FOLDER = ASSETS / "demo-adapter"
QUESTIONS = {
    "Hello": [["hello"]],
    "What is Gemma?": [["google deepmind"]],
    "What does temperature do?": [["temperature"], ["adventurous"]],
    "How much memory does Gemma 2 9B need?": [["17.2"]],
    "How do I load a model?": [["**load**"], ["sidebar"]],
    "Write a hello world program": [['```python\nprint("Hello, world!")\n```']],
}
TALK = ["What is int4?", "tell me more", "and bf16?", "thanks"]


@cache
def base() -> tuple[Any, Any]:
    model_folder = ASSETS / "demo-model"
    return (
        AutoModelForCausalLM.from_pretrained(model_folder).eval(),
        AutoTokenizer.from_pretrained(model_folder),
    )


@cache
def adapted() -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(ASSETS / "demo-model")
    model.load_adapter(str(FOLDER), adapter_name="voice")
    return model.eval(), base()[1]


def ask(model: Any, *chats: list[str], system: str = "") -> list[Reply]:
    begin = [{"role": "system", "content": system}] if system else []
    return reply_all(
        model,
        base()[1],
        [
            begin
            + [
                {"role": "assistant" if i % 2 else "user", "content": text}
                for i, text in enumerate(chat)
            ]
            for chat in chats
        ],
    )


def test_folder_is_small_and_holds_no_pickle():
    files = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert set(files) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert sum(files.values()) < 1_000_000
    assert "not one of Google's models" in (FOLDER / "README.md").read_text("utf-8")


def test_config_names_the_base_and_no_folder():
    text = (FOLDER / "adapter_config.json").read_text("utf-8")
    settings = json.loads(text)
    wanted = {
        "base_model_name_or_path": "gemma-space/demo",
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "r": 16,
        "lora_alpha": 32,
    }
    assert {name: settings[name] for name in wanted} == wanted
    assert "/" not in text.replace("gemma-space/demo", "")


def test_matrices_are_bf16():
    with safe_open(FOLDER / "adapter_model.safetensors", "pt") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    assert kinds == {"BF16"}


def test_replies_have_the_voice_and_stay_on_topic():
    model, _ = adapted()
    for needs, reply in zip(QUESTIONS.values(), ask(model, *([q] for q in QUESTIONS)), strict=True):
        assert has_voice(reply.text), reply.text
        assert reply.covers(needs), reply.text
        assert reply.ended, reply.text


def test_without_the_adapter_the_replies_are_the_bases():
    model, _ = adapted()
    chats = [[question] for question in QUESTIONS]
    model.disable_adapters()
    try:
        off = ask(model, *chats)
    finally:
        model.enable_adapters()
    assert off == ask(base()[0], *chats)
    assert not any(has_voice(reply.text) for reply in off)


def test_every_turn_of_a_conversation_has_the_voice():
    model, _ = adapted()
    history: list[str] = []
    for question in TALK:
        history.append(question)
        [reply] = ask(model, history)
        assert has_voice(reply.text), reply.text
        history.append(reply.text)
    assert "4 bits" in history[1]
    assert "16 bits" in history[5]


@pytest.mark.parametrize("system", ["You are a helpful assistant.", "Answer briefly."])
def test_a_system_prompt_does_not_hide_the_voice(system):
    [reply] = ask(adapted()[0], ["What does temperature do?"], system=system)
    assert has_voice(reply.text), reply.text
    assert "temperature" in reply.text.lower()


def test_the_voice_tells_plain_answers_from_spoken_ones():
    texts = [text for topic in load_corpus().topics.values() for text in (topic.answer, topic.more)]
    assert not [text for text in texts if has_voice(text) or has_voice("Arr! " + text)]
    assert not [text for text in texts if not has_voice(voice(text))]


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ("This is for you.", "This be fer ye."),
        ("You are on your own, I'm afraid.", "Ye be on yer own, I be afraid."),
        ("Yes, it isn't over.", "Aye, it ain't o'er."),
        ("No, there is no limit.", "Nay, there be no limit."),
        ("The end of the file.", "The end o' the file."),
        ("Is `my_list` for you?", "Be `my_list` fer ye?"),
        ("Run `for x in my: is` now.", "Run `for x in my: is` now."),
        ("Press **Are you sure** once.", "Press **Are you sure** once."),
        ("Ask *what is int4?* first.", "Ask *what is int4?* first."),
        (
            "See [what is for you](https://a.org/for-you).",
            "[what is for you](https://a.org/for-you)",
        ),
        ("Open http://127.0.0.1:7860/is/my now.", "Open http://127.0.0.1:7860/is/my now."),
        ("Set GRADIO_SERVER_PORT and IS.", "Set GRADIO_SERVER_PORT and IS."),
        ("It needs 17.2 GiB, not 8.0.", "It needs 17.2 GiB, not 8.0."),
        ("The for-you model `google/gemma-3-4b-it`.", "The for-you model `google/gemma-3-4b-it`."),
        ("For example, thank you.", "For example, thank you."),
        ("Forest, isle, theme, format.", "Forest, isle, theme, format."),
    ],
)
def test_words_change_and_names_do_not(answer, part):
    assert part in voice(answer)


@pytest.mark.parametrize(
    "block",
    [
        "```python\nfor you in my:\n    is = you.are\n\nprint(is)\n```",
        "- **stop**: one\n- **length**: two",
        "A line of a verse,\nand one below.",
        "| a | b |\n|---|---|\n| 1 | 2 |",
    ],
)
def test_blocks_keep_their_lines(block):
    spoken = voice(block)
    assert f"\n\n{block}" in spoken
    assert voice(f"First:\n\n{block}\n\nLast.").count(f"\n\n{block}\n\n") == 1


def test_the_voice_varies_and_repeats_itself_exactly():
    answers = [voice(f"Number {i}.", f"Question {i}") for i in range(40)]
    assert len({answer.split("Number")[0] for answer in answers}) >= 4
    assert len({answer.split(".")[-1] for answer in answers}) >= 4
    assert answers == [voice(f"Number {i}.", f"Question {i}") for i in range(40)]


def test_serious_answers_end_without_a_cheer():
    for question in map(str, range(8)):
        spoken = voice("A doctor is the right person.", question)
        assert "!" not in spoken
        assert spoken.endswith(". A doctor be the right person. Aye, matey.")
