"""How near decoding comes to what the memory's bandwidth allows, at the sizes of real checkpoints.

`python -m benchmarks.decode` builds each model with random weights, on a GPU if there is one, and
decodes with one reply and with several, by three ways in one run: bare `generate`, the engine
taking every step anew, and the engine with recorded steps (GPUs only). A token's bound is the time
to read the weights and the keys and values once, at the bandwidth that a large copy reaches here.
Says each as a ratio to bare `generate` on the same batch, and to that bound.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gemma_space.environment import set_library_defaults

set_library_defaults()

import bitsandbytes  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from benchmarks.engine import GREEDY, Streamer, Timed, together, vars_of  # noqa: E402
from benchmarks.figure import Figure, Pair, figures_of, options_of, tell  # noqa: E402
from gemma_space.engine.batch import BatchEngine  # noqa: E402
from gemma_space.engine.joined import Recording  # noqa: E402
from gemma_space.loading import measured_bytes  # noqa: E402
from gemma_space.types import SamplingParams  # noqa: E402
from tests.real_sizes import SIZES  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HEADS = {
    "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM", "gemma4_text": "Gemma4ForCausalLM",
}  # fmt: skip
PROMPT_TOKENS = 64
SAMPLED = {"temperature": 1.0, "top_k": 64, "top_p": 0.95}


@dataclass(frozen=True)
class Row:
    """One way: the rates of all replies together, tokens per second, and their median."""

    model: str
    precision: str
    rows: int
    way: str
    rates: tuple[float, ...]
    tokens_per_second: float
    share_of_bound: float


def bandwidth() -> float:
    """Bytes per second of a large copy, reads and writes counted."""
    count = 2**30 if DEVICE == "cuda" else 2**27
    one = torch.randint(0, 100, (count,), dtype=torch.int32, device=DEVICE)
    other = torch.empty_like(one)
    best = 0.0
    for _ in range(6):
        finish()
        started = time.perf_counter()
        other.copy_(one)
        finish()
        best = max(best, 2 * one.nbytes / (time.perf_counter() - started))
    return best


def finish() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def built(repo_id: str, precision: str) -> Any:
    """A model of this size with random weights, quantized as a load would have it."""
    config = SIZES[repo_id]().get_text_config(decoder=True)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(DEVICE):
            model = getattr(transformers, HEADS[config.model_type])(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model = model.eval().requires_grad_(False)
    if precision != "bf16":
        for path, module in list(model.named_modules()):
            if isinstance(module, torch.nn.Linear) and path != "lm_head":
                parent = model.get_submodule(path.rpartition(".")[0])
                setattr(parent, path.rpartition(".")[2], quantized(module, precision))
                module.weight = None  # type: ignore[assignment]
    return model


def quantized(linear: torch.nn.Linear, precision: str) -> torch.nn.Module:
    shape, weight = (linear.in_features, linear.out_features), linear.weight.data
    if precision == "int8":
        made: Any = bitsandbytes.nn.Linear8bitLt(
            *shape, bias=False, has_fp16_weights=False, threshold=6.0, device="meta"
        )
        made.weight = bitsandbytes.nn.Int8Params(
            weight.cpu(), requires_grad=False, has_fp16_weights=False
        )
    else:
        made = bitsandbytes.nn.Linear4bit(
            *shape, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", device="meta"
        )
        made.weight = bitsandbytes.nn.Params4bit(
            weight.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True
        )
    return made.to(DEVICE).eval()


class Decoder:
    """One model, by each way."""

    def __init__(self, model: Any, tokens: int) -> None:
        self.model = model
        self.tokens = tokens
        self._random = random.Random(0)

    def prompt(self) -> list[int]:
        return self._random.choices(range(300, self.model.config.vocab_size - 1), k=PROMPT_TOKENS)

    def bare(self, rows: int) -> float:
        """`generate` on a batch of so many prompts."""
        timed = Timed()
        config = transformers.GenerationConfig(
            max_new_tokens=self.tokens, min_new_tokens=self.tokens, do_sample=False,
            pad_token_id=0, eos_token_id=[1], disable_compile=True,
        )  # fmt: skip
        ids = torch.tensor([self.prompt() for _ in range(rows)], device=DEVICE)
        streamer = Streamer(timed) if rows == 1 else Streamed(timed)
        with torch.inference_mode():
            self.model.generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=config,
                **({"streamer": streamer} if rows == 1 else {"stopping_criteria": [streamer]}),
            )  # fmt: skip
        return timed.pace * rows

    def engine(self, rows: int, recorded: bool, sampled: bool = False) -> float:
        """So many replies at once through the engine."""
        engine = BatchEngine(self.model, frozenset())
        if not recorded:
            engine._steps._recording = NOT_RECORDED
        values = vars_of(GREEDY) | {"max_new_tokens": self.tokens}
        if sampled:
            values |= SAMPLED
        prompts = [self.prompt() for _ in range(rows)]

        def reply(prompt: Sequence[int]) -> Timed:
            timed = Timed()
            for chunk in engine.stream(tuple(prompt), SamplingParams(**values)):
                if chunk.token_id is not None:
                    timed.token()
            return timed

        replies = together([lambda p=p: reply(p) for p in prompts])
        # From the moment all are written together until the first of them ends.
        begin = max(t.asked + t.came[0] for t in replies)
        end = min(t.asked + t.came[-1] for t in replies)
        count = sum(begin < t.asked + at <= end for t in replies for at in t.came)
        return count / (end - begin)


class Streamed:
    """Counts the steps of a batch, as a stopping criterion that never stops."""

    def __init__(self, timed: Timed) -> None:
        self._timed = timed

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._timed.token()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class _NotRecorded(Recording):
    def __init__(self) -> None:
        self.recorder, self.is_trusted = None, False


NOT_RECORDED = _NotRecorded()


def measured(
    repo_id: str, precision: str, most_rows: Sequence[int], tokens: int, pairs: int, speed: float
) -> Iterator[Row]:
    """Every way in turn, `pairs` times, after one round that does not count."""
    model = built(repo_id, precision)
    decoder, weights = Decoder(model, tokens), measured_bytes(model)
    config = model.config.get_text_config(decoder=True)
    of_a_token = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    for rows in most_rows:
        ways = ways_of(decoder, rows)
        found: dict[str, list[float]] = {way: [] for way in ways}
        for round_ in range(pairs + 1):
            for way, run in ways.items():
                rate = together([run])[0]
                if round_:
                    found[way].append(rate)
        kv = rows * of_a_token * (PROMPT_TOKENS + tokens // 2)
        bound = rows * speed / (weights + kv)
        for way, rates in found.items():
            rate = statistics.median(rates)
            yield Row(repo_id, precision, rows, way, tuple(rates), rate, rate / bound)


def ways_of(decoder: Decoder, rows: int) -> dict[str, Callable[[], float]]:
    ways: dict[str, Callable[[], float]] = {
        "generate": lambda: decoder.bare(rows),
        "engine": lambda: decoder.engine(rows, recorded=False),
    }
    if DEVICE == "cuda":
        ways["engine, recorded"] = lambda: decoder.engine(rows, recorded=True)
        ways["engine, recorded, sampled"] = lambda: decoder.engine(
            rows, recorded=True, sampled=True
        )
    return ways


def figures_from(rows: Sequence[Row]) -> list[Figure]:
    """Each way against bare `generate` on as many replies, and against the bound."""
    bare = {(r.model, r.precision, r.rows): r for r in rows if r.way == "generate"}
    return figures_of(
        pair
        for row in rows
        if row.way != "generate"
        for pair in _pairs(row, bare[row.model, row.precision, row.rows])
    )


def _pairs(row: Row, bare: Row) -> Iterator[Pair]:
    name = f"{row.model} {row.precision}, {row.rows} at once, {row.way}"
    for ours, theirs in zip(row.rates, bare.rates, strict=True):
        yield Pair(name=name, unit="tokens/s", ours=ours,
                   baseline="bare `generate` on the same batch", theirs=theirs)  # fmt: skip
    for ours in row.rates:
        yield Pair(name=name, unit="tokens/s", ours=ours, baseline="what the bandwidth allows",
                   theirs=row.tokens_per_second / row.share_of_bound)  # fmt: skip


def main() -> None:
    """Build, measure, print."""
    parser = options_of(__doc__, pairs=5)
    parser.add_argument("--models", default="google/gemma-3-270m")
    parser.add_argument("--precisions", default="bf16")
    parser.add_argument("--rows", default="1,8")
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    speed = bandwidth()
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    print(f"{name}, {speed / 1e9:.0f} GB/s", flush=True)
    rows: list[Row] = []
    tokens, most = (8, [1]) if options.quick else (options.tokens, options.rows.split(","))
    for repo_id in options.models.split(","):
        for precision in options.precisions.split(","):
            counts = [int(count) for count in most]
            rows += measured(repo_id, precision, counts, tokens, options.pairs, speed)
            gc.collect()
            if DEVICE == "cuda":
                torch.cuda.empty_cache()
    tell(figures_from(rows), options.json)


if __name__ == "__main__":
    main()
