"""All timing claims in one run: `.venv/bin/python -m benchmarks`.

Runs every benchmark in a process of its own, one after the other, because threads and caches of
one would slow the next. Writes the figures and the machine as JSON after each, and prints them as
the README's table; `--readme` puts that table into the README, between its two marks. `--only`
runs some and leaves what the file says of the others. A benchmark that fails is said at the end
and leaves the others alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.figure import Figure, in_words, read
from benchmarks.processes import STOP_SECONDS, ended

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN, END = (
    "<!-- measured: python -m benchmarks --readme -->",
    "<!-- end of measured -->",
)
PARTS = {
    "engine": "The engine, a random Gemma 3 of 300 million parameters in bf16",
    "stock": "The same model in one process, text in and text out",
    "serve": "The same model on two servers, over OpenAI's API",
    "decode": "Decoding, against the memory's bandwidth",
    "load_speed": "Loading 2.4 GB",
    "startup": "Starting",
    "page_lag": "In the browser",
    "load": "Many visitors, the demo model in fp32",
}


def measure(part: str, options: argparse.Namespace) -> tuple[list[Figure], int]:
    """The figures of one benchmark and its exit code; one that failed may have told some."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "figures.json")
        command = [sys.executable, "-m", f"benchmarks.{part}", "--json", str(file)]
        command += ["--quick"] * options.quick
        command += ["--pairs", str(options.pairs)] if options.pairs else []
        print(f"\n# {part}", flush=True)
        # It may have an app to stop first.
        with ended(subprocess.Popen(command, cwd=ROOT), 2 * STOP_SECONDS) as process:
            code = process.wait()
        return (read(file.read_text(encoding="utf-8")) if file.is_file() else []), code


def table(parts: dict[str, list[Figure]], where: str) -> str:
    """The figures as Markdown, the machine before them."""
    lines = [f"On {where}.", ""]
    for part, title in PARTS.items():
        if part in parts:
            lines += [f"**{title}** (`.venv/bin/python -m benchmarks.{part}`)", "",
                      "| what | against | figure |", "|---|---|---|"]  # fmt: skip
            lines += [_row(figure) for figure in parts[part]]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _row(figure: Figure) -> str:
    value, behind = in_words(figure)
    pairs = len(figure.pairs)
    more = ", ".join(filter(None, [behind, f"{pairs} pairs" if behind and pairs > 1 else ""]))
    return f"| {figure.name} | {figure.baseline} | {value}{more and f' ({more})'} |"


def put(text: str, table: str) -> str:
    """The README with this table between its marks.

    Raises:
        ValueError: it does not have both marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN} … {END}.")
    return f"{before}{begin}\n\n{table}\n{end}{after}"


def kept(file: Path) -> dict[str, list[Figure]]:
    """What an earlier run wrote."""
    if not file.is_file():
        return {}
    parts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["parts"]
    return {part: read(json.dumps(figures)) for part, figures in parts.items()}


def main() -> None:
    """Run them, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=list(PARTS), help="may be repeated")
    parser.add_argument("--pairs", type=int, help="how often each is measured; else its own number")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: does it work?")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results.json")
    parser.add_argument("--readme", action="store_true", help="rewrite the README's table")
    options = parser.parse_args()
    where = machine.described()
    parts, failed = kept(options.json) if options.only else {}, []
    for part in options.only or PARTS:
        figures, code = measure(part, options)
        failed += [part] if code else []
        if not figures:
            continue
        parts[part] = figures
        written = {name: [asdict(one) for one in found] for name, found in parts.items()}
        text = json.dumps({"machine": where, "parts": written}, indent=1, ensure_ascii=False)
        options.json.write_text(text + "\n", encoding="utf-8")
    made = table(parts, where)
    print(f"\n{made}")
    if options.readme:
        README.write_text(put(README.read_text(encoding="utf-8"), made), encoding="utf-8")
    if failed:
        sys.exit(f"These failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
