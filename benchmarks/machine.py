"""The machine that figures were taken on, as a sentence."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import psutil


def described() -> str:
    """CPU, cores, memory, library versions and the day."""
    memory = psutil.virtual_memory().total / 2**30
    torch, transformers = map(importlib.metadata.version, ("torch", "transformers"))
    return (
        f"{_cpu()}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, torch {torch}, "
        f"transformers {transformers}, {datetime.date.today().isoformat()}"
    )


def _cpu() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]
