"""What the engine does for one visitor and for many, against transformers' own `generate`.

`python -m benchmarks.engine` writes a random Gemma 3 of about 300 million parameters to a
temporary folder, loads it once in bf16, and alternates each measurement with its baseline in one
process. The baseline for several visitors is a thread with `generate` for each request and nothing
kept between turns. `--pairs N` sets how often.

Everything that computes does so in a thread that ends: OpenMP keeps a pool for each thread that
ever used it, and once pools have more threads than there are cores it lets all of them sleep
between operations, which costs a fifth of the speed.
"""

import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gemma_space.environment import set_library_defaults

set_library_defaults()

import torch  # noqa: E402
from transformers import (  # noqa: E402
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
)

from benchmarks.figure import Figure, Pair, figures_of, main  # noqa: E402
from gemma_space.access import Access  # noqa: E402
from gemma_space.assets import DEMO_MODEL  # noqa: E402
from gemma_space.engine.batch import BatchEngine  # noqa: E402
from gemma_space.playground import Playground  # noqa: E402
from gemma_space.settings import Settings  # noqa: E402
from gemma_space.shelf import served_checkpoints  # noqa: E402
from gemma_space.types import (  # noqa: E402
    CompletionRequest,
    Controls,
    Generation,
    Precision,
    SamplingParams,
)

VOCABULARY = 32_768
WORD = "▁"  # what a token that begins a word begins with
BARE = "bare `model.generate`"
THREADS = "a thread with `generate` each, nothing kept"
GREEDY = SamplingParams(
    max_new_tokens=32, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, typical_p=1.0,
    repetition_penalty=1.0, no_repeat_ngram_size=0, seed=0, stop=(), ignore_eos=True,
)  # fmt: skip


@dataclass
class Timed:
    """When the tokens of one reply came, in seconds since it was asked for."""

    asked: float = field(default_factory=time.perf_counter)
    came: list[float] = field(default_factory=list)

    def token(self) -> None:
        self.came.append(time.perf_counter() - self.asked)

    @property
    def first(self) -> float:
        return self.came[0]

    @property
    def pace(self) -> float:
        """Tokens per second after the first."""
        return (len(self.came) - 1) / (self.came[-1] - self.came[0])


class Streamer:
    """What `generate` tells of its tokens."""

    def __init__(self, timed: Timed) -> None:
        self._timed, self._prompt = timed, True

    def put(self, _: Any) -> None:
        if self._prompt:
            self._prompt = False
        else:
            self._timed.token()

    def end(self) -> None:
        return


