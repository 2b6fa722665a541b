"""The raw prompt's warnings, inserted turns and gaps, in every generation's format."""

import functools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken

from gemma_space import prompt_format
from gemma_space.chat import render
from gemma_space.errors import InvalidRequestError
from gemma_space.tokens import encode_prompt
from gemma_space.types import Message, Variant
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Tiny
from tests.tiny_templates import GEMMA_4_TEMPLATE

# The larger Gemma 4 open the model's turn with an empty thought.
EMPTY_THOUGHT = "<|channel>thought\n<channel|>"
GEMMA_4_LARGE = replace(
    tiny.GEMMA_4, name="gemma4-large",
    template=GEMMA_4_TEMPLATE.replace("'<|turn>model\n'", f"'<|turn>model\n{EMPTY_THOUGHT}'"),
)  # fmt: skip
FORMATS = (tiny.GEMMA_1, tiny.GEMMA_2, tiny.GEMMA_3, tiny.GEMMA_3N, tiny.GEMMA_4, GEMMA_4_LARGE)
FIM = {67: "<|fim_prefix|>", 68: "<|fim_middle|>", 69: "<|fim_suffix|>", 70: "<|file_separator|>"}
OPENED = "<start_of_turn>model\n"
ASKED = f"<start_of_turn>user\nHi<end_of_turn>\n{OPENED}"
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@functools.cache
def tokenizer_of(name: str) -> Any:
    formats = {one.name: one for one in (*FORMATS, tiny.GEMMA_3_BASE)}
    return tiny.build_tokenizer(formats[name])


@pytest.fixture(params=[one.name for one in FORMATS])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return tokenizer_of(request.param)


@pytest.fixture
def gemma_3() -> Any:
    return tokenizer_of("gemma3")


@pytest.fixture
def codegemma() -> Any:
    """Control tokens of a gap, which CodeGemma's files do not call special."""
    made = tiny.build_tokenizer(replace(tiny.GEMMA_1, template=None))
    made.add_tokens([AddedToken(name, special=False, normalized=False) for name in FIM.values()])
    return made


def warned(
    tokenizer: Any, text: str, *, bos: bool = True, special: bool = True,
    variant: Variant = "instruct",
) -> str:  # fmt: skip
    """All warnings in one text; each must be one sentence and what to do."""
    found = prompt_format.warnings(
        tokenizer, text, add_bos=bos, parse_special=special, variant=variant
    )
    assert all(one.endswith(".") and one.count(". ") == 1 for one in found), found
    return " ".join(found)


def conversation(*texts: str) -> list[Message]:
    return [
        Message(role="assistant" if at % 2 else "user", content=text)
        for at, text in enumerate(texts)
    ]


CHATS: tuple[dict[str, Any], ...] = (
    {"messages": conversation("Hi")},
    {"messages": conversation("Hi", "Hello.", "Tell me\n\nmore: 東京 🙂")},
    {"messages": conversation("Hi"), "system_prompt": "Be brief."},
    {"messages": conversation("Hi"), "reply_prefix": "Sure:"},
    {"messages": conversation("What is <b>bold</b>?  ")},
)


# --- warnings: none where nothing is wrong


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("bos", [True, False])
def test_a_rendered_chat_is_sound(tokenizer: Any, chat: dict[str, Any], bos: bool) -> None:
    prompt = render(tokenizer, limit_tokens=10_000, **chat)
    text = tokenizer.decode(prompt.token_ids, skip_special_tokens=False)
    assert warned(tokenizer, text, bos=bos) == ""
    assert warned(tokenizer, text, bos=bos, variant="adapter") == ""


def test_a_chat_may_speak_of_another_generations_marks(gemma_3: Any) -> None:
    assert warned(gemma_3, ASKED.replace("Hi", "What does <|turn> mean?")) == ""


@pytest.mark.parametrize("text", ["Once upon a time", "def f():\n    ", "    ", "a\n", "1 < 2", ""])
def test_plain_text_suits_a_base_model(text: str) -> None:
    assert warned(tokenizer_of("gemma3-base"), text, variant="base") == ""


def test_nothing_is_said_before_anything_is_typed(tokenizer: Any) -> None:
    assert warned(tokenizer, "", bos=False) == ""


# --- warnings: BOS


def test_no_bos(tokenizer: Any) -> None:
    assert "does not begin with <bos>" in warned(tokenizer, "Hi", bos=False)
    assert "does not begin" not in warned(tokenizer, "<bos>Hi", bos=False)
    assert "does not begin" not in warned(tokenizer, "Hi", bos=True)
    literal = warned(tokenizer, "<bos>Hi", bos=False, special=False)
    assert "does not begin with <bos>" in literal


