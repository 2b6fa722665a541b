"""What a raw prompt probably gets wrong, and the pieces that make it right.

Knows what BOS, turns and fill-in-the-middle are for; how a checkpoint writes turns is in
`turn_marks`. Changes nothing that is sent, and knows nothing of the page: what it says is plain
text that may quote the prompt. A tokenizer here is transformers' own object.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from gemma_space import turn_marks
from gemma_space.errors import InvalidRequestError
from gemma_space.tokens import encode_prompt
from gemma_space.turn_marks import (
    ANSWERED,
    ASKED,
    ASKED_AGAIN,
    CHAT,
    MODEL,
    USER,
    Marks,
    render,
)
from gemma_space.types import Role, Variant

FIM_PARTS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
FILE_SEPARATOR = "<|file_separator|>"
ROLE_CHARACTERS = 24  # as much of an odd role is quoted


# ------------------------------------------------------------------------------------- warnings


def warnings(
    tokenizer: Any, text: str, *, add_bos: bool, parse_special: bool, variant: Variant
) -> tuple[str, ...]:
    """What is probably a mistake in this prompt, judged on the ids that would be sent.

    Args:
        tokenizer: the checkpoint's own.
        text: the prompt as typed.
        add_bos, parse_special: as in `CompletionRequest`.
        variant: the checkpoint's.

    Returns:
        for each one sentence and what to do; nothing about an empty prompt.
    """
    if not text:
        return ()
    ids = encode_prompt(tokenizer, text, add_bos=add_bos, parse_special=parse_special)
    literal = () if parse_special else _literal(tokenizer, text)
    typed = encode_prompt(tokenizer, text, add_bos=False, parse_special=parse_special)
    found = list(_about_bos(tokenizer, ids, merged=len(typed) - len(ids)))
    if literal:
        found.append(
            f"Control tokens such as {literal[0]} are read as plain letters here. Turn on “Read "
            "control tokens” if they are meant as such."
        )
    found += _about_turns(tokenizer, text, ids, variant, literal)
    # Spaces that indent a line are tokens of their own; only one after a word is part of the next.
    if text.endswith(" ") and text.rstrip(" ")[-1:] not in ("", "\n"):
        found.append(
            "The prompt ends with a space, but the next word's own token begins with one. Remove "
            "the space at the end."
        )
    return tuple(found)


def about_ids(tokenizer: Any, text: str, ids: Sequence[int]) -> tuple[str, ...]:
    """What is odd about ids that are sent in place of a text, half characters aside."""
    said, shown = (one.replace("\ufffd", "") for one in (tokenizer.decode(list(ids)), text))
    switches = ((bos, parse) for bos in (True, False) for parse in (True, False))
    read = (encode_prompt(tokenizer, text, add_bos=b, parse_special=p) for b, p in switches)
    if shown in (said, said.removeprefix(tokenizer.bos_token or "")) or tuple(ids) in read:
        return ()
    return (
        "The tokens stand for another text than the one that is shown here. Look at “Tokens of the "
        "prompt” before you run them.",
    )


def _about_bos(tokenizer: Any, ids: Sequence[int], merged: int) -> Iterator[str]:
    """`merged` are typed and not sent: “Add BOS” makes one of all that the prompt begins with."""
    bos, name = tokenizer.bos_token_id, tokenizer.bos_token
    if bos is None:
        return
    leading = next((at for at, token in enumerate(ids) if token != bos), len(ids))
    if leading == 0:
        yield (
            f"The prompt does not begin with {name}, and without it Gemma writes nonsense or "
            "repeats itself. Turn on “Add BOS”."
        )
    if leading > 1:
        yield (
            f"The prompt begins with {name} {leading} times, but Gemma knows texts with exactly "
            "one. Remove the others."
        )
    if merged > 0:
        yield (
            f"The prompt begins with {name} {merged + 1} times, of which one is sent. Remove the "
            "others, or turn off “Add BOS” to send them all."
        )
    if bos in ids[leading:]:
        yield (
            f"There is a {name} inside the prompt, where a new text would begin. Keep only the "
            "one at the front."
        )


def _literal(tokenizer: Any, text: str) -> tuple[str, ...]:
    """Control tokens that the text spells out, where they are not read as such."""
    names = {token: name for name, token in tokenizer.get_added_vocab().items()}
    read, sent = (
        Counter(encode_prompt(tokenizer, text, add_bos=False, parse_special=parse))
        for parse in (True, False)
    )
    return tuple(names[token] for token in read - sent if token in names)


def _about_turns(
    tokenizer: Any, text: str, ids: Sequence[int], variant: Variant, literal: Sequence[str]
) -> list[str]:
    marks = turn_marks.own_marks(tokenizer)
    foreign = turn_marks.foreign_marks(tokenizer, text)
    own = marks is not None and marks.in_ids(ids)
    if variant == "base":
        if not own and not foreign:
            return []
        return [
            "This is a base model, which has not learned to chat in turns. Write plain text for "
            "it to continue, or choose an instruct model."
        ]
    wrong = list(_about_own_turns(tokenizer, marks, ids)) if marks is not None and own else []
    if foreign and (wrong or not own):  # in a sound chat somebody only speaks of them
        wrong.insert(0, _about_foreign(foreign[0], marks))
    chats = variant == "instruct" or bool(getattr(tokenizer, "chat_template", None))
    if chats and marks is not None and not (own or foreign or literal):
        wrong.append(
            "The prompt has no turns, but this model was trained to chat in them. Use “Insert "
            "turn” for an answer, or leave it to see how the text goes on."
        )
    return wrong


def _about_foreign(mark: str, marks: Marks | None) -> str:
    own = f"{marks.opens} and {marks.closes}, or " if marks is not None else ""
    return (
        f"{mark} belongs to another generation of Gemma and is read as plain letters here. Use "
        f"{own}“Insert turn”."
    )


def _about_own_turns(tokenizer: Any, marks: Marks, ids: Sequence[int]) -> Iterator[str]:
    turns = turn_marks.read_turns(tokenizer, marks, ids)
    roles = turn_marks.roles(tokenizer, marks)
    if turns.reopened:
        yield (
            f"A turn is opened while the one before it is still open. Put {marks.closes} in "
            f"front of the second {marks.opens}."
        )
    if turns.closed_twice:
        yield (
            f"There is a {marks.closes} where no turn is open. Remove it, or put {marks.opens} "
            "and a role in front of what it closes."
        )
    odd = [head for head in turns.heads if roles and head not in [f"{r}\n" for r in roles]]
    if odd:
        said = odd[0].strip("\n")[:ROLE_CHARACTERS]
        begins = f"“{said}”" if said else "nothing"
        yield (
            f"A turn begins with {begins} in place of a role on a line of its own. Begin it "
            f"with {' or '.join(roles)} and a line break."
        )
    if not turns.is_open:
        yield (
            "The last turn is closed and the model's is not open, so there is nothing to answer. "
            f"End the prompt with {marks.opens}{MODEL} and a line break."
        )
    elif turns.heads[-1] != f"{MODEL}\n" and turns.heads[-1] not in odd:
        yield (
            f"The last turn is not the model's and still open, so the model would write it. "
            f"Close it with {marks.closes} and open the model's, or use “Insert turn”."
        )


# ------------------------------------------------------------------------------------- the turn


def turn(tokenizer: Any, text: str, role: Role = "user") -> str:
    """The prompt with a turn more: what is not in a turn yet becomes one, the next is opened.

    After the user's turn that is the model's, after any other the user's, for them to write. Where
    nothing stands outside the turns, the last turn is closed and the next opened. The marks come
    from the checkpoint's own template. No BOS is added; one that the text begins with stays.

    Args:
        text: the prompt as it stands, with turns or without.
        role: whose turn it is that stands outside the turns. A system prompt must come first.

    Raises:
        InvalidRequestError: the checkpoint has no chat format, or none for this role; the model's
            turn is open and empty already; or there is no text for a turn.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InvalidRequestError(
            "This model has no chat format: it continues plain text.",
            "Leave the prompt as it is, or choose an instruct model.",
        )
    marks = turn_marks.own_marks(tokenizer)
    if marks is None or not marks.in_text(text):
        return _first_turn(tokenizer, text, role)
    if text.rfind(marks.opens) > text.rfind(marks.closes):
        return text.rstrip() + _after(tokenizer, marks, text)
    before, _, loose = text.rpartition(marks.closes)  # the next turn's own frame closes this one
    if not loose.strip():
        return before.rstrip() + _after(tokenizer, marks, before)
    return before.rstrip() + _further_turn(tokenizer, loose, role)


