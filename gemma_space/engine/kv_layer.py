"""One layer's keys and values: of one conversation, or of several in one batch.

Rows are aligned at their ends: a step appends one column to all of them. Buffers have room, so that
a step writes a column and copies nothing, and joining or leaving moves one row. Knows shapes and
the layer's window; does not know the other layers, tokens or models.
"""

from typing import Any

import torch
from transformers.cache_utils import CacheLayerMixin

# Columns to grow by. A device with recorded steps records again whenever buffers have grown.
ROOM_COLUMNS = {"cpu": 64, "cuda": 512}
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
        self.slot: torch.Tensor | None = None  # while a step of fixed shapes runs: see `fixed`
        self._begin = self._end = 0
        self._buffers: Pair | None = None

    # --- what the model asks --------------------------------------------------------------------

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: `update` makes room."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Pair:
        """Append columns and return all that these may look at."""
        if self.slot is not None:
            return self._write_at(self.slot, (key_states, value_states))
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

    def _write_at(self, slot: torch.Tensor, states: Pair) -> Pair:
        """Write one column where a tensor says and return all columns; nothing else changes."""
        assert self._buffers is not None
        keys, values = (buffer[: self.rows] for buffer in self._buffers)
        keys.index_copy_(2, slot, states[0])
        values.index_copy_(2, slot, states[1])
        return keys, values

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
    def place(self) -> tuple[int, int]:
        """The column that comes next, and how many the buffers have."""
        return self._end, 0 if self._buffers is None else self._buffers[0].shape[-2]

    @property
    def buffers(self) -> Pair | None:
        """What holds the columns; another pair once it has grown."""
        return self._buffers

    @property
    def spare_rows(self) -> bool:
        """Whether the buffers have room for rows that are not here."""
        return self._buffers is not None and self._buffers[0].shape[0] > self.rows

    def make_room(self) -> None:
        """See to it that one more column fits."""
        if self._buffers is not None and self._end == self._buffers[0].shape[-2]:
            self._regrow(self._buffers, columns=1)

    def clear_around(self) -> None:
        """Zeros where no column is: what is hidden may still not be what is no number."""
        for buffer in self._buffers or ():
            buffer[:, :, : self._begin] = 0
            buffer[:, :, self._end :] = 0

    def advance(self) -> None:
        """A column was written at the end from outside."""
        self._end += 1
        self.seen += 1

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
        more = ROOM_COLUMNS.get(like[0].device.type, ROOM_COLUMNS["cpu"])
        room = max(left + kept + columns + max(more, kept // 16), self.expected)
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
