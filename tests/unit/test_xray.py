"""What the panel says the model was given is what the engine was given, or says that it is not."""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest

from gemma_space import chat
from gemma_space.errors import InvalidRequestError
from gemma_space.playground import Playground
from gemma_space.types import ChatRequest, Controls, Generation, Message, Precision, RenderedChat
from gemma_space.ui import present, provenance, transcript, xray_view
from gemma_space.ui.events import asked_by
from gemma_space.ui.provenance import Provenance
from gemma_space.ui.transcript import Footer, Turn
from gemma_space.ui.xray import XrayPanel, look
from gemma_space.ui.xray_view import view
from tests import tiny_checkpoints as tiny
from tests.browser.fake_playground import FakePlayground
from tests.tiny_checkpoints import Checkpoints

NOT_BEGUN = Turn(role="assistant", text="")
KEPT = Provenance(
    model="m", revision="main", precision="bf16", seed=7, tokens=3, max_new_tokens=9,
    digest=provenance.digest_of((1, 2, 3)),
)  # fmt: skip


def user(text: str) -> Turn:
    return Turn(role="user", text=text)


def asking(folder: Path, system: str = "", **controls: Any) -> ChatRequest:
    """What the widgets would make, without the conversation."""
    wanted = Controls(**({"max_new_tokens": 8, "temperature": 0.0} | controls))
    return ChatRequest(
        messages=(), model=str(folder), precision=Precision.FP32, system_prompt=system,
        controls=wanted,
    )  # fmt: skip


def reply(
    playground: Playground, turns: Sequence[Turn], asked: ChatRequest, begun: Turn = NOT_BEGUN
) -> tuple[list[Turn], tuple[int, ...]]:
    """The conversation with one more reply, and the ids that the engine was given for it."""
    request = replace(asked, messages=transcript.messages(turns), reply_prefix=begun.text)
    *_, last = playground.chat(request)
    assert isinstance(last, Generation)
    record = provenance.record(request, last)
    return [*turns, transcript.gone_on(begun, present.reply(last), record)], last.prompt_ids


def reloaded(turns: list[Turn]) -> list[Turn]:
    """Through the chat component, the browser's storage, and the component again."""
    shown = transcript.read(transcript.show(turns))
    kept = json.loads(json.dumps(transcript.to_stored(shown)))
    return transcript.read(transcript.show(transcript.from_stored(kept)))


# --- exactly what the engine was given ----------------------------------------------------------


def test_every_reply_of_a_conversation_with_a_folded_system_prompt(
    playground: Playground, checkpoints: Checkpoints
) -> None:
    asked = asking(checkpoints.folder(tiny.GEMMA_2), "Be brief.")
    turns: list[Turn] = []
    given = []
    for text in ("Hello there", "<end_of_turn> and <b>more</b>", "What is the answer? 東京 🦊"):
        turns, ids = reply(playground, [*turns, user(text)], asked)
        given.append(ids)
    later = asking(checkpoints.folder(tiny.GEMMA_3), "Another system prompt.")
    turns = reloaded(turns)
    for number, ids in enumerate(given, start=1):
        xray = look(playground, turns, 2 * number - 1, later, None)
        assert xray.rendered.token_ids == ids
        assert (xray.number, xray.replies, xray.model) == (number, 3, asked.model)
        assert chat.FOLDED in xray.rendered.notes
        same = ("same", f"These are the {len(ids)} tokens that produced this reply.")
        assert xray_view.verdict(xray.kept, xray.rendered) == same
    assert look(playground, turns, None, later, None).rendered.token_ids == given[-1]


def test_what_was_left_out_to_fit_is_left_out_again(
    playground: Playground, checkpoints: Checkpoints
) -> None:
    asked = asking(checkpoints.folder(tiny.GEMMA_1), max_new_tokens=400)  # of 512
    old = [t for i in range(9) for t in (user(f"question {i}"), Turn(role="assistant", text="a"))]
    turns, ids = reply(playground, [*old, user("last")], asked)
    xray = look(playground, reloaded(turns), None, asking(Path("nowhere")), None)
    assert xray.rendered.token_ids == ids
    assert xray.rendered.dropped_messages > 0
    assert chat.dropped_note(xray.rendered.dropped_messages) in view(xray)


def test_a_continued_reply_was_given_its_own_beginning(
    playground: Playground, checkpoints: Checkpoints
) -> None:
    asked = asking(checkpoints.folder(tiny.GEMMA_3))
    turns, first = reply(playground, [user("Hello")], asked)
    turns, ids = reply(playground, turns[:-1], asked, turns[-1])
    assert ids[: len(first)] == first
    assert len(ids) > len(first)
    xray = look(playground, reloaded(turns), None, asking(Path("nowhere")), None)
    assert xray.rendered.token_ids == ids
    assert "what it said before stands at the end" in view(xray)


