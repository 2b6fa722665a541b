"""How fast weights load, against reading the same files, from a cold and from a warm page cache.

`python -m benchmarks.load_speed` writes a random Gemma 3 of about 2.4 GB in three files to a
temporary folder, then alternates in one process, per round: reading the files from beginning to
end into a reused buffer (the baseline), and `loading.load` of the same folder in bf16, tokenizer
included. Prints each pair and the median of the ratios of speed; 1 is the speed of reading. Cold
means that the kernel was told to drop the files' pages first, where it lets us (Linux).

A second table has every precision, in seconds and as a ratio to reading, warm.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gemma_space.settings import set_library_defaults

set_library_defaults()

import torch  # noqa: E402
from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig  # noqa: E402

from gemma_space import memory  # noqa: E402
from gemma_space.loading import load  # noqa: E402
from gemma_space.local_checkpoint import local_checkpoint  # noqa: E402
from gemma_space.settings import DEMO_MODEL  # noqa: E402
from gemma_space.types import Precision  # noqa: E402

ROUNDS = 9
BUFFER_BYTES = 8 * 2**20


def write_checkpoint(folder: Path) -> None:
    """A random model with the demo's tokenizer."""
    config = Gemma3TextConfig(
        vocab_size=32_768, hidden_size=2048, intermediate_size=8192, num_hidden_layers=18,
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


def main() -> None:
    """Write, measure, print."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_checkpoint(folder)
        row, files = local_checkpoint(folder), sorted(folder.glob("*.safetensors"))
        size = sum(file.stat().st_size for file in files)

        def loaded(precision: Precision) -> object:
            return load(row, folder, precision, lambda done, total: None, lambda: False)

        loaded(Precision.BF16)  # imports are not loading
        for temperature in ("cold", "warm"):
            ratios = []
            for _ in range(ROUNDS):
                times = []
                for action in (lambda: read_all(files), lambda: loaded(Precision.BF16)):
                    if temperature == "cold":
                        drop_pages(files)
                    times.append(seconds(action))
                ratios.append(times[0] / times[1])
                print(
                    f"{temperature}  read {size / times[0] / 1e9:5.2f} GB/s   "
                    f"load {size / times[1] / 1e9:5.2f} GB/s   ratio {ratios[-1]:.2f}"
                )
            print(f"{temperature}  median ratio {statistics.median(ratios):.2f}")
        read = min(seconds(lambda: read_all(files)) for _ in range(ROUNDS))
        for precision in row.precisions:
            took = min(seconds(lambda p=precision: loaded(p)) for _ in range(3))
            print(f"warm  {precision}  {took:6.2f} s   ratio {read / took:.2f}")


if __name__ == "__main__":
    main()