def _first_turn(tokenizer: Any, text: str, role: Role) -> str:
    bos = tokenizer.bos_token or ""
    body = text.removeprefix(bos)
    front = text[: len(text) - len(body)]
    if not body.strip():
        raise InvalidRequestError("There is no text for a turn.", "Write what you want to say.")
    if role == "user":
        return front + render(tokenizer, [("user", body)])
    if role == "system":  # everything in front of what the user will say
        return front + render(tokenizer, [("system", body), ("user", ASKED)]).rpartition(ASKED)[0]
    raise InvalidRequestError(
        "A conversation begins with the user's turn.", "Insert a turn of the user first."
    )


def _further_turn(tokenizer: Any, loose: str, role: Role) -> str:
    """The end of the turn before, and a turn with this text."""
    if role == "system":
        raise InvalidRequestError(
            "A system prompt stands in front of all turns.", "Put it at the beginning."
        )
    if role == "assistant":
        # Set in afterwards: a template may leave thoughts out of what the model said.
        frame = render(tokenizer, CHAT).partition(ASKED)[2].rpartition(ASKED_AGAIN)[0]
        return frame.replace(ANSWERED, loose.strip())
    return render(tokenizer, [*CHAT[:2], ("user", loose)]).partition(ANSWERED)[2]


def _after(tokenizer: Any, marks: Marks, before: str) -> str:
    """The end of the turn that is open at the end of `before`, and the next turn's beginning.

    Raises:
        InvalidRequestError: it is the model's and empty.
    """
    answer = render(tokenizer, [("user", ASKED)]).partition(ASKED)[2]
    prefilled = answer.rpartition(marks.opens)[2].partition("\n")[2]  # an empty thought, say
    role, _, said = before.rpartition(marks.opens)[2].partition("\n")
    if role.strip() == USER:
        return answer
    if role.strip() == MODEL and said.strip() in ("", prefilled.strip()):
        raise InvalidRequestError(
            "The model's turn is open already.", "Press Run, or write how its reply begins."
        )
    return render(tokenizer, CHAT).partition(ANSWERED)[2].rpartition(ASKED_AGAIN)[0]


