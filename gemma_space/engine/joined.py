"""Replies that are written together: one step of the model adds a token to each.

Knows whose row is where in the joined cache, and when a step is worth recording. Does not know who
joins when, or what a token means.
"""

import logging
from typing import Any

import torch

from gemma_space.engine.fixed import CudaRecorder, FixedStep, Recorder, agrees, is_possible
from gemma_space.engine.kv import RowsCache
from gemma_space.engine.request import Request

log = logging.getLogger(__name__)
STEADY_STEPS = 2  # taken as they come before one is recorded, which costs about as much as two


class Recording:
    """Whether a model's steps are recorded, and by what.

    Args:
        model: the one whose steps they are.
        recorder: None for the device's own; where it has none, nothing is recorded.
    """

    def __init__(self, model: Any, recorder: Recorder | None = None) -> None:
        possible = recorder is None and is_possible(model)
        self.recorder = CudaRecorder() if possible else recorder
        self.is_trusted = False  # said once what the same step said that was not recorded

    def give_up(self, why: str) -> None:
        """Never record again."""
        log.warning("this model's steps are not recorded: %s", why)
        self.recorder = None


class Batch:
    """Replies that are written together, with one adapter or none.

    Args:
        model: a causal language model in evaluation mode.
        recording: of the model's steps; None for none.
    """

    def __init__(self, model: Any, recording: Recording | None = None) -> None:
        self._model = model
        self.rows: list[Request] = []
        self._cache = RowsCache(model.config)
        self._recording = recording
        self._recorded: FixedStep | None = None
        self._steady = 0  # steps since rows came or went

    def join(self, request: Request) -> None:
        """Take a request in; its cache becomes a row."""
        assert request.cache is not None
        self._change()
        if not self.rows:
            self._cache, request.cache = request.cache, None
        else:
            self._cache.add(request.cache)
            request.cache = None
        self.rows.append(request)

    def leave(self, request: Request) -> None:
        """Give a request its own cache back; it is gone even where there is no memory for that."""
        index = self.rows.index(request)
        self._change()
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

    def _change(self) -> None:
        self._recorded, self._steady = None, 0

    def forward(self) -> torch.Tensor:
        """The logits after the last token of each row, fp32, shape (rows, vocabulary).

        A failure leaves the cache as it was.
        """
        before = self._cache.length
        try:
            logits = self._recorded_step()
            if logits is None:
                logits = self._direct_step(before)
        except BaseException:
            self._change()
            self._cache.back_to(before)
            raise
        self._steady += 1
        for layer in self._cache.own:
            layer.since += 1
        for row in self.rows:
            row.done += 1
        return logits

    def _direct_step(self, before: int) -> torch.Tensor:
        device = self._model.device
        last = torch.tensor([[row.ids[-1]] for row in self.rows], device=device)
        more: dict[str, Any] = {}
        if len(self.rows) > 1:
            more["position_ids"] = torch.tensor([[row.done] for row in self.rows], device=device)
            if any(row.done < before for row in self.rows):
                columns = torch.arange(before + 1, device=device)
                gaps = torch.tensor([[before - row.done] for row in self.rows], device=device)
                more["attention_mask"] = (columns >= gaps).long()
        out = self._model(
            input_ids=last,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **more,
        )
        return out.logits[:, -1].float().to(device)  # the last layers may be elsewhere

    # --- recorded steps -------------------------------------------------------------------------

    def _recorded_step(self) -> torch.Tensor | None:
        """A recorded step for what is here now, made when it is time; None: take a direct one."""
        recording = self._recording
        if recording is None or recording.recorder is None or self._steady < STEADY_STEPS:
            return None
        last = [row.ids[-1] for row in self.rows], [row.done for row in self.rows]
        if self._recorded is not None and self._recorded.is_good:
            return self._recorded(*last)
        self._recorded = None
        for layer in self._cache.own:
            layer.make_room()
        try:
            step = FixedStep(self._model, self._cache, *last, recording.recorder)
            if not step.is_good:
                return recording.give_up("its layers are not alike")
            if not (recording.is_trusted or self._says_the_same(step)):
                return recording.give_up("it said something else")
        except Exception as error:
            return recording.give_up(f"{type(error).__name__}: {error}")
        recording.is_trusted, self._recorded = True, step
        step.advance()
        return step.first

    def _says_the_same(self, step: FixedStep) -> bool:
        """Compare with a direct step; the caches stay as they are."""
        recorded = step.again().clone()
        before = self._cache.length
        direct = self._direct_step(before)
        self._cache.back_to(before)
        return agrees(recorded, direct)
