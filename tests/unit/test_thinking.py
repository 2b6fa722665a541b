"""Models that think before they answer: the switch, the thoughts, and a budget spent on them."""

import itertools
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from gemma_space import chat
from gemma_space.access import Access
from gemma_space.catalog import hub_catalog
from gemma_space.chunks import GenerationChunk
from gemma_space.generation import Recorder
from gemma_space.lease import ModelKey
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.tokens import TextStream
from gemma_space.types import ChatRequest, Controls, Generation, Message, Precision, SamplingParams
from gemma_space.ui import present, provenance, transcript
from gemma_space.ui.transcript import Footer, Turn
from gemma_space.ui.xray import look
from gemma_space.ui.xray_view import verdict, view
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub
from tests.unit.test_present import generation

# What the generation's own templates do: the small models' when it is on, the large ones' also
# when it is off.
ASKS = "{% if enable_thinking %}{{ '<|turn>system\n<|think|>\n<turn|>\n' }}{% endif %}"
FORBIDS = "{% if not enable_thinking %}{{ '<|channel>thought\n<channel|>' }}{% endif %}"
SMALL_TEMPLATE = tiny.GEMMA_4.template.replace(  # type: ignore[union-attr]
    "{% for message in messages %}", ASKS + "{% for message in messages %}"
)
LARGE_TEMPLATE = SMALL_TEMPLATE.replace(
    "{{ '<|turn>model\n' }}", "{{ '<|turn>model\n' }}" + FORBIDS
)
CONTROLS = {**tiny.GEMMA_4.controls, 98: "<|think|>"}
SMALL = replace(tiny.GEMMA_4, name="gemma4-thinks", template=SMALL_TEMPLATE, controls=CONTROLS)
LARGE = replace(SMALL, name="gemma4-thinks-large", template=LARGE_TEMPLATE)
HI = (Message(role="user", content="Hi"),)
PLENTY = 10_000
ON = "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n"
OFF = "<bos><|turn>user\nHi<turn|>\n<|turn>model\n"
EMPTY_THOUGHT = "<|channel>thought\n<channel|>"
PARAMS = SamplingParams(
    max_new_tokens=9, temperature=0, top_p=1, top_k=0, min_p=0, typical_p=1,
    repetition_penalty=1, no_repeat_ngram_size=0, seed=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(SMALL)


@pytest.fixture(scope="module")
def thinker(folder: Path) -> Playground:
    return Playground([local_checkpoint(folder)], Access(probe=no_hub), Settings())


def shown(checkpoint: tiny.Tiny, thinking: bool | None) -> str:
    tokenizer = tiny.build_tokenizer(checkpoint)
    prompt = chat.render(tokenizer, HI, thinking=thinking, limit_tokens=PLENTY)
    assert prompt.notes == ()
    return tokenizer.decode(prompt.token_ids, skip_special_tokens=False)


# --- the switch --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checkpoint", "thinking", "prompt"),
    [
        (SMALL, True, ON), (SMALL, False, OFF), (SMALL, None, OFF),
        (LARGE, True, ON), (LARGE, False, OFF + EMPTY_THOUGHT), (LARGE, None, OFF + EMPTY_THOUGHT),
    ],
)  # fmt: skip
def test_the_template_is_told(checkpoint: tiny.Tiny, thinking: bool | None, prompt: str) -> None:
    assert shown(checkpoint, thinking) == prompt


def test_which_templates_ask() -> None:
    assert chat.takes_thinking(tiny.build_tokenizer(SMALL))
    for checkpoint in (*tiny.CHATTING, tiny.GEMMA_3_BASE):
        assert not chat.takes_thinking(tiny.build_tokenizer(checkpoint))


@pytest.mark.parametrize("checkpoint", [tiny.GEMMA_2, tiny.GEMMA_3], ids=lambda t: t.name)
def test_a_template_that_does_not_ask_is_not_told_and_says_so(checkpoint: tiny.Tiny) -> None:
    tokenizer = tiny.build_tokenizer(checkpoint)
    plain, off, on = (
        chat.render(tokenizer, HI, thinking=wanted, limit_tokens=PLENTY)
        for wanted in (None, False, True)
    )
    assert plain == off
    assert on.token_ids == plain.token_ids
    assert (plain.notes, on.notes) == ((), (chat.UNTHINKING,))


def asking(folder: Path, thinking: bool | None) -> ChatRequest:
    return ChatRequest(
        messages=HI, model=str(folder), precision=Precision.FP32, thinking=thinking,
        controls=Controls(max_new_tokens=4, temperature=0.0),
    )  # fmt: skip


@pytest.mark.parametrize("thinking", [True, False, None])
def test_the_engine_is_given_what_the_switch_says_and_the_panel_shows_it(
    thinker: Playground, folder: Path, thinking: bool | None
) -> None:
    request = asking(folder, thinking)
    *_, last = thinker.chat(request)
    assert isinstance(last, Generation)
    tokenizer = tiny.build_tokenizer(SMALL)
    assert tokenizer.decode(last.prompt_ids, skip_special_tokens=False) == (ON if thinking else OFF)
    assert thinker.render_chat(HI, str(folder), thinking=thinking).token_ids == last.prompt_ids
    record = provenance.record(request, last)
    reply = transcript.gone_on(Turn(role="assistant", text=""), present.reply(last), record)
    xray = look(thinker, [Turn(role="user", text="Hi"), reply], None, asking(folder, True), None)
    assert xray.rendered.token_ids == last.prompt_ids
    assert verdict(xray.kept, xray.rendered)[0] == "same"
    told = {True: "thinking on", False: "thinking off", None: ""}[thinking]
    assert told in view(xray)


