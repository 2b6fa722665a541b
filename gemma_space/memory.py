"""Bytes: what a model needs, what the device has. Arithmetic, a probe, and giving memory back.

Does not know what is loaded; the registry does.
"""

import contextlib
import ctypes
import errno
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from gemma_space import architecture
from gemma_space.catalog import Checkpoint, KVGroup
from gemma_space.precision import refusal
from gemma_space.reports import PrecisionFit
from gemma_space.types import Precision

# Double-quantized NF4: half a byte per weight, one 8-bit absmax per block of 64, one fp32 per
# 256 of those (QLoRA, section 3); per layer two tables of values and an offset in fp32.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
NF4_LAYER_BYTES = 4 * (16 + 256 + 1)
INT8_ROW_BYTES = 4  # one fp32 scale per output feature (LLM.int8)
CONVERSATION_TOKENS = 8192  # of KV cache that is counted with each model, or its whole context
UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes a huge number for no limit
BUDGET_SHARE = 0.8  # leaves room for activations and the rest of the machine
M_ARENA_MAX = -8  # glibc's malloc.h


@dataclass(frozen=True, slots=True)
class Container:
    """A control group's memory limit, which ends the process where the host would not."""

    limit: int
    usage: Path

    def left(self) -> int:
        """Bytes until the limit."""
        return self.limit - int(self.usage.read_text())


