"""Many visitors at once on a real server, and whether each gets what they would get alone.

`python -m benchmarks.load` starts the app on this machine with the demo checkpoint in fp32, has 32
visitors hold conversations of three turns for five minutes over its HTTP API, and stops. Before
that it asks every question alone, one after the other: greedy replies must be the same. It says how
long visitors waited for the first word, how much memory the server has, and what newcomers hear
when more come than may wait. The exit code is 0 when all of it is as it should be.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = (
    "What is Gemma?", "What is a token?", "How do I get a token?", "What does int4 do?",
    "Which precision should I choose?", "Hello!", "What is a system prompt?", "Who made you?",
    "What does the Prompt tab do?", "Why is the model gated?", "How much memory do I need?",
    "What is top-p?", "What does temperature do?", "Thank you", "Can I use this on my laptop?",
    "What is a seed?", "How do I stop a reply?", "What is a LoRA adapter?", "Tell me a joke",
    "What can you do?",
)  # fmt: skip
TURNS = 3
MOST_TOKENS = 64
START_SECONDS = 120
REPLY_SECONDS = 120
MOST_SECONDS = 1800  # of the whole load: it stops by itself
MOST_GROWTH = 0.05
MOST_WAIT = 2.0


@dataclass
class Visitor:
    """One conversation's questions, the replies they get alone, and what they got in company."""

    questions: tuple[str, ...]
    alone: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)  # seconds until the first word
    replies: int = 0
    different: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def wait(self) -> float:
        return statistics.mean(self.waits)


class Api:
    """The app's own endpoint for chat, by plain HTTP."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, timeout=REPLY_SECONDS, limits=httpx.Limits(max_connections=400)
        )

    async def chat(self, history: list[dict[str, str]], message: str) -> tuple[str, float]:
        """The reply, and the seconds until its first word.

        Raises:
            RuntimeError: the server's sentence about why there is none.
        """
        asked, first = time.perf_counter(), 0.0
        body = {
            "message": message, "history": history, "precision": "fp32", "temperature": 0,
            "max_new_tokens": MOST_TOKENS,
        }  # fmt: skip
        answer = await self._client.post("/gradio_api/call/v2/chat", json=body)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {answer.text[:200]}")
        path = f"/gradio_api/call/v2/chat/{answer.json()['event_id']}"
        kind, reply = "", ""
        async with self._client.stream("GET", path) as events:
            async for line in events.aiter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind == "error":
                    raise RuntimeError(line.removeprefix("data: "))
                elif line.startswith("data: ") and kind in ("generating", "complete"):
                    found = _text(json.loads(line.removeprefix("data: ")))
                    if found and not first:
                        first = time.perf_counter() - asked
                    reply = found or reply
        return reply, first

    async def close(self) -> None:
        await self._client.aclose()


def _text(data: Any) -> str:
    update = data[0] if isinstance(data, list) and data else data
    return update.get("text", "") if isinstance(update, dict) else ""


async def converse(api: Api, visitor: Visitor, until: float) -> None:
    """One conversation after the other, until the time is over."""
    while time.monotonic() < until:
        history: list[dict[str, str]] = []
        for number, question in enumerate(visitor.questions):
            try:
                reply, wait = await api.chat(history, question)
            except (RuntimeError, httpx.HTTPError) as error:
                visitor.errors.append(f"{type(error).__name__}: {error}")
                break
            visitor.waits.append(wait)
            visitor.replies += 1
            if reply != visitor.alone[number]:
                visitor.different.append((visitor.alone[number], reply))
            history += [
                {"role": "user", "content": question}, {"role": "assistant", "content": reply},
            ]  # fmt: skip
            if time.monotonic() > until:
                break


async def alone(api: Api, visitor: Visitor) -> None:
    """The same conversation with nobody else there."""
    history: list[dict[str, str]] = []
    for question in visitor.questions:
        reply, _ = await api.chat(history, question)
        visitor.alone.append(reply)
        history += [
            {"role": "user", "content": question}, {"role": "assistant", "content": reply},
        ]  # fmt: skip


async def memory(process: psutil.Process, every: float = 1.0) -> list[tuple[float, int]]:
    """Resident bytes over time, until cancelled."""
    found: list[tuple[float, int]] = []
    try:
        while True:
            found.append((time.monotonic(), process.memory_info().rss))
            await asyncio.sleep(every)
    except asyncio.CancelledError:
        return found


async def overflow(api: Api, count: int) -> list[str]:
    """What those hear who come when all places and the queue are full."""

    async def one(number: int) -> str:
        try:
            await api.chat([], f"{QUESTIONS[number % len(QUESTIONS)]} ({number})")
        except (RuntimeError, httpx.HTTPError) as error:
            return str(error)
        return ""

    return [said for said in await asyncio.gather(*map(one, range(count))) if said]


@contextmanager
def served() -> Iterator[tuple[str, psutil.Process]]:
    """The app in a process of its own, on this machine alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GEMMA_")},
        "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environ)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    try:
        while True:
            try:
                httpx.get(f"{url}/healthz", timeout=1).raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("The app did not start.") from None
                time.sleep(0.2)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def visitors_of(count: int) -> list[Visitor]:
    chance = random.Random(0)
    return [Visitor(tuple(chance.sample(QUESTIONS, TURNS))) for _ in range(count)]