# --- or not ------------------------------------------------------------------------------------


def test_an_earlier_message_changed_since_is_told(
    playground: Playground, checkpoints: Checkpoints
) -> None:
    asked = asking(checkpoints.folder(tiny.GEMMA_3))
    turns, _ = reply(playground, [user("Hello")], asked)
    turns, ids = reply(playground, [*turns, user("And now?")], asked)
    turns[0] = user("Hello, Gemma")
    xray = look(playground, turns, None, asked, None)
    kind, sentence = xray_view.verdict(xray.kept, xray.rendered)
    assert kind == "changed"
    assert f"from {len(ids)} tokens" in sentence
    assert f"now: {len(xray.rendered.token_ids)} tokens" in sentence
    assert "Hello, Gemma" in xray.rendered.prompt


def test_a_reply_without_a_record_shows_what_it_would_be_now(
    playground: Playground, checkpoints: Checkpoints
) -> None:
    asked = asking(checkpoints.folder(tiny.GEMMA_3), "Be brief.")
    turns = [user("Hello"), Turn(role="assistant", text="Hi", footer=Footer(title="Imported"))]
    xray = look(playground, turns, None, asked, None)
    assert xray_view.verdict(xray.kept, xray.rendered) == ("unknown", xray_view.UNKNOWN)
    assert "Be brief.\n\nHello" in xray.rendered.prompt
    assert "seed" not in view(xray)


def test_a_system_prompt_too_long_to_keep_is_the_one_of_today(
    playground: Playground, checkpoints: Checkpoints
) -> None:
    folder = checkpoints.folder(tiny.GEMMA_3)
    long = asking(folder, "word " * 1000)
    turns, ids = reply(playground, [user("Hello")], long)
    turns = reloaded(turns)
    assert look(playground, turns, None, long, None).rendered.token_ids == ids
    other = look(playground, turns, None, asking(folder, "word"), None)
    assert xray_view.verdict(other.kept, other.rendered)[0] == "changed"


def test_a_reply_that_a_person_changed() -> None:
    turn = Turn(role="assistant", text="mine", footer=Footer(title="t", record=KEPT))
    kept = transcript.edited(turn).footer
    assert kept is not None
    kind, sentence = xray_view.verdict(kept.record, rendered((1, 2, 3)))
    assert kind == "same"
    assert sentence.endswith("this reply, which you have edited since.")


@pytest.mark.parametrize("at", [None, -1, 0, 2, "1", 1.5])
def test_no_such_reply(playground: Playground, checkpoints: Checkpoints, at: object) -> None:
    now = asking(checkpoints.folder(tiny.GEMMA_3))
    turns = [user("Hello")] if at is None else [user("Hello"), NOT_BEGUN]
    with pytest.raises(InvalidRequestError, match="no such reply"):
        look(playground, turns, at, now, None)


def test_a_model_that_is_gone_is_named(playground: Playground) -> None:
    record = replace(KEPT, model="gemma-none")
    turns = [user("Hi"), Turn(role="assistant", text="a", footer=Footer(title="t", record=record))]
    with pytest.raises(InvalidRequestError, match="gemma-none"):
        look(playground, turns, 1, asking(Path("x")), None)


# --- the record --------------------------------------------------------------------------------

RECORDS = [
    KEPT,
    replace(KEPT, system_prompt=None, thinking=False, prefix_length=4, edited=True),
    replace(KEPT, system_prompt="Antworte „kurz“.\n<b>", thinking=True, model="日本/模型"),
]


@pytest.mark.parametrize("kept", RECORDS)
def test_a_record_comes_back(kept: Provenance) -> None:
    assert provenance.from_text(provenance.to_text(kept)) == kept
    assert provenance.from_json(json.loads(json.dumps(provenance.to_json(kept)))) == kept
    turn = Turn(role="assistant", text="a", footer=Footer(title="t", record=kept))
    assert reloaded([user("q"), turn])[1] == turn


def test_a_record_holds_no_ids() -> None:
    long = replace(KEPT, tokens=100_000)
    assert len(provenance.to_text(long)) < 300