def write_checkpoint(folder: Path, quick: bool) -> None:
    """A random model of 300 million parameters with the demo's tokenizer, or a tiny one.

    It writes plain words alone: no greedy reply ends before it is as long as it may be, and each
    token is text that can be shown at once. All other rows of its embeddings are nothing.
    """
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    words = [
        number for text, number in tokenizer.get_vocab().items()
        if text[0] == WORD and text[1:].isalpha()
    ]  # fmt: skip
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=VOCABULARY, hidden_size=64 if quick else 1024,
        intermediate_size=64 if quick else 4096, num_hidden_layers=2 if quick else 18,
        num_attention_heads=4, num_key_value_heads=1, head_dim=256, sliding_window=512,
        max_position_embeddings=8192, dtype=torch.bfloat16,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    model = Gemma3ForCausalLM(config).requires_grad_(False)
    torch.set_default_dtype(torch.float32)
    silent = torch.ones(VOCABULARY, dtype=torch.bool)
    silent[words] = False
    model.get_input_embeddings().weight[silent] = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Bench:
    """One model, by both ways."""

    def __init__(self, folder: Path) -> None:
        settings = Settings.model_validate({"models": str(folder)})
        self.playground = Playground(served_checkpoints([str(folder)]), Access(), settings)
        self.name = str(folder)
        for _ in self.playground.library.load(self.name, "bf16"):
            pass
        entry = next(iter(self.playground.library._registry._entries.values()))
        assert entry.served is not None
        assert isinstance(entry.served.engine, BatchEngine)
        self.engine = entry.served.engine
        self.model = self.engine._model
        self.engine.kept.budget_bytes = 1 << 30
        self._random = random.Random(0)

    def prompt(self, tokens: int) -> tuple[int, ...]:
        return tuple(self._random.randrange(110, 4000) for _ in range(tokens))

    def bare(self, prompt: Sequence[int], tokens: int) -> Timed:
        """The baseline: `generate` on the whole prompt, in a thread of its own."""
        return together([lambda: self._bare(prompt, tokens)])[0]

    def _bare(self, prompt: Sequence[int], tokens: int) -> Timed:
        timed = Timed()
        config = GenerationConfig(
            max_new_tokens=tokens, do_sample=False, pad_token_id=0, eos_token_id=[VOCABULARY - 1]
        )
        with torch.inference_mode():
            self.model.generate(
                torch.tensor([prompt]), generation_config=config, streamer=Streamer(timed)
            )
        return timed

    def ours(self, prompt: Sequence[int], tokens: int, top: int = 0) -> Timed:
        timed = Timed()
        params = SamplingParams(**{**vars_of(GREEDY), "max_new_tokens": tokens})
        for chunk in self.engine.stream(tuple(prompt), params, top=top):
            if chunk.token_id is not None:
                timed.token()
        return timed

    def app(self, text: str, tokens: int, top: int = 0) -> Timed:
        """The whole use case: text in, text out, as the page and the API have it."""
        timed, seen = Timed(), 0
        request = CompletionRequest(
            prompt=text, model=self.name, precision=Precision.BF16, logprobs=top,
            controls=Controls(max_new_tokens=tokens, temperature=0.0, ignore_eos=True),
        )  # fmt: skip
        for update in self.playground.complete(request):
            if isinstance(update, Generation) and update.completion_tokens > seen:
                seen = update.completion_tokens
                timed.token()
        return timed


def vars_of(params: SamplingParams) -> dict[str, Any]:
    return {name: getattr(params, name) for name in params.__dataclass_fields__}


T = TypeVar("T")


