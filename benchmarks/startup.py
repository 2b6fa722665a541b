"""How long until the page answers and until the model is there, against other Gradio apps.

`python -m benchmarks.startup` starts in turn, in fresh processes: an empty Gradio app, the stock
pattern of Gemma Spaces on the demo checkpoint (it loads the model, then serves), and this app.
Measures from the start of the process to the first HTTP 200 of `/`, and of this app also until it
says that its model is in memory, which is when the stock page can answer.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from benchmarks.figure import Figure, Pair, figures_of, main
from benchmarks.processes import ended, free_port

PATIENCE_SECONDS = 120
EMPTY = """
import gradio as gr
with gr.Blocks() as demo:
    gr.Markdown("Hello")
demo.launch(prevent_thread_lock=True)
demo.block_thread()
"""
STOCK = [sys.executable, "-m", "benchmarks.stock_space"]
OURS = [sys.executable, "app.py"]


def seconds_until(command: list[str], *conditions: Callable[[str], bool]) -> list[float]:
    """Start a server on a free port, wait for each condition in turn, stop it; the seconds."""
    port = free_port()
    environ = os.environ | {
        "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False",
    }  # fmt: skip
    started, found = time.perf_counter(), []
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with ended(process, stop_seconds=0):
        for condition in conditions:
            while not condition(f"http://127.0.0.1:{port}/"):
                if process.poll() is not None or time.perf_counter() - started > PATIENCE_SECONDS:
                    raise RuntimeError(f"{command[1:]} did not serve a page")
                time.sleep(0.01)
            found.append(time.perf_counter() - started)
    return found


def answers(url: str) -> bool:
    """Whether the page is served."""
    return _read(url) is not None


def has_its_model(url: str) -> bool:
    """Whether the app says that the first model is in memory."""
    return bool(json.loads(_read(url + "healthz") or b"{}").get("ready"))


def _read(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.read()
    except (urllib.error.URLError, OSError):
        return None


def figures(pairs: int, quick: bool) -> list[Figure]:
    """Each in turn."""
    found: list[Pair] = []
    stock_space = "the stock pattern of Gemma Spaces on the same checkpoint"
    for _ in range(1 if quick else pairs):
        (empty,) = seconds_until([sys.executable, "-c", EMPTY], answers)
        (stock,) = seconds_until(STOCK, answers)
        page, model = seconds_until(OURS, answers, has_its_model)
        found += [
            Pair(name="start until the page answers", unit="s", ours=page,
                 baseline="an empty Gradio app", theirs=empty),
            Pair(name="start until the page answers", unit="s", ours=page, baseline=stock_space,
                 theirs=stock),
            Pair(name="start until the model is in memory", unit="s", ours=model,
                 baseline=stock_space, theirs=stock),
        ]  # fmt: skip
    return figures_of(found)


if __name__ == "__main__":
    main(__doc__, figures, pairs=7)
