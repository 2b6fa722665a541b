"""Replies that are written together: one step of the model adds a token to each.

Knows whose row is where in the joined cache. Does not know who joins when, or what a token means.
"""

from typing import Any

import torch

from gemma_space.engine.kv import RowsCache
from gemma_space.engine.request import Request


class Batch:
    """Replies that are written together, with one adapter or none."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.rows: list[Request] = []
        self._cache = RowsCache(model.config)

    def join(self, request: Request) -> None:
        """Take a request in; its cache becomes a row."""
        assert request.cache is not None
        if not self.rows:
            self._cache, request.cache = request.cache, None
        else:
            self._cache.add(request.cache)
            request.cache = None
        self.rows.append(request)

    def leave(self, request: Request) -> None:
        """Give a request its own cache back; it is gone even where there is no memory for that."""
        index = self.rows.index(request)
        if len(self.rows) == 1 and not self._cache.spare_rows:
            request.cache, self._cache = self._cache, RowsCache(self._model.config)
            self.rows.clear()
            return
        alone = RowsCache(self._model.config)
        try:
            request.cache = self._cache.copy(index, alone, request.done, request.written)
        finally:
            self._cache.drop(index)
            self.rows[index] = self.rows[-1]
            self.rows.pop()
            self._trim()

    def _trim(self) -> None:
        if not self.rows:
            self._cache = RowsCache(self._model.config)
            return
        longest = max(row.done for row in self.rows)
        self._cache.trim(longest, max(row.written for row in self.rows))

    def forward(self) -> torch.Tensor:
        """The logits after the last token of each row, fp32, shape (rows, vocabulary).

        A failure leaves the cache as it was.
        """
        device, before = self._model.device, self._cache.length
        last = torch.tensor([[row.ids[-1]] for row in self.rows], device=device)
        more: dict[str, Any] = {}
        if len(self.rows) > 1:
            more["position_ids"] = torch.tensor([[row.done] for row in self.rows], device=device)
            if any(row.done < before for row in self.rows):
                columns = torch.arange(before + 1, device=device)
                gaps = torch.tensor([[before - row.done] for row in self.rows], device=device)
                more["attention_mask"] = (columns >= gaps).long()
        try:
            out = self._model(
                input_ids=last,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
                **more,
            )
        except BaseException:
            self._cache.back_to(before)
            raise
        for layer in self._cache.own:
            layer.since += 1
        for row in self.rows:
            row.done += 1
        return out.logits[:, -1].float().to(device)  # the last layers may be elsewhere
