"""How a checkpoint writes turns: its marks, its roles, the frame around what is said.

Everything is looked up in the vocabulary and rendered by the checkpoint's own chat template; no
prompt is written here by hand. A tokenizer here is transformers' own object.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_space.errors import InvalidRequestError

# What opens and closes a turn, by generation: Gemma 1 to 3n, Gemma 4.
PAIRS = (("<start_of_turn>", "<end_of_turn>"), ("<|turn>", "<turn|>"))
USER, MODEL = "user", "model"  # as every generation's template writes them
ROLE_TOKENS = 16  # no role is longer
# They stand for what is said, while the frame around it is read off the template.
ASKED, ANSWERED, ASKED_AGAIN = "⟦asked⟧", "⟦answered⟧", "⟦asked again⟧"
CHAT = (("user", ASKED), ("assistant", ANSWERED), ("user", ASKED_AGAIN))


@dataclass(frozen=True, slots=True)
class Marks:
    """A checkpoint's own: what opens and closes a turn, as text and as ids."""

    opens: str
    closes: str
    open_id: int
    close_id: int

    def in_text(self, text: str) -> bool:
        return self.opens in text or self.closes in text

    def in_ids(self, ids: Sequence[int]) -> bool:
        return self.open_id in ids or self.close_id in ids


@dataclass(frozen=True, slots=True)
class Turns:
    """What a prompt's ids say about its turns.

    Attributes:
        heads: what each turn begins with, up to and with its first line break.
        is_open: whether the last turn is still open at the end.
        reopened: whether a turn was opened inside another.
        closed_twice: whether one was closed where none was open.
    """

    heads: tuple[str, ...]
    is_open: bool
    reopened: bool
    closed_twice: bool


def own_marks(tokenizer: Any) -> Marks | None:
    """The pair in the vocabulary, and in the template where there is one; None without."""
    vocabulary = tokenizer.get_added_vocab()
    template = getattr(tokenizer, "chat_template", None)
    for opens, closes in PAIRS:
        known = opens in vocabulary and closes in vocabulary
        if known and (not template or (opens in template and closes in template)):
            return Marks(opens, closes, vocabulary[opens], vocabulary[closes])
    return None


def foreign_marks(tokenizer: Any, text: str) -> tuple[str, ...]:
    """Marks of other generations in a text: letters to this vocabulary."""
    vocabulary = tokenizer.get_added_vocab()
    return tuple(m for pair in PAIRS for m in pair if m in text and m not in vocabulary)


def read_turns(tokenizer: Any, marks: Marks, ids: Sequence[int]) -> Turns:
    """The turns of a prompt, in order."""
    heads: list[str] = []
    is_open = reopened = closed_twice = False
    for at, token in enumerate(ids):
        if token == marks.open_id:
            reopened |= is_open
            is_open = True
            heads.append(_head(tokenizer, marks, ids[at + 1 : at + 1 + ROLE_TOKENS]))
        elif token == marks.close_id:
            closed_twice |= not is_open
            is_open = False
    return Turns(tuple(heads), is_open, reopened, closed_twice)


def _head(tokenizer: Any, marks: Marks, ids: Sequence[int]) -> str:
    ends = (at for at, token in enumerate(ids) if token in (marks.open_id, marks.close_id))
    text = tokenizer.decode(list(ids[: next(ends, len(ids))]), skip_special_tokens=False)
    line, line_break, _ = text.partition("\n")
    return line + line_break


def roles(tokenizer: Any, marks: Marks) -> tuple[str, ...]:
    """The roles that the template writes; none without a template."""
    if not getattr(tokenizer, "chat_template", None):
        return ()
    rendered = ""
    for first in ("", "system", "developer"):
        try:
            rendered += render(tokenizer, [(first, "s"), *CHAT] if first else CHAT)
        except InvalidRequestError:
            continue  # it has no such role
    return tuple(dict.fromkeys(re.findall(f"{re.escape(marks.opens)}(.*)\n", rendered)))


def render(tokenizer: Any, chat: Sequence[tuple[str, str]]) -> str:
    """A conversation in the checkpoint's format, the model's turn opened, without BOS.

    Args:
        chat: (role, content) in order; roles are `types.Role`.

    Raises:
        InvalidRequestError: its template takes no such conversation.
    """
    messages = [{"role": role, "content": content} for role, content in chat]
    try:
        rendered: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # a template refuses and fails in its own ways
        raise InvalidRequestError(
            f"This model's chat format takes no plain {chat[0][0]} turn.",
            "Write the turns yourself, as the model's card shows them.",
        ) from error
    return rendered.removeprefix(tokenizer.bos_token or "")
