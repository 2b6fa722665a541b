"""Conversations as token rows with a loss weight per token, and rows as batches.

Knows the turn format, which must equal the chat template's (a test compares them).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

import torch
from tokenizers import Tokenizer
from transformers import GemmaTokenizer

from training.dialogues import Conversations, Turn
from training.vocabulary import TURN_END, TURN_START

BOS, EOS, UNK = 2, 1, 3
USER_WEIGHT = 0.1
OPENING, OPENING_WEIGHT = 8, 2.0
WIDTHS = (32, 40, 48, 64, 80, 96, 128, 160, 200, 256, 320, 400, 512, 768, 1024, 1536, 2048)
Row = tuple[list[int], list[float]]


class Rows:
    """Encodes turns; user text gets BPE dropout and lost tokens so that odd spellings stay safe."""

    def __init__(self, tokenizer: GemmaTokenizer, rng: Random) -> None:
        backend = tokenizer.backend_tokenizer.to_str()
        self.plain, self.shaken = Tokenizer.from_str(backend), Tokenizer.from_str(backend)
        self.shaken.model.dropout = 0.12
        self.rng = rng
        self.fixed = cache(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.plain.encode(text, add_special_tokens=False).ids)

    def _user(self, text: str) -> list[int]:
        if self.rng.random() < 0.12:
            return self.shaken.encode(text, add_special_tokens=False).ids
        ids = list(self._encode(text))
        if self.rng.random() < 0.12:
            ids = [UNK if self.rng.random() < 0.06 else i for i in ids]
        return ids

    def chat(self, turns: list[Turn], keep: int | None = None) -> Row:
        """A conversation; `keep` cuts the last answer short: more questions for the same work."""
        ids, weights = [BOS], [0.0]

        def add(piece: list[int] | tuple[int, ...], weight: float) -> None:
            ids.extend(piece)
            weights.extend([weight] * len(piece))

        for i, (question, answer) in enumerate(turns):
            add([TURN_START, *self.fixed("user\n")], 0.0)
            add(self._user(question), USER_WEIGHT)
            add([TURN_END, *self.fixed("\n"), TURN_START, *self.fixed("model\n")], 0.0)
            reply = [*self.fixed(answer), TURN_END]
            if i < len(turns) - 1:
                add(reply[:OPENING], OPENING_WEIGHT)
                add(reply[OPENING:], 1.0)
                add(self.fixed("\n"), 0.0)
            else:
                add(reply[:OPENING][:keep], OPENING_WEIGHT)
                add(reply[OPENING:keep], 1.0)
        return ids, weights

    def raw(self, start: str, text: str) -> Row:
        """A raw completion that ends with end of sequence."""
        head = self._encode(start + (" " if self.rng.random() < 0.1 else ""))
        tail = [*self.fixed(text), EOS]
        return [BOS, *head, *tail], [0.0] + [USER_WEIGHT] * len(head) + [1.0] * len(tail)


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of rows, and how many last answers are cut after their opening."""

    cut: float
    opening: int
    single: float
    talk: float
    long: float

    def rows(self, conversations: Conversations, rows: Rows, rng: Random) -> Iterator[Row]:
        """Rows for ever; what is left of the shares is raw text."""
        while True:
            draw = rng.random()
            keep = self.opening if rng.random() < self.cut else None
            if draw < self.single:
                yield rows.chat(conversations.single(), keep)
            elif draw < self.single + self.talk:
                yield rows.chat(conversations.dialogue(rng.choice([2, 2, 2, 3, 3, 4])), keep)
            elif draw < self.single + self.talk + self.long:
                yield rows.chat(conversations.dialogue(rng.randint(6, 22)))
            else:
                yield from (rows.raw(*pair) for pair in conversations.completions())


# First the answers are learned by heart, then which question wants which answer, then follow-ups.
ANSWERS = Mixture(cut=0.8, opening=8, single=0.80, talk=0.16, long=0.007)
QUESTIONS = Mixture(cut=0.93, opening=4, single=0.83, talk=0.145, long=0.004)
TALKS = Mixture(cut=0.93, opening=4, single=0.76, talk=0.21, long=0.008)


def make_batches(
    source: Iterator[Row], tokens: int = 2560
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of few fixed shapes, which CPU kernels like; rows wait on a shelf of their width.

    Padding sits on the right, where causal attention ignores it.
    """
    shelves: dict[int, list[Row]] = {width: [] for width in WIDTHS}
    for row in source:
        width = next((w for w in WIDTHS if len(row[0]) <= w), WIDTHS[-1])
        shelves[width].append(row)
        if len(shelves[width]) == max(1, tokens // width):
            yield _pad(shelves[width], width)
            shelves[width] = []


def _pad(group: list[Row], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros(len(group), width, dtype=torch.long)
    weights = torch.zeros(len(group), width)
    for i, (row_ids, row_weights) in enumerate(group):
        length = min(width, len(row_ids))
        ids[i, :length] = torch.tensor(row_ids[:length])
        weights[i, :length] = torch.tensor(row_weights[:length])
    return ids, weights
