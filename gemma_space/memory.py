"""Bytes: what weights need, what the device has. Pure arithmetic and one probe.

Does not know what is loaded; the registry does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from gemma_space.catalog import Checkpoint, KVGroup
from gemma_space.precision import refusal
from gemma_space.types import Precision, PrecisionFit

# Double-quantized NF4: half a byte per weight, one 8-bit absmax per block of 64, one fp32 per
# 256 of those (QLoRA, section 3).
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes a huge number for no limit
BUDGET_SHARE = 0.8  # leaves room for activations, KV caches and the rest of the machine


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
    """Where models run: `kind` is a torch device type; bytes are of its memory."""

    kind: str
    name: str
    total_bytes: int

    def free_bytes(self) -> int:
        """Memory not in use right now, by anyone."""
        if self.kind == "cuda":
            import torch  # already loaded by the probe that found the GPU

            return torch.cuda.mem_get_info()[0]
        free = psutil.virtual_memory().available
        return (
            free if (container := find_container()) is None else max(0, min(free, container.left()))
        )


@cache
def probe_device() -> Device:
    """The device models run on: the first CUDA GPU, else the CPU. Imports torch (seconds)."""
    import torch  # the page must be served before torch is imported

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Device("cuda", properties.name, properties.total_memory)
    total = psutil.virtual_memory().total
    return Device(
        "cpu",
        "CPU",
        total if (container := find_container()) is None else min(total, container.limit),
    )


def weights_bytes(checkpoint: Checkpoint, precision: Precision) -> int:
    """Bytes that the weights take in memory in this precision (not `auto`).

    bitsandbytes quantizes linear layers only; `unquantized_parameters` stay in 16 bits.
    """
    rest = checkpoint.parameters - checkpoint.unquantized_parameters
    match precision:
        case Precision.FP32:
            return 4 * checkpoint.parameters
        case Precision.INT8:
            return 2 * checkpoint.unquantized_parameters + rest
        case Precision.INT4:
            return round(2 * checkpoint.unquantized_parameters + NF4_BYTES * rest)
        case _:
            return 2 * checkpoint.parameters


def kv_bytes(groups: Sequence[KVGroup], tokens: int, dtype_bytes: int = 2) -> int:
    """Bytes of one conversation's KV cache at `tokens` tokens: keys and values of every layer.

    Sliding layers stop growing at their window.
    """
    return sum(
        2 * group.layers * group.kv_heads * group.head_dim * dtype_bytes
        * min(tokens, group.window or tokens)
        for group in groups
    )  # fmt: skip


def fits(checkpoint: Checkpoint, budget_bytes: int) -> dict[str, PrecisionFit]:
    """For every precision: what it needs, whether it fits the budget, and why not."""
    rows: dict[str, PrecisionFit] = {}
    for precision in Precision:
        if precision is Precision.AUTO:
            continue
        needed = weights_bytes(checkpoint, precision)
        reason = refusal(checkpoint, precision)
        fitting = not reason and needed <= budget_bytes
        if not reason and not fitting:
            reason = f"Needs {show_bytes(needed)}; the budget is {show_bytes(budget_bytes)}."
        rows[str(precision)] = PrecisionFit(weights_bytes=needed, fits=fitting, reason=reason)
    return rows


def show_bytes(count: float) -> str:
    """Bytes for people: `7.6 MB` below a gigabyte, `4.7 GiB` above."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    if count < 1e9:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 2**30:.1f} GiB"