def together(actions: Sequence[Callable[[], T]]) -> list[T]:
    """All at once, each in a thread of its own."""
    found: list[T] = []
    threads = [threading.Thread(target=lambda a=a: found.append(a())) for a in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def one_visitor(bench: Bench, tokens: int) -> Iterator[Pair]:
    prompt, speed = bench.prompt(64), "tokens/s"
    bare = bench.bare(prompt, tokens)
    text = " ".join(["the", "sun", "and", "the", "moon"] * 12)
    plain, scored = bench.app(text, tokens).pace, bench.app(text, tokens, top=10).pace
    ours = bench.ours(prompt, tokens)
    yield Pair(name="decoding, one visitor", unit=speed, ours=ours.pace, baseline=BARE,
               theirs=bare.pace)  # fmt: skip
    yield Pair(name="the same through the whole app", unit=speed, ours=plain, baseline=BARE,
               theirs=bare.pace)  # fmt: skip
    yield Pair(name="decoding with the ten likeliest and entropy", unit=speed,
               ours=bench.ours(prompt, tokens, top=10).pace, baseline="the same without",
               theirs=ours.pace)  # fmt: skip
    yield Pair(name="the same through the whole app, as the Prompt tab asks for it", unit=speed,
               ours=scored, baseline="the same without", theirs=plain)  # fmt: skip
    first = bench.bare(prompt := bench.prompt(64), 2).first
    yield Pair(name="first token at turn 1", unit="s", ours=bench.ours(prompt, 2).first,
               baseline=BARE, theirs=first)  # fmt: skip


def eight_visitors(bench: Bench, tokens: int) -> Iterator[Pair]:
    one = bench.ours(bench.prompt(64), tokens).pace

    def rate(reply: Callable[[Sequence[int], int], Timed]) -> float:
        """All tokens by the time that all of them took."""
        started = time.perf_counter()
        together([lambda: reply(bench.prompt(64), tokens)] * 8)
        return 8 * tokens / (time.perf_counter() - started)

    paces = [t.pace for t in together([lambda: bench.ours(bench.prompt(64), tokens)] * 8)]
    yield Pair(name="decoding, eight visitors together", unit="tokens/s", ours=sum(paces),
               baseline="one of them alone", theirs=one)  # fmt: skip
    yield Pair(name="eight visitors, prompts read and replies written", unit="tokens/s",
               ours=rate(bench.ours), baseline=THREADS, theirs=rate(bench._bare))  # fmt: skip


def conversations(bench: Bench, tokens: int) -> Iterator[Pair]:
    """Four visitors, three turns: histories of 400 tokens, messages of 60."""
    visitors, turns = 4, 3

    def run(reply: Callable[[Sequence[int], int], Timed]) -> tuple[float, float]:
        histories = [bench.prompt(400) for _ in range(visitors)]
        later: list[float] = []
        started = time.perf_counter()
        for turn in range(turns):
            histories = [(*history, *bench.prompt(60)) for history in histories]
            timed = together([lambda h=h: reply(h, tokens) for h in histories])
            if turn:
                later += [t.first for t in timed]
        return visitors * turns * tokens / (time.perf_counter() - started), statistics.median(later)

    theirs, their_first = run(bench._bare)
    mine, my_first = run(bench.ours)
    yield Pair(name="four visitors with 400-token histories, three turns", unit="tokens/s",
               ours=mine, baseline=THREADS, theirs=theirs)  # fmt: skip
    yield Pair(name="their first token at turns 2 and 3", unit="s", ours=my_first,
               baseline=THREADS, theirs=their_first)  # fmt: skip


def tenth_turn(bench: Bench, _: int) -> Iterator[Pair]:
    history = bench.prompt(1010)
    bench.ours(history, 2)
    longer = (*history, *bench.prompt(50))
    mine, bare = bench.ours(longer, 2).first, bench.bare(longer, 3).first
    yield Pair(name="first token at turn 10 (1,060 tokens)", unit="s", ours=mine,
               baseline=f"{BARE}, which reads all of it", theirs=bare)  # fmt: skip


def memory_of(bench: Bench) -> Pair:
    """Bytes of weights and a kept conversation, against what their shapes need."""
    bench.engine.kept.clear()
    prompt = bench.prompt(2000)
    bench.ours(prompt, 8)
    while not bench.engine.kept.nbytes:  # kept a moment after the last token was told
        time.sleep(0.01)
    config, tokens = bench.model.config, len(prompt) + 7
    of_one = 2 * config.num_key_value_heads * config.head_dim * 2
    need = sum(
        of_one * (min(tokens, config.sliding_window + 7) if "sliding" in kind else tokens)
        for kind in config.layer_types
    )
    weights = sum(p.nbytes for p in bench.model.parameters())
    return Pair(name="weights and a kept conversation of 2,000 tokens", unit="bytes",
                ours=weights + bench.engine.kept.nbytes, baseline="computed from their shapes",
                theirs=weights + need)  # fmt: skip


def figures(pairs: int, quick: bool) -> list[Figure]:
    """Write the checkpoint, load it, measure."""
    found: list[Pair] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        together([lambda: write_checkpoint(folder, quick)])
        (bench,) = together([lambda: Bench(folder)])
        bench.bare(bench.prompt(16), 4)
        for measure in (one_visitor, eight_visitors, conversations, tenth_turn):
            for _ in range(pairs):
                found += measure(bench, 8 if quick else 32)
        found.append(memory_of(bench))
    return figures_of(found)


if __name__ == "__main__":
    main(__doc__, figures, pairs=5)