@pytest.mark.parametrize(
    "change",
    [
        {"model": 7}, {"seed": "7"}, {"seed": True}, {"tokens": -1}, {"tokens": None},
        {"thinking": 1}, {"edited": "yes"}, {"system_prompt": 5}, {"digest": "0" * 301},
        {"system_prompt": "x" * 4001}, {"prefix_length": 1.5},
    ],
)  # fmt: skip
def test_what_is_no_record_counts_as_none(change: dict[str, object]) -> None:
    assert provenance.from_json(provenance.to_json(KEPT) | change) is None


@pytest.mark.parametrize("text", [None, 7, "", "{", "[]", "null", '{"model": "m"}', "[" * 100_000])
def test_no_record_at_all(text: object) -> None:
    assert provenance.from_text(text) is None


def test_fields_from_a_later_version_do_no_harm() -> None:
    assert provenance.from_json(provenance.to_json(KEPT) | {"mood": "good"}) == KEPT


def test_the_link_is_no_part_of_what_is_kept() -> None:
    turns = [user("q"), Turn(role="assistant", text="a", footer=Footer(title="t", detail="d"))]
    shown = transcript.show(turns)
    assert shown[-1]["content"][0]["text"].endswith("(#given-1)")
    assert transcript.read(shown) == turns
    pending = [user("q"), Turn(role="assistant", text="a", footer=Footer(title="t", pending=True))]
    assert "#given" not in str(transcript.show(pending))


# --- how it reads ------------------------------------------------------------------------------


def rendered(ids: tuple[int, ...], notes: tuple[str, ...] = ()) -> RenderedChat:
    return RenderedChat(prompt="", token_ids=ids, bos_count=1, dropped_messages=0, notes=notes)


def read_back(drawn: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", drawn))


@pytest.mark.parametrize("checkpoint", tiny.CHATTING, ids=lambda t: t.name)
def test_a_typed_control_token_has_no_mark(
    playground: Playground, checkpoints: Checkpoints, checkpoint: tiny.Tiny
) -> None:
    text = "  <start_of_turn>model\n<turn|> &amp; <b>\t東京 🦊\n\n  end"
    asked = replace(
        asking(checkpoints.folder(checkpoint)), messages=(Message(role="user", content=text),)
    )
    found = playground.given(asked)
    pieces = playground.pieces(found.token_ids, asked.model)
    drawn = xray_view.prompt_html(pieces)
    assert read_back(drawn) == found.prompt
    marked = [html.unescape(mark) for mark in re.findall(r'<b class="control">(.*?)</b>', drawn)]
    opens, ends = ("<|turn>", "<turn|>") if "4" in checkpoint.name else (
        "<start_of_turn>", "<end_of_turn>"
    )  # fmt: skip
    assert marked == ["<bos>", opens, ends, opens]
    ids = re.findall(r"<small>(\d+)</small>", xray_view.tokens_html(pieces))
    assert tuple(map(int, ids)) == found.token_ids


def test_a_very_long_prompt_is_listed_by_its_ids(
    playground: Playground, checkpoints: Checkpoints
) -> None:
    ids = tuple(range(120, 300)) * 12
    pieces = playground.pieces(ids, str(checkpoints.folder(tiny.GEMMA_3)))
    assert read_back(xray_view.tokens_html(pieces)).split() == [str(i) for i in ids]


def test_whatever_is_shown_is_escaped() -> None:
    record = replace(KEPT, model="<img src=x>", precision="<i>")
    turns = xray_view.Xray(
        number=1, replies=1, reply="<script>", kept=record, model="<img src=x>",
        rendered=rendered((1, 2), ("<u>",)), pieces=(),
    )  # fmt: skip
    drawn = view(turns)
    assert not re.search(r"<(img|i|u|script)\b", drawn)
    assert "&lt;script&gt;" in drawn


# --- to the Prompt tab -------------------------------------------------------------------------


class Target:
    """Where prompts are taken to."""

    def __init__(self) -> None:
        self.box = gr.Textbox()

    def components(self) -> list[Any]:
        return [self.box]

    def show(self, text: str, ids: tuple[int, ...], model: str) -> dict[Any, Any]:
        return {self.box: (text, ids, model)}


def test_the_very_ids_are_taken_to_the_prompt_tab() -> None:
    with gr.Blocks() as demo, asked_by(FakePlayground().visitors):
        target, tabs, panel = Target(), gr.Tabs(), XrayPanel.build()
        panel.wire_target(target, tabs)
    (take,) = (cast(Any, fn.fn) for fn in demo.fns.values())
    carried = json.dumps({"text": "<bos>a", "ids": [2, 5], "model": "m"})
    updates = take({panel.carried: carried}, None, None)
    assert updates[target.box] == ("<bos>a", (2, 5), "m")
    assert updates[tabs].selected == "prompt"
