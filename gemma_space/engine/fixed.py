"""A decode step whose shapes and addresses stay the same, so that a GPU can record and replay it.

To launch a step's thousands of small kernels from Python takes a GPU many times longer than to
compute them. A CUDA graph launches them at once, where nothing but the contents of some tensors
differs from step to step. So this step looks at all columns that the buffers have, hides by masks
those that a row does not see, and takes tokens, positions and the column to write from a tensor.
Knows the rows' cache and the masks its model takes; does not know requests.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

from gemma_space.engine.kv import RowsCache

MASKED = ("eager", "sdpa")  # attention that takes a mask of any shape
# How far a recorded step's logits may be from the same step's in one go, in parts of their
# standard deviation; other kernels add in another order, which in bf16 is up to a fifth of it.
NEAR = 0.5

Step = Callable[[], torch.Tensor]
Recorder = Callable[[Step], Step]


class FixedStep:
    """One step of some rows in a cache, over and over, until rows or buffers change.

    Args:
        model: a causal language model on one device.
        cache: of these rows; what it has now must be what it has at every call, but for the
            tokens that the calls themselves add.
        tokens, positions: of the step at hand, one for each row. It is taken once as it comes,
            because kernels that a device has never run cannot be recorded.
        record: makes of the step a function that does the same again.

    Attributes:
        first: the logits of the step at hand, as a call would return them.
    """

    def __init__(
        self,
        model: Any,
        cache: RowsCache,
        tokens: Sequence[int],
        positions: Sequence[int],
        record: Recorder,
    ) -> None:
        rows = len(tokens)
        self._model = model
        self._cache = cache
        self._rows = rows
        self._layers = list(cache.own)
        self._buffers = [layer.buffers for layer in self._layers]
        self._first = {layer.window or 0: layer for layer in reversed(self._layers)}
        self._inputs = torch.zeros(
            2 * rows + len(self._first), dtype=torch.long, device=model.device
        )  # tokens, positions, and for each window the column to write
        self._columns = {
            w: torch.arange(layer.place[1], device=model.device) for w, layer in self._first.items()
        }
        for layer in self._layers:
            layer.clear_around()
        self._set(tokens, positions)
        self.first = self._forward()
        self._step = record(self._forward)

    @property
    def is_good(self) -> bool:
        """Whether rows and buffers are still those of the beginning and have a column left."""
        return all(
            layer.buffers is buffers
            and layer.rows == self._rows
            and layer.place[0] < layer.place[1]
            and layer.place == self._first[layer.window or 0].place
            for layer, buffers in zip(self._layers, self._buffers, strict=True)
        )

    def __call__(self, tokens: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
        """The logits after these tokens, one for each row, fp32, shape (rows, vocabulary).

        The result is overwritten by the next call. The caches have one token more.
        """
        self._set(tokens, positions)
        logits = self._step()
        self.advance()
        return logits

    def advance(self) -> None:
        """The step at hand is taken: the caches have one token more."""
        for layer in self._layers:
            layer.advance()

    def again(self) -> torch.Tensor:
        """The recorded step at hand once more; the caches stay as they are."""
        return self._step()

    def _set(self, tokens: Sequence[int], positions: Sequence[int]) -> None:
        places = [layer.place[0] for layer in self._first.values()]
        self._inputs.copy_(torch.tensor([*tokens, *positions, *places]))

    def _forward(self) -> torch.Tensor:
        tokens, positions = self._inputs[: 2 * self._rows].view(2, self._rows, 1)
        masks = {}
        for number, (window, columns) in enumerate(self._columns.items()):
            end = self._inputs[2 * self._rows + number]
            behind = positions.clamp(max=window - 1) if window else positions
            seen = (columns >= end - behind) & (columns <= end)
            masks[window] = self._as_model_has_it(seen[:, None, None])
        slots = dict(zip(self._columns, self._inputs[2 * self._rows :].split(1), strict=True))
        for layer in self._layers:
            layer.slot = slots[layer.window or 0]
        try:
            out = self._model(
                input_ids=tokens,
                position_ids=positions,
                attention_mask=_by_kind(self._model, masks),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        finally:
            for layer in self._layers:
                layer.slot = None
        return out.logits[:, -1].float()

    def _as_model_has_it(self, seen: torch.Tensor) -> torch.Tensor:
        if _attention(self._model) != "eager":
            return seen
        dtype = self._model.dtype
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=seen.device)
        return torch.where(seen, torch.zeros((), dtype=dtype, device=seen.device), hidden)


def is_possible(model: Any) -> bool:
    """Whether a model's steps can be recorded at all: one GPU, attention that takes masks.

    int8 asks the device at each layer which columns stand out; what asks cannot be recorded.
    """
    devices = {str(d) for d in (getattr(model, "hf_device_map", None) or {}).values()}
    return (
        model.device.type == "cuda"
        and len(devices) <= 1
        and _attention(model) in MASKED
        and not getattr(model, "is_loaded_in_8bit", False)
    )


def agrees(recorded: torch.Tensor, direct: torch.Tensor) -> bool:
    """Whether a recorded step says what the same step said in one go."""
    off = (recorded - direct).abs().amax(-1)
    return bool((off <= NEAR * direct.std(-1)).all())


class CudaRecorder:
    """Records steps as CUDA graphs.

    Their memory is one pool, which the next takes over when one is gone. A first, small one stays:
    a pool whose last graph went cannot be used again.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._holder = self._record(lambda: torch.zeros(1, device="cuda"))

    def __call__(self, step: Step) -> Step:
        """Record a step by taking it once; what it reads then must be there at every replay.

        Raises:
            RuntimeError: it does what cannot be recorded, such as asking the device for a value.
        """
        return self._record(step)

    def _record(self, step: Step) -> Step:
        graph, beside = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            # Not `torch.cuda.graph`: it collects garbage and empties the allocator's cache.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                result = step()
            except BaseException:
                with suppress(RuntimeError):  # says only that there was an error
                    graph.capture_end()
                raise
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(beside)

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay


def _attention(model: Any) -> str:
    return model.config.get_text_config(decoder=True)._attn_implementation


def _by_kind(model: Any, masks: dict[int, torch.Tensor]) -> Any:
    """Masks by window as the model's forward takes them."""
    kinds = getattr(model.config.get_text_config(decoder=True), "layer_types", None)
    if kinds is None:
        return masks[0]
    (full,) = [mask for window, mask in masks.items() if not window] or [None]
    sliding = [mask for window, mask in masks.items() if window]
    return {"full_attention": full, "sliding_attention": sliding[0] if sliding else None}