def test_ids_that_say_something_else_than_the_text(tokenizer: Any) -> None:
    for text in ("<bos>Hi 🙂", "Hi <bos>", "Hi"):
        for bos, special in ((True, True), (False, True), (True, False), (False, False)):
            sent = encode_prompt(tokenizer, text, add_bos=bos, parse_special=special)
            assert prompt_format.about_ids(tokenizer, text, sent) == ()
            assert prompt_format.about_ids(tokenizer, tokenizer.decode(sent), sent) == ()
            (told,) = prompt_format.about_ids(tokenizer, text, (*sent, sent[-1]))
            assert told.startswith("The tokens stand for another text")
    cut = encode_prompt(tokenizer, "Hi 🙂")[:-1]  # in the middle of a character
    assert prompt_format.about_ids(tokenizer, "Hi ", cut) == ()


def test_doubled_bos_counts_what_is_sent(gemma_3: Any) -> None:
    assert "begins with <bos> 2 times" in warned(gemma_3, f"<bos><bos>{ASKED}", bos=False)
    # The switch leaves exactly one, however many were typed.
    merged = warned(gemma_3, f"<bos><bos>{ASKED}", bos=True)
    assert "begins with <bos> 2 times, of which one is sent" in merged
    assert warned(gemma_3, f"<bos>{ASKED}", bos=True) == ""


@pytest.mark.parametrize("bos", [True, False])
def test_bos_inside(gemma_3: Any, bos: bool) -> None:
    inside = warned(gemma_3, f"<bos>{ASKED}<bos>Sure", bos=bos)
    assert "inside the prompt" in inside
    assert "times" not in inside
    assert "inside the prompt" in warned(gemma_3, f" <bos>{ASKED}", bos=True)


# --- warnings: turns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ASKED.replace("<end_of_turn>", ""), "opened while the one before"),
        (ASKED.replace("<end_of_turn>", "<end_of_turn>\n<end_of_turn>"), "where no turn is open"),
        (f"Hi<end_of_turn>\n{OPENED}", "where no turn is open"),
        (ASKED.replace("user", "human"), "begins with “human”"),
        (ASKED.replace("user", "system"), "begins with “system”"),
        (ASKED.replace("user\n", "user "), "begins with “user Hi”"),
        (ASKED.removesuffix("\n"), "begins with “model”"),
        (ASKED.replace("user\n", ""), "begins with “Hi”"),
        ("<start_of_turn>", "begins with nothing"),
        (ASKED.removesuffix(OPENED), "nothing to answer"),
        (f"{ASKED}Hello.<end_of_turn>\n", "nothing to answer"),
        (f"{ASKED.removesuffix(OPENED)}Hello", "nothing to answer"),
        ("<start_of_turn>user\nHi", "still open, so the model would write it"),
        (f"{ASKED}Sure, ", "ends with a space"),
        ("Once upon a time", "The prompt has no turns"),
        ("<|turn>user\nHi<turn|>\n<|turn>model\n", "<|turn> belongs to another generation"),
        (ASKED.replace("<end_of_turn>", "<turn|>"), "<turn|> belongs to another generation"),
    ],
)
def test_what_is_wrong_with_a_prompt_for_gemma_3(gemma_3: Any, text: str, words: str) -> None:
    assert words in warned(gemma_3, text)


def test_an_odd_role_is_named_once_and_with_the_roles_there_are(gemma_3: Any) -> None:
    found = warned(gemma_3, ASKED.replace("user", "x" * 500))
    assert found.count("x") < 30
    assert "user or model and a line break" in found
    assert "still open" not in warned(gemma_3, "<start_of_turn>model")


def test_gemma_4_knows_the_system_role_and_not_the_older_marks() -> None:
    gemma_4 = tokenizer_of("gemma4")
    assert "Use <|turn> and <turn|>" in warned(gemma_4, ASKED)
    asked = "<|turn>user\nHi<turn|>\n<|turn>model\n"
    assert warned(gemma_4, f"<|turn>system\nBe brief.<turn|>\n{asked}") == ""
    assert "“ system”" in warned(gemma_4, f"<|turn> system\nBe brief.<turn|>\n{asked}")


@pytest.mark.parametrize("text", [ASKED, "<|turn>user\nHi", "a<end_of_turn>"])
def test_chat_marks_for_a_base_model(text: str) -> None:
    found = warned(tokenizer_of("gemma3-base"), text, variant="base")
    assert found.startswith("This is a base model")
    assert found.count(". ") == 1


def test_control_tokens_that_are_letters(gemma_3: Any) -> None:
    found = warned(gemma_3, ASKED, special=False)
    assert found.startswith("Control tokens such as <start_of_turn> are read as plain letters")
    assert found.count(". ") == 1
    assert "such as <bos>" in warned(gemma_3, "<bos>Hi", special=False)  # beside the one added
    assert "plain letters" not in warned(gemma_3, "1 < 2 > 0", special=False)


