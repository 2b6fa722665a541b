"""How long until the page answers, against an empty Gradio app started the same way.

`python -m benchmarks.startup` starts each in turn, in fresh processes, and prints the median of
the paired ratios. Measures process start to the first HTTP 200 of `/`.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

PAIRS = 7
PATIENCE_SECONDS = 120
EMPTY_APP = """
import os
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr
with gr.Blocks() as demo:
    gr.Markdown("Hello")
demo.launch(prevent_thread_lock=True)
demo.block_thread()
"""


def seconds_to_page(command: list[str]) -> float:
    """Start a server on a free port, wait for its page, stop it; the seconds it took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = os.environ | {"GRADIO_SERVER_PORT": str(port)}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not _answers(f"http://127.0.0.1:{port}/"):
            if process.poll() is not None or time.perf_counter() - started > PATIENCE_SECONDS:
                raise RuntimeError(f"{command[1:]} did not serve a page")
            time.sleep(0.01)
        return time.perf_counter() - started
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """Print each pair and the median ratio."""
    ratios = []
    for _ in range(PAIRS):
        empty = seconds_to_page([sys.executable, "-c", EMPTY_APP])
        ours = seconds_to_page([sys.executable, "app.py"])
        ratios.append(ours / empty)
        print(f"empty {empty:.2f} s   Gemma Space {ours:.2f} s   ratio {ours / empty:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
