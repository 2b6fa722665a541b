"""A conversation, as Gradio's chat component shows it and as the browser keeps it.

Knows how a turn becomes messages of `gr.Chatbot` and back: the reply as Markdown, and below it,
in a message with metadata, what it cost and why it ended. Text stays text: outside code an
invisible word joiner keeps `<` from opening a tag and `![` from fetching an image, whoever wrote
it. The record of what a reply was made from travels as its note's id, unseen.
No Gradio, no playground.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gemma_space.errors import InvalidRequestError
from gemma_space.types import Message
from gemma_space.ui import provenance
from gemma_space.ui.provenance import Provenance

Shown = dict[str, Any]
THINKING = "Thinking"
GIVEN = "What the model was given"
GIVEN_ADDRESS = "#given-"  # and the number of the turn; assets/js/xray.js follows it
WORD_JOINER = "\u2060"
_MARKUP = re.compile(r"<|!(?=\[)")
_JOINED = re.compile(f"(<|!){WORD_JOINER}")
# Drawn, a diagram's labels are HTML: pictures that ask this server for things, and styles.
_DIAGRAM = r"((?:`{3,}|~{3,})[ \t]*mermaid)"
_DRAWN = re.compile(_DIAGRAM, re.IGNORECASE)
_NOT_DRAWN = re.compile(_DIAGRAM + WORD_JOINER, re.IGNORECASE)
# Only what Markdown is sure to read as code: a fence that opens a line, up to its own end, and a
# span of backticks on one line, not escaped. Anything doubtful counts as text.
_CODE = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[^\n`]*\n(?:.*?^ {0,3}(?P=fence)[`~]*[ \t]*$|.*\Z)"
    r"|(?<![\\`])(?P<ticks>`+)(?!`)[^\n]*?[^\n`](?P=ticks)(?!`)",
    re.DOTALL | re.MULTILINE,
)


_GIVEN_LINK = re.compile(rf"(?:\n\n)?\[{GIVEN}\]\({GIVEN_ADDRESS}\d+\)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What stands below a reply: `title` why it ended, `log` what it cost, `detail` the rest.

    `pending` while the reply is on its way; `record` of what it was made from, where it was kept.
    """

    title: str
    log: str = ""
    detail: str = ""
    pending: bool = False
    record: Provenance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message. A reply without a footer was never finished: the page went away meanwhile."""

    role: str
    text: str
    thinking: str = ""
    footer: Footer | None = None


# --- to the component and back ------------------------------------------------------------------


def show(turns: Sequence[Turn]) -> list[Shown]:
    """The messages of `gr.Chatbot` for these turns."""
    return [message for at, turn in enumerate(turns) for message in _show_turn(turn, at)]


def _show_turn(turn: Turn, at: int) -> list[Shown]:
    shown: list[Shown] = []
    note = turn.footer
    if turn.thinking:
        # Gradio unfolds a note that is pending and folds it up when it is done.
        thinks = note is not None and note.pending and not turn.text
        shown.append(_note(turn.role, Footer(title=THINKING, pending=thinks), turn.thinking))
    if turn.text or note is None:
        shown.append({"role": turn.role, "content": _block(escape(turn.text))})
    if note is not None:
        link = "" if note.pending else f"[{GIVEN}]({GIVEN_ADDRESS}{at})"
        between = "\n\n" if note.detail and link else ""
        shown.append(_note(turn.role, note, note.detail, between + link))
    return shown


def _note(role: str, note: Footer, text: str, link: str = "") -> Shown:
    status = "pending" if note.pending else "done"
    metadata = {"title": escape(note.title), "log": note.log, "status": status}
    if note.record is not None:
        metadata["id"] = provenance.to_text(note.record)
    return {"role": role, "content": _block(escape(text) + link), "metadata": metadata}


def _block(markdown: str) -> list[Shown]:
    # A bare string would have its indentation cleaned by the component, and code with it.
    return [{"type": "text", "text": markdown}]


def read(value: object) -> list[Turn]:
    """The turns that the component shows; whatever is not text is left out."""
    turns: list[Turn] = []
    thinking = ""
    for message in value if isinstance(value, list) else []:
        role, text = str(message.get("role")), unescape(_text_of(message.get("content")))
        metadata = message.get("metadata") or {}
        title = metadata.get("title")
        if not title:
            turns.append(Turn(role=role, text=text, thinking=thinking))
            thinking = ""
        elif title == THINKING:
            thinking = text
        else:
            footer = Footer(
                title=unescape(title),
                log=metadata.get("log") or "",
                detail=_GIVEN_LINK.sub("", text),
                pending=metadata.get("status") == "pending",
                record=provenance.from_text(metadata.get("id")),
            )
            open_reply = turns and turns[-1].role == role and turns[-1].footer is None
            last = turns.pop() if open_reply else Turn(role=role, text="", thinking=thinking)
            turns.append(replace(last, footer=footer))
            thinking = ""
    return turns


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "".join(
        part if isinstance(part, str) else str(part.get("text") or "")
        for part in parts
        if isinstance(part, str | dict)
    )


def turn_index(value: Sequence[Shown], index: int) -> int:
    """Which turn the component's message `index` belongs to."""
    return max(0, len(read(list(value)[: index + 1])) - 1)


