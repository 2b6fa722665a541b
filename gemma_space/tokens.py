"""Token ids become text, and text becomes tokens that people can read.

Knows how to stream: bytes of an unfinished character are held back, a stop string may span
tokens and is never shown, thoughts are kept apart from the reply, and what has been shown never
changes. Knows nothing of models.
"""

import re
from typing import Any

from tokenizers.decoders import DecodeStream

from gemma_space.chat import with_one_bos
from gemma_space.types import Tokenization, TokenPiece

REPLACEMENT = "\ufffd"
NO_TOKEN = "<no such token>"
CHANNEL = "thought\n"  # the name that a thinking channel begins with
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


class ReplyText:
    """The text of one reply as it grows; ends at a stop string, which may come in parts.

    Args:
        stop: strings that end the reply; none of their text is shown.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._stop = stop
        self._held = ""
        self._thoughts = ""
        self.text = ""
        self.stopped = False

    @property
    def thinking(self) -> str:
        """The thoughts so far."""
        return self._thoughts

    def think(self, piece: str) -> None:
        """Add to the thoughts."""
        self._thoughts += piece

    def add(self, piece: str) -> bool:
        """Add to the text; true when a stop string has ended the reply."""
        if self.stopped or not piece:
            return self.stopped
        self._held += piece
        found = [(i + len(s), i) for s in self._stop if (i := self._held.find(s)) >= 0]
        if found:
            # The one that is complete first, so that it does not matter how the text is divided.
            _, at = min(found)
            self.text += self._held[:at]
            self._held = ""
            self.stopped = True
            return True
        cut = len(self._held) - _possible_stop(self._held, self._stop)
        self.text += self._held[:cut]
        self._held = self._held[cut:]
        return False

    def finish(self) -> str:
        """Show what was held back for a stop string that never came; the whole text."""
        self.text += self._held
        self._held = ""
        return self.text


class TextStream(ReplyText):
    """Decodes one reply token by token.

    Args:
        tokenizer: the checkpoint's own (a fast one).
        context_ids: ids before the reply that its first token may need for spacing (Continue).
        stop: strings that end the reply; none of their text is shown.
        show_special: whether control tokens are part of the text (raw completion).
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        context_ids: tuple[int, ...] = (),
        stop: tuple[str, ...] = (),
        show_special: bool = False,
    ) -> None:
        super().__init__(stop)
        self._backend = tokenizer.backend_tokenizer
        self._skip_special = not show_special
        self._stream = DecodeStream(ids=list(context_ids), skip_special_tokens=not show_special)
        self._channel = None if show_special else _thinking_channel(tokenizer)
        self._thinking: DecodeStream | None = None
        self._channels: list[str] = []  # what was said in each time it was open

    @property
    def thinking(self) -> str:
        """What was thought so far, without the channel's name; paragraphs, where it began anew."""
        return "\n\n".join(said for text in self._channels if (said := _unnamed(text)))

    def push(self, token_id: int) -> bool:
        """Add a token to `text`; true when a stop string has ended the reply."""
        if self.stopped or self._think(token_id):
            return self.stopped
        self._stream, piece = self._step(self._stream, token_id, self._skip_special)
        return self.add(piece)

    def _step(self, stream: DecodeStream, token_id: int, skip: bool) -> tuple[DecodeStream, str]:
        """The text that this token completes, and the stream to go on with."""
        try:
            return stream, stream.step(self._backend, token_id) or ""
        except Exception:
            # Bytes that are no character after bytes that were one: decoded together, the latter
            # would change in hindsight, which DecodeStream refuses with a bare Exception.
            fresh = DecodeStream(skip_special_tokens=skip)
            return fresh, REPLACEMENT + (fresh.step(self._backend, token_id) or "")

    def _think(self, token_id: int) -> bool:
        """Take a token that belongs to the thinking channel; false when it is part of the reply."""
        if self._channel and token_id in self._channel:
            opens = token_id == self._channel[0]
            self._thinking = DecodeStream(skip_special_tokens=True) if opens else None
            self._channels += [""] * opens
            return True
        if self._thinking is None:
            return False
        self._thinking, text = self._step(self._thinking, token_id, True)
        self._channels[-1] += text
        return True


def _thinking_channel(tokenizer: Any) -> tuple[int, int] | None:
    """The ids that open and close Gemma 4's thinking channel, where the vocabulary has them."""
    vocabulary = tokenizer.get_added_vocab()
    opens, closes = vocabulary.get("<|channel>"), vocabulary.get("<channel|>")
    return None if opens is None or closes is None else (opens, closes)


def _unnamed(said: str) -> str:
    """What is said in a channel, without the name it begins with or may still become.

    All of it where that is another: nothing a model says is kept from its reader.
    """
    return "" if CHANNEL.startswith(said) else said.removeprefix(CHANNEL)


def _possible_stop(text: str, stop: tuple[str, ...]) -> int:
    """How many characters at the end of `text` could begin a stop string."""
    longest = max((len(s) for s in stop), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(s.startswith(text[-size:]) for s in stop):
            return size
    return 0


def encode_prompt(
    tokenizer: Any, text: str, *, add_bos: bool = True, parse_special: bool = True
) -> tuple[int, ...]:
    """A raw prompt as ids.

    Args:
        add_bos: open with one BOS unless the text already does.
        parse_special: read control tokens in the text as such; otherwise they stay literal.
    """
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not parse_special)
    return tuple(with_one_bos(ids, tokenizer.bos_token_id) if add_bos else ids)


def tokenize(tokenizer: Any, text: str, *, parse_special: bool = True) -> Tokenization:
    """A text as it stands, token by token, nothing added."""
    ids = encode_prompt(tokenizer, text, add_bos=False, parse_special=parse_special)
    return Tokenization(tokens=pieces(tokenizer, ids))


def pieces(tokenizer: Any, ids: tuple[int, ...]) -> tuple[TokenPiece, ...]:
    """Ids with the text each stands for; a lone byte shows as `<0xE2>`, no token as `NO_TOKEN`."""
    size = len(tokenizer)
    known = [i for i in ids if 0 <= i < size]
    names = dict(zip(known, tokenizer.convert_ids_to_tokens(known), strict=True))
    return tuple(TokenPiece(id=i, text=_shown(names.get(i) or NO_TOKEN)) for i in ids)


def _shown(name: str) -> str:
    return name if _BYTE_TOKEN.fullmatch(name) else name.replace("▁", " ")


def vocabulary(tokenizer: Any) -> int:
    """A number that two tokenizers share where every id stands for the same text in both."""
    return hash(frozenset(tokenizer.get_vocab().items()))
