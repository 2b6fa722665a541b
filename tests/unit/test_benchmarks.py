"""What the benchmarks say about themselves; their figures are no test's business."""

import importlib.util
import json
import signal
import subprocess
import sys
from dataclasses import asdict

import psutil
import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.figure import Pair, figures_of, in_words, read

RATIO = [Pair(name="speed", unit="tokens/s", ours=ours, baseline="bare", theirs=theirs)
         for ours, theirs in ((20.0, 10.0), (30.0, 10.0), (90.0, 10.0))]  # fmt: skip
ALONE = [Pair(name="memory", unit="bytes", ours=float(3 * 2**20))]


def test_pairs_become_medians_of_ratios_and_survive_a_file() -> None:
    speed, memory = figures_of([*RATIO, *ALONE])
    assert (speed.value, speed.ours, speed.theirs) == (3.0, 30.0, 10.0)
    assert speed.pairs == ((20.0, 10.0), (30.0, 10.0), (90.0, 10.0))
    assert in_words(speed) == ("3 times", "30 against 10 tokens/s")
    assert in_words(memory) == ("3 MiB", "")
    assert read(json.dumps([asdict(one) for one in (speed, memory)])) == [speed, memory]


def test_the_table_goes_between_the_marks_and_nowhere_else() -> None:
    table = benchmarks.table({"engine": figures_of(RATIO)}, "a machine")
    assert "| speed | bare | 3 times (30 against 10 tokens/s, 3 pairs) |" in table
    text = f"before\n{benchmarks.BEGIN}\nold\n{benchmarks.END}\nafter\n"
    written = benchmarks.put(text, table)
    assert written == f"before\n{benchmarks.BEGIN}\n\n{table}\n{benchmarks.END}\nafter\n"
    assert benchmarks.put(written, table) == written
    with pytest.raises(ValueError, match=r"README\.md has no"):
        benchmarks.put("nothing", table)


def test_the_readme_has_the_marks() -> None:
    benchmarks.put(benchmarks.README.read_text(encoding="utf-8"), "")


def test_a_baseline_of_nothing_is_no_error() -> None:
    for ours, ratio in ((0.0, 1.0), (2.0, float("inf"))):
        (one,) = figures_of([Pair(name="wait", unit="s", ours=ours, baseline="b", theirs=0.0)])
        assert one.value == ratio


def test_every_part_is_a_command() -> None:
    for part in benchmarks.PARTS:
        assert importlib.util.find_spec(f"benchmarks.{part}") is not None


STARTS_ANOTHER = """
import subprocess, sys
from benchmarks.processes import ended
sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
with ended(subprocess.Popen(sleeps)) as process:
    print(process.pid, flush=True)
    process.wait()
"""


def test_a_benchmark_told_to_stop_leaves_nothing_running() -> None:
    command = [sys.executable, "-c", STARTS_ANOTHER]
    with subprocess.Popen(
        command, cwd=benchmarks.ROOT, stdout=subprocess.PIPE, text=True
    ) as benchmark:
        assert benchmark.stdout is not None
        started = psutil.Process(int(benchmark.stdout.readline()))
        benchmark.send_signal(signal.SIGTERM)
        assert benchmark.wait(30) == 128 + signal.SIGTERM
    assert not started.is_running()
