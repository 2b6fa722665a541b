"""How far one model's predictions are from another's, token by token.

The logits of the reference wait in a file for those of the candidate, so that the two models need
not be in memory together, and no more of a vocabulary than one chunk is. Knows tensors and that
file. Does not know which models, which texts, or what becomes of the figures.
"""

import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import torch

from gemma_space.errors import GenerationError

# In double precision, a few rows at a time, which stay in the processor's cache: half of the time
# that single precision takes on whole chunks, and exact where that is off by up to 4e-6 nats, which
# is as much as two good precisions differ by.
BLOCK_NUMBERS = 1 << 20
NO_ROOM = (
    "The disk has no room left for what the reference predicts.",
    "Measure fewer or shorter texts, or ask whoever runs this server to make room.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One token of a text, as two models expected it.

    Attributes:
        divergence: D(reference || candidate) of the whole vocabulary, in nats; 0 or more.
        logprob: natural logarithm of the probability that the candidate gave the token.
        expected, expected_share: what the reference held likeliest, and how likely, 0 to 1.
        instead, instead_share: the same of the candidate.
    """

    divergence: float
    logprob: float
    expected: int
    expected_share: float
    instead: int
    instead_share: float


class KeptLogits:
    """Rows of logits in a file, in the dtype they were computed in: nothing is rounded.

    The file has no name, so the system frees it however this process ends. Once closed, what
    looks on behalf of somebody who left does nothing.
    """

    def __init__(self) -> None:
        # Closed by `close`: it outlives many calls.
        self._file = cast(BinaryIO, tempfile.TemporaryFile(prefix="gemma-space-"))  # noqa: SIM115
        self._lock = threading.Lock()
        self._shape: tuple[int, torch.dtype] | None = None

    def close(self) -> None:
        """Give the room back; a look under way ends first."""
        with self._lock:
            self._file.close()

    def write(self, row: int, logits: torch.Tensor) -> None:
        """Keep rows, shape (tokens, vocabulary), from `row` on.

        Raises:
            GenerationError: the disk is full.
        """
        data = logits.detach().cpu().contiguous()
        self._shape = data.shape[1], data.dtype
        with self._lock:
            if self._file.closed:
                return
            try:
                self._file.seek(row * data.shape[1] * data.element_size())
                self._file.write(data.view(torch.uint8).flatten().numpy().data)
                self._file.flush()
            except OSError as error:
                raise GenerationError(*NO_ROOM) from error

    def read(self, row: int, count: int) -> torch.Tensor | None:
        """`count` rows from `row` on, as they were written; None once it is closed."""
        assert self._shape is not None
        size, dtype = self._shape
        row_bytes = size * dtype.itemsize
        data = bytearray(count * row_bytes)
        with self._lock:
            if self._file.closed:
                return None
            self._file.seek(row * row_bytes)
            cast(Any, self._file).readinto(data)
        return torch.frombuffer(data, dtype=dtype).view(count, size)


class Reference:
    """Looks at a text as the reference predicts it: keeps the logits.

    Args:
        row: where the text's first row belongs among those of all texts.
        ids: of the text.

    Attributes:
        logprobs: of the text's tokens but the first, as far as it was read.
    """

    def __init__(self, kept: KeptLogits, row: int, ids: Sequence[int]) -> None:
        self._kept, self._row, self._ids = kept, row, ids
        self.logprobs: list[float] = []

    def __call__(self, first: int, logits: torch.Tensor) -> None:
        self._kept.write(self._row + first - 1, logits)
        for block in logits.split(_rows(logits)):
            at = len(self.logprobs) + 1
            logprobs = block.double().log_softmax(-1)
            self.logprobs += _own(logprobs, self._ids[at : at + len(block)])


class Candidate:
    """Looks at the same text as another model predicts it: compares with what was kept.

    Attributes:
        places: one for each token of the text but the first, as far as it was read.
    """

    def __init__(self, kept: KeptLogits, row: int, ids: Sequence[int]) -> None:
        self._kept, self._row, self._ids = kept, row, ids
        self.places: list[Place] = []

    def __call__(self, first: int, logits: torch.Tensor) -> None:
        kept = self._kept.read(self._row + first - 1, len(logits))
        if kept is None:
            return
        rows = _rows(logits)
        for reference, own in zip(kept.split(rows), logits.split(rows), strict=True):
            at = len(self.places) + 1
            self.places += compared(
                reference.to(own.device), own, self._ids[at : at + len(own)]
            )  # fmt: skip


def compared(
    reference: torch.Tensor, candidate: torch.Tensor, ids: Sequence[int]
) -> list[Place]:  # fmt: skip
    """Two models' logits of the same tokens, each of shape (tokens, vocabulary).

    Raises:
        GenerationError: some of them are no numbers.
    """
    p, q = reference.double().log_softmax(-1), candidate.double().log_softmax(-1)
    share = p.exp()
    # What the reference rules out adds nothing, whatever the candidate holds of it.
    divergence = torch.where(share > 0, share * (p - q), 0.0).sum(-1).clamp(min=0.0)
    if divergence.isnan().any():
        raise GenerationError(
            "The model's numbers overflowed and there is nothing to compare.",
            "Choose another precision, bf16 or fp32, for this model.",
        )
    columns = (divergence, p.argmax(-1), p.amax(-1).exp(), q.argmax(-1), q.amax(-1).exp())
    rows = zip(_own(q, ids), *(column.tolist() for column in columns), strict=True)
    return [
        Place(divergence=kl, logprob=logprob, expected=expected, expected_share=expected_share,
              instead=instead, instead_share=instead_share)
        for logprob, kl, expected, expected_share, instead, instead_share in rows
    ]  # fmt: skip


def _own(logprobs: torch.Tensor, ids: Sequence[int]) -> list[float]:
    """What each row gives to the token that came."""
    chosen = torch.tensor(ids, device=logprobs.device)[:, None]
    return logprobs.gather(-1, chosen)[:, 0].tolist()


def _rows(logits: torch.Tensor) -> int:
    return max(1, BLOCK_NUMBERS // logits.shape[-1])
