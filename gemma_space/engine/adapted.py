"""A base model's engine with one adapter switched on for each of its requests.

Knows the adapter's name and nothing else: turns, prefill and sampling are the base's engine's.
"""

from collections.abc import Generator

from gemma_space.chunks import GenerationChunk
from gemma_space.engine.batch import BatchEngine
from gemma_space.engine.request import Look
from gemma_space.types import SamplingParams


class AdaptedEngine:
    """What a lease of an adapter gets.

    Args:
        base: runs the model; shared with requests for other adapters and for none.
        adapter: the name it is attached by.
    """

    def __init__(self, base: BatchEngine, adapter: str) -> None:
        self.base = base
        self._adapter = adapter

    @property
    def requests(self) -> int:
        """None of its own: the base's engine counts them all."""
        return 0

    @property
    def cache_bytes(self) -> int:
        """None of its own either."""
        return 0

    def forget(self) -> None:
        """Drop the conversations that were kept with this adapter on."""
        self.base.kept.clear(self._adapter)

    def stream(
        self,
        prompt_ids: tuple[int, ...],
        params: SamplingParams,
        *,
        top: int = 0,
        max_time: float | None = None,
    ) -> Generator[GenerationChunk]:
        """As `BatchEngine.stream`, with the adapter on."""
        return self.base.stream(
            prompt_ids, params, top=top, max_time=max_time, adapter=self._adapter
        )

    def score(
        self, token_ids: tuple[int, ...], *, top: int = 0, max_time: float | None = None
    ) -> Generator[GenerationChunk]:
        """As `BatchEngine.score`, with the adapter on."""
        return self.base.score(token_ids, top=top, max_time=max_time, adapter=self._adapter)

    def examine(
        self, token_ids: tuple[int, ...], look: Look, *, max_time: float | None = None
    ) -> Generator[GenerationChunk]:
        """As `BatchEngine.examine`, with the adapter on."""
        return self.base.examine(token_ids, look, max_time=max_time, adapter=self._adapter)