# --- the thoughts ------------------------------------------------------------------------------


def stream_of(text: str, reason: Any) -> list[Generation]:
    """What is shown of a reply that says this, control tokens and all."""
    tokenizer = tiny.build_tokenizer(SMALL)
    ids = tokenizer.encode(text, add_special_tokens=False)

    def chunks() -> Generator[GenerationChunk]:
        for i in ids:
            yield GenerationChunk(token_id=i)
        yield GenerationChunk(token_id=None, finish_reason=reason)

    key = ModelKey(checkpoint=hub_catalog()[0], revision="r", precision=Precision.FP32)
    recorder = Recorder(key, PARAMS, TextStream(tokenizer), prompt_ids=(2,))
    return list(recorder.record(chunks()))


def test_thoughts_and_answer_come_apart_and_say_what_goes_on() -> None:
    updates = stream_of("<|channel>thought\nplan a<channel|>Four.", "stop")
    assert (updates[-1].thinking, updates[-1].text) == ("plan a", "Four.")
    titles = [cast(Footer, present.reply(update).footer).title for update in updates]
    assert list(dict.fromkeys(titles)) == [
        "Reading…", "Thinking…", "Writing…", present.REASONS["stop"],
    ]  # fmt: skip


def test_a_budget_spent_on_thoughts_says_how_to_go_on() -> None:
    last = stream_of("<|channel>thought\nplan a, then b", "length")[-1]
    reply = present.reply(last)
    assert (reply.text, reply.thinking) == ("", "plan a, then b")
    assert reply.footer is not None
    assert reply.footer.title == present.THOUGHT_AWAY
    assert not present.was_cut(reply.footer)
    assert "Max new tokens" in present.THOUGHT_AWAY
    assert "switch Thinking off" in present.THOUGHT_AWAY


@pytest.mark.parametrize(
    ("said", "thinking"),
    [
        ("<|channel>plan a<channel|>Four.", "plan a"),
        ("<|channel>plan\na<channel|>Four.", "plan\na"),
        ("<|channel>thought\na<channel|>Fo<|channel>thought\nb<channel|>ur.", "a\n\nb"),
        ("<|channel>thought\n<channel|>Four.", ""),
    ],
)
def test_nothing_that_is_thought_is_kept_from_the_reader(said: str, thinking: str) -> None:
    """Whatever the channel is called, and however often it is opened."""
    updates = stream_of(said, "stop")
    assert (updates[-1].thinking, updates[-1].text) == (thinking, "Four.")
    grown = [update.thinking for update in updates]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(grown))


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"thinking": "a", "text": "b", "finish_reason": "length"}, "Reached the token limit"),
        ({"thinking": "", "text": "", "finish_reason": "length"}, "Reached the token limit"),
        ({"thinking": "a", "text": "", "finish_reason": "stop"}, "Ended its turn"),
    ],
)
def test_other_ends_are_told_as_ever(fields: dict[str, Any], title: str) -> None:
    footer = present.reply(generation(**fields)).footer
    assert footer is not None
    assert footer.title == title


def thoughts(text: str, pending: bool) -> dict[str, Any]:
    footer = Footer(title="t", pending=pending)
    turn = Turn(role="assistant", text=text, thinking="plan a", footer=footer)
    return transcript.show([turn])[0]["metadata"]


def test_thoughts_are_unfolded_only_while_they_come() -> None:
    assert thoughts("", True)["status"] == "pending"
    assert thoughts("Four", True)["status"] == "done"
    assert thoughts("Four.", False)["status"] == "done"
    assert thoughts("", False)["status"] == "done"
    assert thoughts("", True)["title"] == transcript.THINKING


def test_a_thought_that_has_no_name_can_spend_the_budget_too() -> None:
    reply = present.reply(stream_of("<|channel>plan a, then", "length")[-1])
    assert reply.footer is not None
    assert (reply.thinking, reply.footer.title) == ("plan a, then", present.THOUGHT_AWAY)


def test_thoughts_never_go_back_to_the_model(thinker: Playground, folder: Path) -> None:
    turns = [
        Turn(role="user", text="Hi"),
        Turn(role="assistant", text="Hello.", thinking="a secret plan"),
        Turn(role="user", text="And?"),
    ]
    request = replace(asking(folder, True), messages=transcript.messages(turns))
    assert "secret" not in thinker.given(request).prompt


def test_stopped_while_thinking_keeps_the_thoughts() -> None:
    pending = Footer(title="Thinking…", pending=True)
    asked = [
        Turn(role="user", text="Hi"),
        Turn(role="assistant", text="", thinking="plan a", footer=pending),
    ]
    (_, settled) = transcript.settle(asked, present.STOPPED)
    assert (settled.thinking, settled.text) == ("plan a", "")
    assert settled.footer == Footer(title=present.STOPPED)
    again = transcript.from_stored(transcript.to_stored([asked[0], settled]))
    assert again == [asked[0], settled]
    assert transcript.read(transcript.show(again)) == again


def test_going_on_keeps_the_earlier_thoughts_in_front() -> None:
    before = Turn(role="assistant", text="Fo", thinking="plan a")
    more = Turn(role="assistant", text="Four.", footer=Footer(title="t"))
    assert transcript.gone_on(before, more, None).thinking == "plan a"
    more = replace(more, thinking="plan b")
    assert transcript.gone_on(before, more, None).thinking == "plan a\n\nplan b"