def test_an_adapter_for_a_base_model_may_have_its_own_format() -> None:
    assert warned(tokenizer_of("gemma3-base"), "Hello", variant="adapter") == ""


def test_a_format_that_is_not_gemmas_is_left_alone() -> None:
    other = tiny.build_tokenizer(
        replace(tiny.GEMMA_3, template="{% for m in messages %}[{{ m.content }}]{% endfor %}")
    )
    assert warned(other, "[Hi]") == ""
    assert prompt_format.turn(other, "Hi") == "[Hi]"


@given(text=st.lists(st.sampled_from(
    ["<bos>", "<start_of_turn>", "<end_of_turn>", "<|turn>", "user", "model", "\n", " ", "é", "🙂"]
)).map("".join), bos=st.booleans(), special=st.booleans(),
       variant=st.sampled_from(["base", "instruct", "adapter"]))  # fmt: skip
def test_any_prompt_can_be_judged(text: str, bos: bool, special: bool, variant: Variant) -> None:
    for name in ("gemma3", "gemma4", "gemma3-base"):
        warned(tokenizer_of(name), text, bos=bos, special=special, variant=variant)


# --- the turn


def rendered_ids(tokenizer: Any, *texts: str) -> tuple[int, ...]:
    return render(tokenizer, conversation(*texts), limit_tokens=10_000).token_ids


def ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return encode_prompt(tokenizer, text)


@pytest.mark.parametrize("text", ["Hi", " Two\nlines \n", "<b>&amp;</b>", "⟦asked⟧ ⟦answered⟧"])
def test_a_turn_is_what_chat_would_send(tokenizer: Any, text: str) -> None:
    inserted = prompt_format.turn(tokenizer, text)
    assert ids(tokenizer, inserted) == rendered_ids(tokenizer, text)
    assert "<bos>" not in inserted
    assert warned(tokenizer, inserted) == ""


@given(WORDS.filter(str.strip))
def test_any_text_becomes_a_turn(text: str) -> None:
    for one in FORMATS:
        made = tokenizer_of(one.name)
        assert ids(made, prompt_format.turn(made, text)) == rendered_ids(made, text)


def test_a_conversation_grows_turn_by_turn(tokenizer: Any) -> None:
    prompt = prompt_format.turn(tokenizer, "Hi")
    asks = prompt_format.turn(tokenizer, f"{prompt}Hello.\n")
    assert asks.startswith(f"{prompt}Hello.")
    assert asks.endswith("user\n")
    answers = prompt_format.turn(tokenizer, f"{asks}And now?")
    typed = answers.replace(EMPTY_THOUGHT, "", answers.count(EMPTY_THOUGHT) - 1)
    assert ids(tokenizer, typed) == rendered_ids(tokenizer, "Hi", "Hello.", "And now?")
    assert warned(tokenizer, answers) == ""


def test_what_follows_a_closed_turn(gemma_3: Any) -> None:
    closed = f"{ASKED}Hello.<end_of_turn>\n"
    assert prompt_format.turn(gemma_3, closed) == f"{closed}<start_of_turn>user\n"
    more = prompt_format.turn(gemma_3, f"{closed}And now?")
    assert ids(gemma_3, more) == rendered_ids(gemma_3, "Hi", "Hello.", "And now?")
    assert prompt_format.turn(gemma_3, ASKED.removesuffix(OPENED)) == ASKED
    assert prompt_format.turn(gemma_3, "<start_of_turn>user\nHi\n") == ASKED


def test_the_models_turn_and_the_system_prompt(tokenizer: Any) -> None:
    asked = prompt_format.turn(tokenizer, "Hi")
    closes = "<turn|>\n" if "<|turn>" in asked else "<end_of_turn>\n"
    front = asked[: asked.index(closes) + len(closes)]
    said = prompt_format.turn(tokenizer, f"{front}<b>Hello.</b> ", "assistant")
    assert said.startswith(front)
    assert "model\n<b>Hello.</b><" in said
    assert said.endswith("user\n")
    with pytest.raises(InvalidRequestError, match="in front of all turns"):
        prompt_format.turn(tokenizer, f"{front}Be brief.", "system")
    with pytest.raises(InvalidRequestError, match="begins with the user's turn"):
        prompt_format.turn(tokenizer, "Hello.", "assistant")


def test_a_system_prompt_stands_where_the_template_puts_it() -> None:
    for one in FORMATS:
        made = tokenizer_of(one.name)
        if one.family in ("gemma1", "gemma2"):
            with pytest.raises(InvalidRequestError, match="no plain system turn"):
                prompt_format.turn(made, "Be brief.", "system")
            continue
        begun = prompt_format.turn(made, "Be brief.", "system")
        whole = render(made, conversation("Hi"), system_prompt="Be brief.", limit_tokens=999)
        assert ids(made, prompt_format.turn(made, f"{begun}Hi")) == whole.token_ids


