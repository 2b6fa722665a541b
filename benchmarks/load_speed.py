"""How fast weights load, against reading the same files, from a cold and from a warm page cache.

`python -m benchmarks.load_speed` writes a random Gemma 3 of about 2.4 GB in three files to a
temporary folder, then alternates in one process: reading the files from beginning to end into a
reused buffer (one baseline), bare `from_pretrained` in bf16 (the other), and `loading.load` of the
same folder in bf16, tokenizer included. Cold means that the kernel was told to drop the files'
pages first, where it lets us (Linux). Then every precision against reading, warm.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gemma_space.environment import set_library_defaults

set_library_defaults()

import torch  # noqa: E402
from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig  # noqa: E402

from benchmarks.figure import Figure, Pair, figures_of, main  # noqa: E402
from gemma_space import memory  # noqa: E402
from gemma_space.assets import DEMO_MODEL  # noqa: E402
from gemma_space.loading import load  # noqa: E402
from gemma_space.local_checkpoint import local_checkpoint  # noqa: E402
from gemma_space.types import Precision  # noqa: E402

BUFFER_BYTES = 8 * 2**20
LAZY = "bare `from_pretrained`, which reads files at their first use"


def write_checkpoint(folder: Path, layers: int) -> None:
    """A random model with the demo's tokenizer."""
    config = Gemma3TextConfig(
        vocab_size=32_768, hidden_size=2048, intermediate_size=8192, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=4, head_dim=256, max_position_embeddings=8192,
        dtype=torch.bfloat16,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    Gemma3ForCausalLM(config).save_pretrained(folder, max_shard_size="1GB")
    torch.set_default_dtype(torch.float32)
    AutoTokenizer.from_pretrained(DEMO_MODEL).save_pretrained(folder)


def drop_pages(files: list[Path]) -> None:
    """Have the kernel forget the files' contents."""
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def read_all(files: list[Path]) -> None:
    """The baseline: from beginning to end, into one buffer."""
    buffer = bytearray(BUFFER_BYTES)
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def seconds(action: Callable[[], object]) -> float:
    """How long it takes; what it makes is given back before anything else runs."""
    started = time.perf_counter()
    made = action()
    taken = time.perf_counter() - started
    del made
    memory.give_back()
    return taken


def bf16_pairs(files: list[Path], folder: Path, ours: Callable[[], object]) -> Iterator[Pair]:
    """Cold, then warm: our load against both baselines."""
    size = sum(file.stat().st_size for file in files)
    ways = {
        "ours": ours,
        "reading the same files": lambda: read_all(files),
        LAZY: lambda: Gemma3ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16),
    }
    for temperature in ("cold", "warm"):
        rates = {}
        for name, action in ways.items():
            if temperature == "cold":
                drop_pages(files)
            else:  # a cold load that maps its files leaves most of them on the disk
                read_all(files)
            rates[name] = size / seconds(action) / 1e9
        for name in list(ways)[1:]:
            yield Pair(name=f"weights load in bf16, {temperature}", unit="GB/s",
                       ours=rates["ours"], baseline=name, theirs=rates[name])  # fmt: skip


def figures(pairs: int, quick: bool) -> list[Figure]:
    """Write, measure."""
    found: list[Pair] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_checkpoint(folder, layers=2 if quick else 18)
        row, files = local_checkpoint(folder), sorted(folder.glob("*.safetensors"))

        def loaded(precision: Precision) -> object:
            return load(row, folder, precision, lambda done, total: None, lambda: False)

        loaded(Precision.BF16)  # imports are not loading
        for _ in range(pairs):
            found += bf16_pairs(files, folder, lambda: loaded(Precision.BF16))
        for precision in row.precisions:
            for _ in range(1 if quick else 3):
                read = seconds(lambda: read_all(files))
                took = seconds(lambda p=precision: loaded(p))
                found.append(Pair(name=f"time to load in {precision}, warm", unit="s", ours=took,
                                  baseline="reading the same files", theirs=read))  # fmt: skip
    return figures_of(found)


if __name__ == "__main__":
    main(__doc__, figures, pairs=9)
