"""What visitors get from this playground, against the pattern that most Gemma Spaces share.

The pattern is in `stock_space`. `python -m benchmarks.stock` has both answer in one process with
the same weights, in turn: one visitor, eight at once, and a conversation of ten turns. Times are
of text, as a visitor sees it.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from gemma_space.environment import set_library_defaults

set_library_defaults()

from transformers import AutoTokenizer  # noqa: E402

from benchmarks.engine import Bench, Timed, together, write_checkpoint  # noqa: E402
from benchmarks.figure import Figure, Pair, figures_of, main  # noqa: E402
from benchmarks.stock_space import NAME, StockSpace  # noqa: E402
from benchmarks.visitors import compared, rate  # noqa: E402
from gemma_space.types import ChatRequest, Controls, Generation, Message, Precision  # noqa: E402


class Both:
    """One model, and a visitor's reply by either way."""

    def __init__(self, folder: Path) -> None:
        self._bench = Bench(folder)
        self._stock = StockSpace(self._bench.model, AutoTokenizer.from_pretrained(folder))

    def stock(self, messages: Sequence[Message], tokens: int) -> tuple[str, Timed]:
        timed, text = Timed(), ""
        said = [{"role": one.role, "content": one.content} for one in messages]
        for text in self._stock.stream(said, tokens):
            if text:
                timed.token()
        return text, timed

    def ours(self, messages: Sequence[Message], tokens: int) -> tuple[str, Timed]:
        timed, text = Timed(), ""
        request = ChatRequest(
            messages=tuple(messages), model=self._bench.name, precision=Precision.BF16,
            controls=Controls(max_new_tokens=tokens, temperature=0.0),
        )  # fmt: skip
        for update in self._bench.playground.chat(request):
            if isinstance(update, Generation) and update.text:
                timed.token()
                text = update.text
        return text, timed


def figures(pairs: int, quick: bool) -> list[Figure]:
    """Write the checkpoint, load it, measure."""
    found: list[Pair] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        together([lambda: write_checkpoint(folder, quick)])
        (both,) = together([lambda: Both(folder)])
        for reply in (both.stock, both.ours):
            rate(reply, 1, 4)
        for _ in range(pairs):
            found += compared(both.ours, both.stock, NAME, quick)
    return figures_of(found)


if __name__ == "__main__":
    main(__doc__, figures, pairs=5)
