"""Keys and values of conversations: each alone, or several in one batch.

All layers of a model together; what one of them does is in `kv_layer`. The model's own masks hide
what a shorter row does not have. Knows how many tokens there are and how far back they can be
taken; does not know which tokens, requests or models.
"""

from collections.abc import Sequence
from typing import Any

from transformers import Cache, DynamicCache

from gemma_space.engine.kv_layer import RowsLayer

MOST_SPARE = 8  # a kept cache has at most one part in so many of room


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

    def fitted(self) -> "RowsCache":
        """One row without much room around it: itself, or a copy."""
        ends = [layer.place for layer in self.own]
        if all(room - end <= max(64, end // MOST_SPARE) for end, room in ends):
            return self
        since = max((layer.since for layer in self.own), default=0)
        return self.copy(0, RowsCache(self._config), self.length, since)

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
