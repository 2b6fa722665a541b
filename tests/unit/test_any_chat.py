"""Whatever people write, in whatever order: what stays true of the prompt that a chat becomes.

Read from the ids themselves, turn by turn, without asking the code that wrote them.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma_space import chat
from gemma_space.chat import RenderedPrompt, render
from gemma_space.errors import ContextLengthError, InvalidRequestError
from gemma_space.types import Message
from tests import tiny_checkpoints as tiny

GENERATIONS = pytest.mark.parametrize(
    "checkpoint", [tiny.GEMMA_1, tiny.GEMMA_2, tiny.GEMMA_3, tiny.GEMMA_4], ids=lambda t: t.name
)
PLENTY = 100_000
CONTROLS = 108  # the ids below are control tokens, in every tiny vocabulary
MARKED = "\U000f0000\U000f0001"  # what transformers marks control tokens with, and drops
# A word joiner and the like stay; "▁" is how the vocabulary writes a space.
LETTERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁" + MARKED))
MARKS = st.sampled_from([
    "<bos>", "<eos>", "<pad>", "<unused7>", "<start_of_turn>", "<end_of_turn>", "<|turn>",
    "<turn|>",
    "<start_of_turn>model\n", "<end_of_turn>\n", "<|turn>system\n", "<|channel>", "<channel|>",
    "<|tool_response>", "<start_of", "_turn>", "<|tu", "rn>", "user\n", "model\n", " ", "\n\n",
    "<start_of\U000f0000_turn>", "\U000f0000<bos>\U000f0001", "{{ bos_token }}", "{% raw %}",
])  # fmt: skip
TEXTS = st.lists(MARKS | LETTERS.map(lambda t: t[:12]), max_size=4).map("".join)
MESSAGES = st.lists(
    st.builds(Message, role=st.sampled_from(["user", "assistant", "system"]), content=TEXTS),
    max_size=9,
)
few = settings(max_examples=40)


@dataclass(frozen=True)
class Turn:
    role: str
    text: str


_TOKENIZERS: dict[str, Any] = {}


def tokenizer_of(checkpoint: tiny.Tiny) -> Any:
    if checkpoint.name not in _TOKENIZERS:
        _TOKENIZERS[checkpoint.name] = tiny.build_tokenizer(checkpoint)
    return _TOKENIZERS[checkpoint.name]


def turns_in(checkpoint: tiny.Tiny, prompt: RenderedPrompt) -> list[Turn]:
    """The turns of a prompt, whose every control token must be a mark of one of them."""
    opens, closes = 105 if checkpoint.turn_end == 106 else 106, checkpoint.turn_end
    first, *ids = prompt.token_ids
    assert first == 2
    assert 2 not in ids, "there is another BOS"
    turns: list[Turn] = []
    while ids:
        assert ids[0] == opens, "text stands outside the turns"
        end = ids.index(closes) if closes in ids else len(ids)
        inside = ids[1:end]
        assert min(inside) >= CONTROLS, "a control token stands inside a turn"
        role, _, text = tokenizer_of(checkpoint).decode(inside).partition("\n")
        turns.append(Turn(role, text))
        line_break = tokenizer_of(checkpoint).encode("\n", add_special_tokens=False)
        ids = ids[end + 1 :]
        if ids:
            assert ids[: len(line_break)] == line_break
            ids = ids[len(line_break) :]
    return turns


def as_read(text: str) -> str:
    """A text as its ids say it."""
    return text.translate(dict.fromkeys(map(ord, MARKED))).strip()


def spoken(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.role != "system"]


def rendered(
    checkpoint: tiny.Tiny, messages: list[Message], system: str, limit: int = PLENTY
) -> RenderedPrompt | None:
    """The prompt; None where nothing was left to answer."""
    last = spoken(messages)[-1:]
    answerable = bool(last) and last[0].role == "user" and bool(last[0].content.strip())
    try:
        prompt = render(
            tokenizer_of(checkpoint), messages, system_prompt=system, limit_tokens=limit
        )
    except ContextLengthError:
        raise
    except InvalidRequestError:
        assert not answerable
        return None
    assert answerable
    return prompt


@GENERATIONS
@few
@given(messages=MESSAGES, system=TEXTS)
@example(messages=[Message(role="user", content="<bos>")], system="<bos>")
@example(messages=[Message(role="user", content="\U000f0000")], system="")
def test_any_conversation_becomes_turns_and_nothing_else(
    checkpoint: tiny.Tiny, messages: list[Message], system: str
) -> None:
    prompt = rendered(checkpoint, messages, system)
    if prompt is None:
        return
    assert prompt.bos_count == 1
    assert prompt.dropped_messages == 0
    turns = turns_in(checkpoint, prompt)
    if turns[0].role == "system":
        assert checkpoint is tiny.GEMMA_4
        turns = turns[1:]
    roles = [turn.role for turn in turns]
    assert roles == ["user", "model"] * (len(roles) // 2), "they do not take turns"
    assert turns[-1].text == "", "the model's turn is open"
    assert turns[-2].text.endswith(as_read(spoken(messages)[-1].content))
    said = tokenizer_of(checkpoint).decode(prompt.token_ids)
    for text in (system, *(m.content for m in messages if m.role in ("system", "user"))):
        assert as_read(text) in said, "a part of it is lost"


@GENERATIONS
@few
@given(messages=MESSAGES, system=TEXTS, share=st.floats(0.0, 1.0))
def test_what_does_not_fit_leaves_by_whole_turns_from_the_oldest_end(
    checkpoint: tiny.Tiny, messages: list[Message], system: str, share: float
) -> None:
    whole = rendered(checkpoint, messages, system)
    if whole is None:
        return
    everything = turns_in(checkpoint, whole)
    limit = int(share * len(whole.token_ids))
    try:
        prompt = rendered(checkpoint, messages, system, limit)
    except ContextLengthError:  # its words are another test's
        return
    assert prompt is not None
    assert len(prompt.token_ids) <= limit
    assert prompt.bos_count == 1
    left = turns_in(checkpoint, prompt)
    assert len(everything) - len(left) == prompt.dropped_messages
    assert prompt.dropped_messages % 2 == 0
    told = chat.dropped_note(prompt.dropped_messages) in prompt.notes
    assert told == (prompt.dropped_messages > 0)
    assert as_read(system) in tokenizer_of(checkpoint).decode(prompt.token_ids)
    # The first turn that is left may have the system prompt in front now; the rest is untouched.
    kept = left[1:] if left[0].role != "system" else left[2:]
    assert everything[len(everything) - len(kept) :] == kept


@GENERATIONS
@few
@given(messages=MESSAGES, prefix=TEXTS)
def test_what_a_reply_begins_with_stays_text(
    checkpoint: tiny.Tiny, messages: list[Message], prefix: str
) -> None:
    if rendered(checkpoint, messages, "") is None:
        return
    tokenizer = tokenizer_of(checkpoint)
    prompt = render(tokenizer, messages, reply_prefix=prefix, limit_tokens=PLENTY)
    at = len(prompt.token_ids) - prompt.prefix_tokens
    assert all(token >= CONTROLS for token in prompt.token_ids[at:])
    assert tokenizer.decode(prompt.token_ids[at:]) == prefix
