"""Messages become token ids, through the checkpoint's own chat template and nothing else.

Knows Gemma's role rules: which templates refuse a system turn, that turns must alternate, that
exactly one BOS opens the prompt, that user text never becomes control tokens. Knows neither
weights nor the page. A tokenizer here is transformers' own object; this module only calls it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_space.errors import ContextLengthError, InvalidRequestError, LoadError
from gemma_space.types import Message, Variant

FOLDED = "This model takes no system prompt, so it was put in front of the first message."
MENDED = "Messages of the same role in a row were joined, empty ones left out."
UNSAID = (
    "This model's template leaves thinking markers, and what stands between them, out of earlier "
    "replies."
)
UNTHINKING = "This model's template knows no thinking, so it could not be switched on."
TURN_ENDS = ("<end_of_turn>", "<turn|>")
THINKING = "enable_thinking"  # what Gemma 4's template calls the switch


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """A conversation as ids, ready for an engine.

    `prefix_tokens` of `token_ids` are the reply's own beginning (Continue). `dropped_messages`
    counts what was left out to fit; `notes` are sentences about everything else that changed.
    """

    token_ids: tuple[int, ...]
    bos_count: int
    dropped_messages: int
    notes: tuple[str, ...]
    prefix_tokens: int = 0


def render(
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    system_prompt: str = "",
    reply_prefix: str = "",
    thinking: bool | None = None,
    limit_tokens: int,
) -> RenderedPrompt:
    """Render a conversation that ends with a user message, opening the model's turn.

    Too long a conversation loses whole turns from its oldest end; the system prompt and the last
    message always stay.

    Args:
        tokenizer: the checkpoint's own.
        messages: in order; system messages among them join the system prompt.
        system_prompt: blank means none.
        reply_prefix: text the reply already begins with; encoded literally after the prompt.
        thinking: whether the model thinks first, where its template knows of that; None leaves
            it to the template.
        limit_tokens: the most ids the result may have.

    Raises:
        InvalidRequestError: nothing to answer, or the checkpoint has no chat template.
        ContextLengthError: the last message alone does not fit, with both counts.
        LoadError: the checkpoint's template fails.
    """
    if not getattr(tokenizer, "chat_template", None):
        require_chat_format("base")
    turns, system, mended = mend(messages, system_prompt)
    prefix_ids = _encode_text(tokenizer, reply_prefix) if reply_prefix else []
    fold = bool(system) and not takes_system(tokenizer)
    switch = {} if thinking is None or not takes_thinking(tokenizer) else {THINKING: thinking}

    def ids_without(pairs: int) -> list[int]:
        return _render(tokenizer, turns[2 * pairs :], system, fold, switch) + prefix_ids

    pairs, ids = _fewest_dropped(ids_without, (len(turns) - 1) // 2, limit_tokens)
    notes = [FOLDED] if fold else []
    notes += [MENDED] if mended else []
    notes += [UNTHINKING] if thinking and not switch else []
    notes += [dropped_note(2 * pairs)] if pairs else []
    notes += [UNSAID] if _loses_thoughts(tokenizer, turns[2 * pairs :]) else []
    return RenderedPrompt(
        token_ids=tuple(ids),
        bos_count=ids.count(tokenizer.bos_token_id),
        dropped_messages=2 * pairs,
        notes=tuple(notes),
        prefix_tokens=len(prefix_ids),
    )


def require_chat_format(variant: Variant) -> None:
    """Refuse a chat with a base model.

    Raises:
        InvalidRequestError: the checkpoint was not trained to chat.
    """
    if variant == "base":
        raise InvalidRequestError(
            "This is a base model: it continues text and has no chat format.",
            "Use the Prompt tab, or choose an instruct model for chat.",
        )


def mend(messages: Sequence[Message], system_prompt: str = "") -> tuple[list[Message], str, bool]:
    """Make turns alternate, beginning and ending with the user.

    Empty messages are dropped, neighbours of one role joined by a blank line, a leading
    assistant turn dropped, system messages gathered into the system prompt.

    Returns:
        the turns, the system prompt, and whether anything but system turns had to change.

    Raises:
        InvalidRequestError: no user message is left to answer.
    """
    systems = [system_prompt, *(m.content for m in messages if m.role == "system")]
    system = "\n\n".join(text for text in systems if text.strip())
    spoken = [m for m in messages if m.role != "system"]
    turns: list[Message] = []
    for message in spoken:
        if not message.content.strip() or (not turns and message.role == "assistant"):
            continue
        if turns and turns[-1].role == message.role:
            joined = f"{turns[-1].content}\n\n{message.content}"
            turns[-1] = Message(role=message.role, content=joined)
        else:
            turns.append(message)
    if not turns or turns[-1].role != "user" or not spoken[-1].content.strip():
        raise InvalidRequestError("The message is empty.", "Write something to send.")
    return turns, system, len(turns) != len(spoken)


def takes_system(tokenizer: Any) -> bool:
    """Whether the template has a place for a system turn (Gemma 1 and 2 raise instead)."""
    probe = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    try:
        tokenizer.apply_chat_template(probe, tokenize=False)
    except Exception:  # it refuses in its own ways
        return False
    return True


def takes_thinking(tokenizer: Any) -> bool:
    """Whether the template asks if the model is to think before it answers (Gemma 4's does)."""
    return THINKING in (getattr(tokenizer, "chat_template", None) or "")


def control_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that no text becomes by itself: turn markers, BOS and the like."""
    added = tokenizer.added_tokens_decoder
    return frozenset(i for i, token in added.items() if token.special)


def turn_end_ids(tokenizer: Any) -> tuple[int, ...]:
    """Ids that end a turn in this checkpoint's template, looked up by name (the ids move)."""
    template = getattr(tokenizer, "chat_template", None) or ""
    vocabulary = tokenizer.get_added_vocab()
    return tuple(vocabulary[name] for name in TURN_ENDS if name in template and name in vocabulary)


def _loses_thoughts(tokenizer: Any, turns: Sequence[Message]) -> bool:
    """Whether an earlier reply has text that Gemma 4's template takes for thoughts."""
    marker = "<|channel>"
    return marker in tokenizer.chat_template and any(
        m.role == "assistant" and marker in m.content for m in turns
    )


def dropped_note(count: int) -> str:
    return f"The oldest {count} messages were left out to fit the context window."


def _render(
    tokenizer: Any, turns: list[Message], system: str, fold: bool, switch: dict[str, bool]
) -> list[int]:
    conversation = [{"role": m.role, "content": m.content} for m in turns]
    if fold:
        conversation[0]["content"] = f"{system.strip()}\n\n{conversation[0]['content']}"
    elif system:
        conversation.insert(0, {"role": "system", "content": system})
    try:
        ids: list[int] = tokenizer.apply_chat_template(
            conversation,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            sanitize_control_tokens=True,  # what a visitor types stays text
            **switch,
        )
    except Exception as error:  # a template is somebody's program, and raises what it likes
        raise LoadError(
            f"This model's chat template fails ({type(error).__name__}).",
            "Use the Prompt tab, or choose another model.",
        ) from error
    return with_one_bos(ids, tokenizer.bos_token_id)


def with_one_bos(ids: list[int], bos: int | None) -> list[int]:
    """`ids` opened by exactly one BOS; ids further in are not touched."""
    if bos is None:
        return ids
    start = 0
    while start < len(ids) and ids[start] == bos:
        start += 1
    return [bos, *ids[start:]]


def _fewest_dropped(ids_without: Any, most: int, limit: int) -> tuple[int, list[int]]:
    """The least number of oldest pairs to drop so that the rest fits, and the ids that remain."""
    ids = ids_without(0)
    if len(ids) <= limit:
        return 0, ids
    ids = ids_without(most) if most else ids
    if len(ids) > limit:
        raise ContextLengthError(
            f"The message needs {len(ids):,} tokens, but only {max(limit, 0):,} fit beside the "
            "room kept for the reply.",
            "Shorten the message or the system prompt, or lower max_new_tokens.",
        )
    low, high = 1, most  # `high` fits; dropping more never makes the prompt longer
    while low < high:
        middle = (low + high) // 2
        if len(shorter := ids_without(middle)) <= limit:
            high, ids = middle, shorter
        else:
            low = middle + 1
    return high, ids


def _encode_text(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


def read_messages(value: object) -> tuple[Message, ...]:
    """Messages from JSON, as an API caller, an import or Gradio's chat component gives them.

    `content` may be a text or a list of text parts; parts are joined without a separator, as
    Gemma 3's own template does.

    Raises:
        InvalidRequestError: it is no such list, naming the message that is wrong.
    """
    if not isinstance(value, list | tuple):
        raise InvalidRequestError(
            "The messages must be a list.", 'Send [{"role": "user", "content": "Hello"}].'
        )
    return tuple(_read_message(item, number) for number, item in enumerate(value, start=1))


def _read_message(item: object, number: int) -> Message:
    if not isinstance(item, dict) or item.get("role") not in ("user", "assistant", "system"):
        raise InvalidRequestError(
            f"Message {number} has no role that this playground knows.",
            "Each message needs a role (user, assistant or system) and a content.",
        )
    content = item.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError(
            f"The content of message {number} is not a text.", "Send text only."
        )
    return Message(role=item["role"], content="".join(str(text) for text in texts))