def test_a_bos_that_was_typed_stays_in_front(tokenizer: Any) -> None:
    inserted = prompt_format.turn(tokenizer, "<bos>Hi")
    assert inserted == "<bos>" + prompt_format.turn(tokenizer, "Hi")


def test_the_larger_gemma_4_begin_with_an_empty_thought() -> None:
    assert prompt_format.turn(tokenizer_of("gemma4-large"), "Hi").endswith(EMPTY_THOUGHT)


def test_the_models_turn_is_not_opened_twice(tokenizer: Any) -> None:
    with pytest.raises(InvalidRequestError, match="open already"):
        prompt_format.turn(tokenizer, prompt_format.turn(tokenizer, "Hi"))


@pytest.mark.parametrize("text", ["", "  \n", "<bos>"])
def test_a_turn_needs_text(tokenizer: Any, text: str) -> None:
    with pytest.raises(InvalidRequestError, match="no text for a turn"):
        prompt_format.turn(tokenizer, text)


@pytest.mark.parametrize("text", ["Hi", ASKED])
def test_a_base_model_has_no_turns(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="no chat format"):
        prompt_format.turn(tokenizer_of("gemma3-base"), text)


def test_a_template_that_wants_more_than_text() -> None:
    picky = tiny.build_tokenizer(
        replace(tiny.GEMMA_3, template="<start_of_turn>{{ messages[0].content[0]['code'] + 'x' }}"
                "<end_of_turn>"),
    )  # fmt: skip
    with pytest.raises(InvalidRequestError, match="no plain user turn"):
        prompt_format.turn(picky, "Hi")
    assert "nothing to answer" in warned(picky, "<start_of_turn>user\nHi<end_of_turn>")


@given(prompt=st.lists(st.sampled_from(
    ["<bos>", "<start_of_turn>", "<end_of_turn>", "user\n", "model\n", "\n", " ", "Hi"]
)).map("".join), role=st.sampled_from(["user", "assistant", "system"]))  # fmt: skip
def test_no_text_is_lost_and_nothing_else_is_raised(prompt: str, role: Any) -> None:
    try:
        inserted = prompt_format.turn(tokenizer_of("gemma3"), prompt, role)
    except InvalidRequestError:
        return
    assert inserted.count("Hi") == prompt.count("Hi")
    assert inserted.count("<bos>") == prompt.count("<bos>")


# --- fill in the middle


def test_a_gap_between_two_texts(codegemma: Any) -> None:
    assert prompt_format.has_fim(codegemma)
    before, after = "def f(x):\n    ", "\n\nprint(f(1))  "
    prompt = prompt_format.fim(codegemma, before, after)
    assert prompt == f"<|fim_prefix|>{before}<|fim_suffix|>{after}<|fim_middle|>"
    numbers = codegemma.get_added_vocab()
    sent = ids(codegemma, prompt)
    assert sent[1] == numbers["<|fim_prefix|>"]
    assert sent[-1] == numbers["<|fim_middle|>"]
    assert sent.count(numbers["<|fim_suffix|>"]) == 1
    assert warned(codegemma, prompt, variant="base") == ""


def test_where_a_filling_ends(codegemma: Any) -> None:
    assert prompt_format.fim_stop(codegemma)[0] == "<|file_separator|>"
    assert set(prompt_format.fim_stop(codegemma)) == set(FIM.values())
    three = replace(tiny.GEMMA_1, controls={i: FIM[i] for i in (67, 68, 69)})
    assert "<|file_separator|>" not in prompt_format.fim_stop(tiny.build_tokenizer(three))


def test_other_models_have_no_gap(tokenizer: Any) -> None:
    assert not prompt_format.has_fim(tokenizer)
    assert prompt_format.fim_stop(tokenizer) == ()
    with pytest.raises(InvalidRequestError, match="cannot fill a gap"):
        prompt_format.fim(tokenizer, "a", "b")


def test_two_of_three_tokens_make_no_gap() -> None:
    partly: Tiny = replace(tiny.GEMMA_1, controls={67: FIM[67], 68: FIM[68]})
    assert not prompt_format.has_fim(tiny.build_tokenizer(partly))


@pytest.mark.parametrize("text", ["<|fim_prefix|>a", "a<|file_separator|>"])
def test_the_texts_around_a_gap_hold_no_marks(codegemma: Any, text: str) -> None:
    with pytest.raises(InvalidRequestError, match="already holds"):
        prompt_format.fim(codegemma, text, "b")
    with pytest.raises(InvalidRequestError, match="already holds"):
        prompt_format.fim(codegemma, "a", text)