def growth(samples: list[tuple[float, int]], seconds: float) -> float:
    """How much more is resident at the end than after the first fifth, as a share; medians."""
    begin = samples[0][0]
    early = [rss for at, rss in samples if 0.15 <= (at - begin) / seconds <= 0.25]
    late = [rss for at, rss in samples if 0.9 <= (at - begin) / seconds <= 1.0]
    return statistics.median(late) / statistics.median(early) - 1


async def run(url: str, process: psutil.Process, count: int, seconds: float) -> dict[str, Any]:
    """Alone, in company, too many; what was seen."""
    api, visitors = Api(url), visitors_of(count)
    for visitor in visitors:
        await alone(api, visitor)
    watching = asyncio.create_task(memory(process))
    until = time.monotonic() + seconds
    started = time.perf_counter()
    await asyncio.gather(*(converse(api, visitor, until) for visitor in visitors))
    took = time.perf_counter() - started
    watching.cancel()
    samples = await watching
    refused = await overflow(api, 160)
    await api.close()
    waits = sorted(visitor.wait for visitor in visitors if visitor.waits)
    return {
        "visitors": count,
        "seconds": round(took, 1),
        "replies": sum(visitor.replies for visitor in visitors),
        "errors": [error for visitor in visitors for error in visitor.errors],
        "different": [pair for visitor in visitors for pair in visitor.different],
        "wait_median_seconds": round(statistics.median(waits), 3),
        "wait_longest_over_median": round(waits[-1] / statistics.median(waits), 2),
        "memory_bytes": samples[-1][1],
        "memory_growth": round(growth(samples, took), 4),
        "refused": len(refused),
        "refusals": sorted(set(refused)),
    }


def problems(found: dict[str, Any]) -> list[str]:
    """What is not as it should be, a sentence each."""
    said = [
        (found["errors"], f"{len(found['errors'])} replies failed: {found['errors'][:2]}"),
        (found["different"], f"{len(found['different'])} replies are not those given alone."),
        (
            found["wait_longest_over_median"] > MOST_WAIT,
            f"One visitor waited {found['wait_longest_over_median']} times the median.",
        ),
        (
            found["memory_growth"] > MOST_GROWTH,
            f"The server's memory grew by {found['memory_growth']:.1%}.",
        ),
        (not found["refusals"], "Nobody was turned away when too many came."),
    ]
    return [words for wrong, words in said if wrong]


def main() -> None:
    """Serve, load, say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with served() as (url, process):
        found = asyncio.run(
            run(url, process, min(options.visitors, 256), min(options.seconds, MOST_SECONDS))
        )
    print(json.dumps(found, indent=1, ensure_ascii=False))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if wrong := problems(found):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