def is_note(value: Sequence[Shown], index: int | tuple[int, int]) -> bool:
    """Whether the component's message `index` is a reply's thoughts or footer."""
    at = index if isinstance(index, int) else index[0]
    return bool((value[at].get("metadata") or {}).get("title"))


def escape(text: str) -> str:
    """Text that Markdown reads neither as HTML nor as an image; code is left as it is.

    A diagram stays the code that it is.
    """
    disarmed, end = [], 0
    for code in _CODE.finditer(text):
        disarmed += [_disarm(text[end : code.start()]), code[0]]
        end = code.end()
    return _DRAWN.sub(rf"\1{WORD_JOINER}", "".join([*disarmed, _disarm(text[end:])]))


def _disarm(text: str) -> str:
    return _MARKUP.sub(lambda found: found[0] + WORD_JOINER, text)


def unescape(text: str) -> str:
    """What `escape` was given."""
    return _JOINED.sub(r"\1", _NOT_DRAWN.sub(r"\1", text))


# --- what a reply is asked for ------------------------------------------------------------------


def messages(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """The conversation for the model: no thoughts, no footers."""
    return tuple(
        Message(role="user" if turn.role == "user" else "assistant", content=turn.text)
        for turn in turns
    )


def is_pending(turns: Sequence[Turn]) -> bool:
    """Whether a reply has been asked for and has not ended."""
    return bool(turns) and turns[-1].footer is not None and turns[-1].footer.pending


def split_pending(turns: Sequence[Turn]) -> tuple[list[Turn], str]:
    """The turns to answer, and the text that the answer already begins with."""
    return (list(turns[:-1]), turns[-1].text) if is_pending(turns) else (list(turns), "")


def settle(turns: Sequence[Turn], stopped: str) -> list[Turn]:
    """No reply is on its way any more: one that still says so gets `stopped` as its reason.

    One of which there is neither a word nor a thought yet is gone.
    """
    last = turns[-1] if is_pending(turns) else None
    if last is None or last.footer is None:
        return list(turns)
    if not (last.text or last.thinking):
        return list(turns[:-1])
    return [*turns[:-1], replace(last, footer=replace(last.footer, title=stopped, pending=False))]


def gone_on(before: Turn, reply: Turn, record: Provenance | None) -> Turn:
    """A reply as it grows from `before`, whose thoughts stay in front of its own."""
    thoughts = "\n\n".join(text for text in (before.thinking, reply.thinking) if text)
    footer = reply.footer and replace(reply.footer, record=record)
    return replace(reply, thinking=thoughts, footer=footer)


def edited(turn: Turn) -> Turn:
    """A reply that a person has changed: its record says so."""
    if turn.footer is None or turn.footer.record is None:
        return turn
    return replace(
        turn, footer=replace(turn.footer, record=replace(turn.footer.record, edited=True))
    )


# --- what the browser keeps ---------------------------------------------------------------------


def to_stored(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The turns as plain JSON; of a reply on its way, the text it has."""
    stored: list[dict[str, Any]] = []
    for turn in turns:
        if not turn.text and turn.footer is not None and turn.footer.pending:
            continue
        kept: dict[str, Any] = {"role": turn.role, "content": turn.text}
        if turn.thinking:
            kept["thinking"] = turn.thinking
        if turn.footer is not None and not turn.footer.pending:
            kept["footer"] = _stored_footer(turn.footer)
        stored.append(kept)
    return stored


def _stored_footer(footer: Footer) -> dict[str, Any]:
    told = {"title": footer.title, "log": footer.log, "detail": footer.detail}
    if footer.record is None:
        return told
    return {**told, "record": provenance.to_json(footer.record)}


def from_stored(value: object) -> list[Turn]:
    """The turns of a stored or imported conversation.

    Raises:
        InvalidRequestError: it is not what `to_stored` makes.
    """
    if not isinstance(value, list):
        raise _unreadable()
    return [_stored_turn(item) for item in value]


def _stored_turn(item: object) -> Turn:
    if not isinstance(item, Mapping) or item.get("role") not in ("user", "assistant"):
        raise _unreadable()
    footer = item.get("footer")
    return Turn(
        role=item["role"],
        text=_text(item, "content"),
        thinking=_text(item, "thinking"),
        footer=Footer(
            title=_text(footer, "title") or "Reply",
            log=_text(footer, "log"),
            detail=_text(footer, "detail"),
            record=provenance.from_json(footer.get("record")),
        )
        if isinstance(footer, Mapping)
        else None,
    )


def sendable(text: str) -> str:
    """A text without halves of characters, as a file may hold them: no answer could carry one."""
    return text.encode(errors="replace").decode()


def _text(value: Mapping[Any, Any], name: str) -> str:
    text = value.get(name, "")
    if not isinstance(text, str):
        raise _unreadable()
    return sendable(text)


def _unreadable() -> InvalidRequestError:
    return InvalidRequestError(
        "This conversation cannot be read.", "Start a new one; the stored one is left as it is."
    )