# --------------------------------------------------------------------------- fill in the middle


def has_fim(tokenizer: Any) -> bool:
    """Whether the vocabulary has the tokens for filling a gap in a text (CodeGemma)."""
    return all(name in tokenizer.get_added_vocab() for name in FIM_PARTS)


def fim(tokenizer: Any, before: str, after: str) -> str:
    """A prompt that asks for what stands between two texts, each taken exactly as it is.

    Raises:
        InvalidRequestError: the vocabulary has no tokens for it, or a text holds one already.
    """
    if not has_fim(tokenizer):
        raise InvalidRequestError(
            "This model cannot fill a gap: its vocabulary has no tokens for it.",
            "Choose a CodeGemma base model.",
        )
    held = next((name for name in fim_stop(tokenizer) if name in before or name in after), None)
    if held:
        raise InvalidRequestError(
            f"The text around the gap already holds {held}.", "Remove it: it is added here."
        )
    prefix, suffix, middle = FIM_PARTS
    return f"{prefix}{before}{suffix}{after}{middle}"


def fim_stop(tokenizer: Any) -> tuple[str, ...]:
    """The tokens at which the filling of a gap should end; none without `has_fim`."""
    if not has_fim(tokenizer):
        return ()
    vocabulary = tokenizer.get_added_vocab()
    return tuple(name for name in (FILE_SEPARATOR, *FIM_PARTS) if name in vocabulary)
