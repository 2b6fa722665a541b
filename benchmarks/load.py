"""Many visitors at once on a real server, and whether each gets what they would get alone.

`python -m benchmarks.load` starts the app on this machine with the demo checkpoint in fp32, has 32
visitors hold conversations of three turns for five minutes over its HTTP API, and stops. Before
that it asks every question alone, one after the other: greedy replies must be the same. It says how
long visitors waited for the first word, how much memory the server has, and what newcomers hear
when more come than may wait. The exit code is 0 when all of it is as it should be.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from benchmarks.app_process import resident_bytes, served
from benchmarks.figure import Figure, Pair, figures_of, options_of, tell

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
REPLY_SECONDS = 120  # of one reply, its wait for a place included
TOO_MANY = 160  # come at once at the end, and stay so long
OVERFLOW_SECONDS = 10
SAMPLES = 100  # of the memory, over the whole time
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
            TimeoutError: there was none in time.
        """
        async with asyncio.timeout(REPLY_SECONDS):  # heartbeats keep a stream alive for ever
            return await self._chat(history, message)

    async def _chat(self, history: list[dict[str, str]], message: str) -> tuple[str, float]:
        asked, first, reply = time.perf_counter(), 0.0, ""
        event = await self.ask(history, message)
        async with self._client.stream("GET", f"/gradio_api/call/v2/chat/{event}") as events:
            kind = ""
            async for line in events.aiter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                    continue
                if not line.startswith("data: ") or kind == "heartbeat":
                    continue
                data = json.loads(line.removeprefix("data: "))
                if kind == "error":
                    raise RuntimeError(f"error event: {data}")
                reply = _text(data) or reply
                first = first or (reply and time.perf_counter() - asked)
                if kind == "complete":
                    return reply, first
        raise RuntimeError(f"the stream ended before the reply was complete: {reply!r}")

    async def ask(self, history: list[dict[str, str]], message: str) -> str:
        """Have it queued; the name of its events.

        Raises:
            RuntimeError: the server's sentence about why it is not.
        """
        body = {
            "message": message, "history": history, "precision": "fp32", "temperature": 0,
            "max_new_tokens": MOST_TOKENS,
        }  # fmt: skip
        answer = await self._client.post("/gradio_api/call/v2/chat", json=body)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {answer.text[:200]}")
        return answer.json()["event_id"]

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
            except (RuntimeError, TimeoutError, httpx.HTTPError) as error:
                visitor.errors.append(f"{type(error).__name__}: {error}")
                break
            if reply:
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


async def memory(process: psutil.Process, every: float) -> list[tuple[float, int]]:
    """Resident bytes over time, until cancelled."""
    found: list[tuple[float, int]] = []
    try:
        while True:
            found.append((time.monotonic(), resident_bytes(process)))
            await asyncio.sleep(every)
    except asyncio.CancelledError:
        return found


async def overflow(api: Api, count: int) -> list[str]:
    """What those hear whom the server does not take, of so many who come at once.

    Those whom it takes hang up: whether they are answered was seen before.
    """

    async def one(number: int) -> str:
        try:
            await api.chat([], f"{QUESTIONS[number % len(QUESTIONS)]} ({number})")
        except RuntimeError as error:  # at the door, or at the end of the line
            return str(error)
        return ""

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    done, late = await asyncio.wait(tasks, timeout=OVERFLOW_SECONDS)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [task.result() for task in done if task.result()]


def visitors_of(count: int) -> list[Visitor]:
    chance = random.Random(0)
    return [Visitor(tuple(chance.sample(QUESTIONS, TURNS))) for _ in range(count)]


def growth(samples: list[tuple[float, int]], seconds: float) -> float:
    """How much more is resident at the end than after the first fifth, as a share; medians."""
    begin = samples[0][0]
    early = [rss for at, rss in samples if 0.15 <= (at - begin) / seconds <= 0.25]
    late = [rss for at, rss in samples if 0.9 <= (at - begin) / seconds <= 1.0]
    return statistics.median(late) / statistics.median(early) - 1 if early and late else 0.0


async def run(url: str, process: psutil.Process, count: int, seconds: float) -> dict[str, Any]:
    """Alone, in company, too many; what was seen."""
    api, visitors = Api(url), visitors_of(count)
    for visitor in visitors:
        await alone(api, visitor)
    watching = asyncio.create_task(memory(process, seconds / SAMPLES))
    until = time.monotonic() + seconds
    started = time.perf_counter()
    await asyncio.gather(*(converse(api, visitor, until) for visitor in visitors))
    took = time.perf_counter() - started
    watching.cancel()
    samples = await watching
    refused = await overflow(api, TOO_MANY)
    await api.close()
    waits = sorted(visitor.wait for visitor in visitors if visitor.waits)
    return {
        "visitors": count,
        "seconds": round(took, 1),
        "replies": sum(visitor.replies for visitor in visitors),
        "errors": [error for visitor in visitors for error in visitor.errors],
        "different": [pair for visitor in visitors for pair in visitor.different],
        "wait_median_seconds": statistics.median(waits) if waits else 0.0,
        "wait_longest_seconds": waits[-1] if waits else 0.0,
        "memory_bytes": samples[-1][1],
        "memory_growth": growth(samples, took),
        "refused": len(refused),
        "refusals": sorted(set(refused)),
    }


def problems(found: dict[str, Any]) -> list[str]:
    """What is not as it should be, a sentence each."""
    longest = found["wait_longest_seconds"] / (found["wait_median_seconds"] or 1)
    said = [
        (not found["replies"], "There was no reply."),
        (found["errors"], f"{len(found['errors'])} replies failed: {found['errors'][:2]}"),
        (
            found["different"],
            f"{len(found['different'])} replies are not those given alone: "
            f"{found['different'][:1]}",
        ),
        (longest > MOST_WAIT, f"One visitor waited {longest:.1f} times the median."),
        (
            found["memory_growth"] > MOST_GROWTH,
            f"The server's memory grew by {found['memory_growth']:.1%}.",
        ),
        (not found["refusals"], "Nobody was turned away when too many came."),
    ]
    return [words for wrong, words in said if wrong]


def figures_from(found: dict[str, Any]) -> list[Figure]:
    """The same as figures; without a baseline, but for the longest wait."""
    who = f"{found['visitors']} visitors for {found['seconds']:.0f} s"
    counted = {
        "replies": found["replies"],
        "replies that failed": len(found["errors"]),
        "replies unlike those given alone": len(found["different"]),
        f"of {TOO_MANY} more at once, turned away in words": found["refused"],
    }
    return figures_of([
        *(Pair(name=f"{who}: {name}", unit="", ours=value) for name, value in counted.items()),
        Pair(name=f"{who}: the longest mean wait for the first word", unit="s",
             ours=found["wait_longest_seconds"], baseline="the median visitor's",
             theirs=found["wait_median_seconds"]),
        Pair(name=f"{who}: resident memory at the end", unit="bytes", ours=found["memory_bytes"]),
        Pair(name=f"{who}: growth of the memory", unit="%", ours=100 * found["memory_growth"]),
    ])  # fmt: skip


def main() -> None:
    """Serve, load, say what was seen."""
    parser = options_of(__doc__, pairs=1)
    parser.add_argument("--visitors", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    count, seconds = (4, 10) if options.quick else (options.visitors, options.seconds)
    with served() as (url, process):
        found = asyncio.run(run(url, process, min(count, 256), min(seconds, MOST_SECONDS)))
    tell(figures_from(found), options.json)
    for words in found["refusals"]:
        print(f"Turned away with: {words}")
    if wrong := problems(found):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
