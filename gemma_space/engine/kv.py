"""Keys and values of conversations: each alone, or several in one batch.

Rows of a batch are aligned at their ends: a step appends one column to all of them, and the
model's own masks hide what a shorter row does not have. Buffers have room, so that a step writes
a column and copies nothing, and joining or leaving moves one row. Knows shapes and windows; does
not know tokens, requests or models.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

ROOM_COLUMNS = 64
Pair = tuple[torch.Tensor, torch.Tensor]


class RowsLayer(CacheLayerMixin):
    """One layer's keys and values, each of shape (rows, heads, columns, head size).

    Args:
        window: how many tokens back the layer looks, the token itself included; None for all.
    """

    is_croppable = True

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.is_sliding = window is not None
        self.rows = 0
        self.seen = 0  # tokens of the longest row
        self.since = 0  # tokens since the mark, of the row with the most: within reach of a cut
        self.expected = 0  # columns to make room for at once
        self._begin = self._end = 0
        self._buffers: Pair | None = None

    # --- what the model asks --------------------------------------------------------------------

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: `update` makes room."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Pair:
        """Append columns and return all that these may look at."""
        new = key_states.shape[-2]
        if self._buffers is None:
            self.rows = key_states.shape[0]
        if self._buffers is None or self._end + new > self._buffers[0].shape[-2]:
            self._regrow((key_states, value_states), columns=new)
        assert self._buffers is not None
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self.rows, :, self._end : self._end + new] = states
        self._end += new
        self.seen += new
        visible = self.kept if self.window is None else min(self.kept, self.window - 1 + new)
        return self._span(slice(0, self.rows), visible)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many columns a query sees, and the number of the first of them."""
        past = self.seen if self.window is None else min(self.seen, self.window - 1)
        return past + query_length, self.seen - past

    def get_seq_length(self) -> int:
        """Tokens of the longest row."""
        return self.seen

    def get_max_length(self) -> int:
        """The window; -1 without one."""
        return self.window or -1

    # --- one row --------------------------------------------------------------------------------

    @property
    def kept(self) -> int:
        """Columns that are here."""
        return self._end - self._begin

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers, room included."""
        return sum(buffer.nbytes for buffer in self._buffers or ())

    @property
    def spare_rows(self) -> bool:
        """Whether the buffers have room for rows that are not here."""
        return self._buffers is not None and self._buffers[0].shape[0] > self.rows

    def reach(self) -> int:
        """How many columns `crop` may take away."""
        if self.window is None or self.seen == self.kept:
            return self.seen
        return max(0, self.kept - (self.window - 1))

    def crop(self, tokens_to_remove: int) -> None:
        """Take the last columns away; a negative number, as the library's own layers have it."""
        gone = abs(tokens_to_remove)
        self._end -= gone
        self.seen -= gone
        self.since = max(0, self.since - gone)

    def needed(self) -> int:
        """Columns that may not be dropped."""
        if self.window is None:
            return self.kept
        return min(self.kept, self.window - 1 + self.since)

    # --- several --------------------------------------------------------------------------------

    def add(self, alone: "RowsLayer") -> None:
        """Take in another row; it is copied."""
        parts = alone._span(slice(0, 1), alone.needed())
        count = parts[0].shape[-2]
        if self._buffers is None or self.rows == self._buffers[0].shape[0] or count > self._end:
            self._regrow(parts, rows=self.rows + 1, left=max(0, count - self.needed()))
        assert self._buffers is not None
        start, before = self._end - count, self._begin
        self._begin = min(before, start)
        for buffer, part in zip(self._buffers, parts, strict=True):
            # Of rows that were here before: hidden, but 0 times what is no number is none.
            buffer[: self.rows, :, self._begin : before] = 0
            buffer[self.rows, :, self._begin : start] = 0
            buffer[self.rows, :, start : self._end] = part[0]
        self.rows += 1
        self.seen = max(self.seen, alone.seen)
        self.since = max(self.since, alone.since)

    def copy(self, row: int, tokens: int, since: int) -> "RowsLayer":
        """A row alone."""
        alone = RowsLayer(self.window)
        needed = tokens if self.window is None else self.window - 1 + since
        count = min(tokens, self.kept, needed)
        if self._buffers is not None:
            keys, values = self._span(slice(row, row + 1), count)
            alone._buffers, alone.is_initialized = (keys.clone(), values.clone()), True
            alone.rows, alone._end, alone.seen, alone.since = 1, count, tokens, since
        return alone

    def drop(self, row: int) -> None:
        """Remove a row, the last one into its place."""
        self.rows -= 1
        if row < self.rows:
            for buffer in self._buffers or ():
                buffer[row].copy_(buffer[self.rows])

    def trim(self, longest: int, since: int) -> None:
        """Forget the columns that only rows had which are gone."""
        self._begin = max(self._begin, self._end - longest)
        self.seen, self.since = longest, since
        self._begin = self._end - self.needed()  # a row that came with these has no more

    def _span(self, rows: slice, count: int) -> Pair:
        assert self._buffers is not None
        keys, values = self._buffers
        span = slice(self._end - count, self._end)
        return keys[rows, :, span], values[rows, :, span]

    def _regrow(self, like: Pair, rows: int = 0, columns: int = 0, left: int = 0) -> None:
        """Larger buffers; what nobody needs stays behind.

        Args:
            rows, columns: to make room for, beside what there is.
            left: columns to make room for in front, for a row that is longer than all.
        """
        kept = self.needed()
        room = max(left + kept + columns + max(ROOM_COLUMNS, kept // 16), self.expected)
        made = []
        for index, states in enumerate(like):
            buffer = states.new_zeros(max(rows, self.rows), states.shape[1], room, states.shape[3])
            if self._buffers is not None and kept:
                old = self._buffers[index][: self.rows, :, self._end - kept : self._end]
                buffer[: self.rows, :, left : left + kept] = old
            made.append(buffer)
        self._buffers = (made[0], made[1])
        self._begin, self._end = left, left + kept
        self.is_initialized = True


class RowsCache(Cache):
    """The layers of a model, for one row or several.

    Args:
        config: the model's; transformers' own cache says which layers look back how far.
    """

    def __init__(self, config: Any) -> None:
        theirs = DynamicCache(config=config.get_text_config(decoder=True)).layers
        super().__init__(layers=[RowsLayer(getattr(one, "sliding_window", None)) for one in theirs])
        self._config = config

    @property
    def own(self) -> Sequence[RowsLayer]:
        """The layers that hold anything; some models' last ones look at others'."""
        return [one for one in self.layers if isinstance(one, RowsLayer) and one.is_initialized]

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return max((layer.seen for layer in self.own), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(layer.nbytes for layer in self.own)

    def expect(self, columns: int) -> None:
        """Make room for so many tokens at once, where all are kept."""
        for layer in self.layers:
            if isinstance(layer, RowsLayer) and layer.window is None:
                layer.expected = columns

    def reach(self) -> int:
        """How many of the last tokens can be taken back."""
        return min((layer.reach() for layer in self.own), default=0)

    def cut(self, tokens: int) -> None:
        """Take the last tokens back; at most `reach()` of them."""
        for layer in self.own:
            layer.crop(-tokens)

    def branch(self, tokens: int) -> "RowsCache":
        """A copy without the last tokens; at most `reach()` of them."""
        alone = self.copy(0, RowsCache(self._config), self.length, since=tokens)
        alone.cut(tokens)
        return alone

    def back_to(self, length: int) -> None:
        """Take back what a step that failed half-way had appended."""
        for layer in self.own:
            since = layer.since
            layer.crop(layer.seen - length)
            layer.since = since

    def mark(self, since: int = 0) -> None:
        """Keep from here on what a cut back to this point needs."""
        for layer in self.own:
            layer.since = since

    def add(self, alone: "RowsCache") -> None:
        """Take in another row: all layers do or, where memory runs out, none."""
        rows, longest = max(layer.rows for layer in self.own), self.length
        since = max(layer.since for layer in self.own)
        pairs = list(zip(self.own, alone.own, strict=True))
        try:
            for layer, part in pairs:
                layer.add(part)
        except BaseException:
            for layer in self.own:
                layer.rows = rows
            self.trim(longest, since)
            raise

    @property
    def spare_rows(self) -> bool:
        """Whether there is room for rows that are not here."""
        return any(layer.spare_rows for layer in self.own)

    def copy(self, row: int, alone: "RowsCache", tokens: int, since: int) -> "RowsCache":
        """A row alone; `alone` is an empty cache to hold it."""
        alone.layers = [
            layer.copy(row, tokens, since)
            if isinstance(layer, RowsLayer) and layer.is_initialized
            else layer
            for layer in self.layers
        ]
        return alone

    def drop(self, row: int) -> None:
        """Remove a row, the last one into its place."""
        for layer in self.own:
            layer.drop(row)

    def trim(self, longest: int, since: int) -> None:
        """Forget what only rows had that are gone."""
        for layer in self.own:
            layer.trim(longest, since)