def find_container(root: Path = Path("/sys/fs/cgroup")) -> Container | None:
    """The limit this process runs under (cgroup v2, then v1); None where there is none."""
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            value = int((root / limit).read_text())
            int((root / usage).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if value < UNLIMITED_BYTES:
            return Container(value, root / usage)
    return None


@dataclass(frozen=True, slots=True)
class Device:
    """Where models run: `kind` is a torch device type; bytes are of its memory.

    `gpu_bytes` are the GPUs' own totals; empty on a CPU.
    """

    kind: str
    name: str
    total_bytes: int
    gpu_bytes: tuple[int, ...] = ()

    def free_bytes(self) -> int:
        """Memory not in use right now, by anyone."""
        return sum(self.gpu_free_bytes()) if self.kind == "cuda" else machine_free_bytes()

    def gpu_free_bytes(self) -> tuple[int, ...]:
        """Of each GPU; what torch keeps for itself after freeing it is free for the next model."""
        if not self.gpu_bytes:
            return ()
        import torch  # already loaded by the probe that found the GPUs

        return tuple(
            torch.cuda.mem_get_info(gpu)[0]
            + torch.cuda.memory_reserved(gpu)
            - torch.cuda.memory_allocated(gpu)
            for gpu in range(len(self.gpu_bytes))
        )


def machine_free_bytes() -> int:
    """The machine's own memory that is not in use, or what a container's limit leaves of it."""
    free = psutil.virtual_memory().available
    container = find_container()
    return free if container is None else max(0, min(free, container.left()))


def machine_total_bytes() -> int:
    """The machine's own memory, or the container's limit."""
    total = psutil.virtual_memory().total
    container = find_container()
    return total if container is None else min(total, container.limit)


@cache
def probe_device() -> Device:
    """What models run on: all CUDA GPUs together, else the CPU. Imports torch (seconds)."""
    import torch  # the page must be served before torch is imported

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        return Device("cpu", "CPU", machine_total_bytes())
    found = [torch.cuda.get_device_properties(gpu) for gpu in range(count)]
    totals = tuple(gpu.total_memory for gpu in found)
    name = found[0].name if count == 1 else f"{count} x {found[0].name}"
    return Device("cuda", name, sum(totals), totals)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model takes: its weights, and the KV cache of one conversation of `tokens`."""

    weights_bytes: int
    kv_bytes: int
    tokens: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes


def needs(checkpoint: Checkpoint, precision: Precision, tokens: int = CONVERSATION_TOKENS) -> Needs:
    """What a checkpoint takes in this precision (not `auto`), adapter and base together.

    Args:
        tokens: of the conversation; no more than the context holds.
    """
    tokens = min(tokens, checkpoint.context_length)
    size = 4 if precision is Precision.FP32 else 2  # the cache has the activations' dtype
    layout = checkpoint.kv or (
        architecture.kv_groups(folder) if (folder := files_of_base(checkpoint)) else ()
    )
    return Needs(weights_bytes(checkpoint, precision), kv_bytes(layout, tokens, size), tokens)


def files_of_base(checkpoint: Checkpoint) -> Path | None:
    """The local folder that holds the config; an adapter's is its base's."""
    return (checkpoint.base or checkpoint).path


def weights_bytes(checkpoint: Checkpoint, precision: Precision) -> int:
    """Bytes that the weights take in memory in this precision (not `auto`).

    bitsandbytes quantizes linear layers only; everything else stays in 16 bits.
    """
    parameters = checkpoint.parameters - checkpoint.left_out
    linears = checkpoint.linears
    rest = 2 * (parameters - linears.parameters)
    match precision:
        case Precision.FP32:
            return 4 * parameters
        case Precision.INT8:
            return rest + linears.parameters + INT8_ROW_BYTES * linears.rows
        case Precision.INT4:
            scaled = NF4_BYTES * linears.parameters + NF4_LAYER_BYTES * linears.layers
            return rest + round(scaled)
        case _:
            return 2 * parameters


def adapter_bytes(adapter: Checkpoint, precision: Precision) -> int:
    """Bytes that an adapter takes beside its base."""
    own = adapter.parameters - adapter.base.parameters if adapter.base else 0
    return own * (4 if precision is Precision.FP32 else 2)


def kv_bytes(groups: Sequence[KVGroup], tokens: int, dtype_bytes: int = 2) -> int:
    """Bytes of one conversation's KV cache at `tokens` tokens: keys and values of every layer.

    Sliding layers stop growing at their window.
    """
    return sum(
        2 * group.layers * group.kv_heads * group.head_dim * dtype_bytes
        * min(tokens, group.window or tokens)
        for group in groups
    )  # fmt: skip


def fits(
    checkpoint: Checkpoint, budget_bytes: int, tokens: int = CONVERSATION_TOKENS
) -> dict[str, PrecisionFit]:
    """For every precision: what it needs, whether it fits the budget, and why not."""
    rows: dict[str, PrecisionFit] = {}
    for precision in Precision:
        if precision in (Precision.AUTO, Precision.AS_SERVED):
            continue
        needed = needs(checkpoint, precision, tokens)
        reason = refusal(checkpoint, precision)
        fitting = not reason and needed.total_bytes <= budget_bytes
        if not reason and not fitting:
            reason = f"Needs {show_needs(needed)}; the budget is {show_bytes(budget_bytes)}."
        rows[str(precision)] = PrecisionFit(
            weights_bytes=needed.weights_bytes,
            kv_bytes=needed.kv_bytes,
            fits=fitting,
            reason=reason,
        )
    return rows


def _use_one_heap() -> None:
    """Have all threads allocate from one heap, where `give_back` reaches everything.

    glibc makes each thread an arena, of which it keeps up to 64 MiB whatever is freed.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, 1)


_use_one_heap()  # at import: an arena once made stays


def give_back() -> None:
    """Return what was freed to the system: cycles, the C heap's free pages, the GPU's cache."""
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    # Freed blocks below the mmap threshold stay with glibc otherwise; elsewhere there is no need.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in the machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # The CPU allocator, a mapping and a thread raise plain RuntimeErrors.
    words = ("allocate memory", "not enough memory", "bad_alloc", "start new thread")
    return isinstance(error, RuntimeError) and any(part in str(error) for part in words)


def show_needs(needed: Needs) -> str:
    """`15.9 GiB and 3.5 GiB for a conversation of 8,192 tokens`."""
    if not needed.kv_bytes:
        return show_bytes(needed.weights_bytes)
    return (
        f"{show_bytes(needed.weights_bytes)} and {show_bytes(needed.kv_bytes)} for a "
        f"conversation of {needed.tokens:,} tokens"
    )


def show_bytes(count: float) -> str:
    """Bytes for people: `512 KiB`, `7.1 MiB`, `4.7 GiB`."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB")):
        if count >= 1000 * size / 1024:  # never four digits before the point
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.0f} KiB"
