"""What is going on here, in the words of Prometheus.

Counts requests that are over as it is told of them, and looks at the rest when it is asked. Has a
registry of its own: nothing is counted per process. Knows no model's name and no visitor.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from gemma_space.admission import Admission
from gemma_space.library import Library
from gemma_space.served import Served

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "gemma_space_"
TTFT_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOKENS_PER_SECOND = (1, 2, 5, 10, 20, 40, 80, 160, 320)


class Metrics:
    """The figures of one running app."""

    def __init__(self, library: Library, admission: Admission) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{PREFIX}requests", "Requests that are over, by how they ended.",
            ("endpoint", "finish_reason"), registry=self._registry,
        )  # fmt: skip
        self._tokens = Counter(
            f"{PREFIX}tokens",
            "Tokens of requests that are over; the cached ones are among the prompt's.",
            ("kind",), registry=self._registry,
        )  # fmt: skip
        self._ttft = Histogram(
            f"{PREFIX}time_to_first_token_seconds",
            "From the moment the model was there to the first token.",
            buckets=TTFT_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._speed = Histogram(
            f"{PREFIX}tokens_per_second", "Of one reply, after its first token.",
            buckets=TOKENS_PER_SECOND, registry=self._registry,
        )  # fmt: skip
        self._registry.register(_Now(library, admission))

    def __call__(self, served: Served) -> None:
        """Count a request that is over."""
        self._requests.labels(served.endpoint, served.outcome).inc()
        self._tokens.labels("prompt").inc(served.prompt_tokens)
        self._tokens.labels("cached").inc(served.cached_tokens)
        self._tokens.labels("completion").inc(served.completion_tokens)
        if served.ttft_seconds is not None:
            self._ttft.observe(served.ttft_seconds)
        if served.tokens_per_second is not None:
            self._speed.observe(served.tokens_per_second)

    def text(self) -> bytes:
        """All figures as they are now, in Prometheus' text format."""
        return generate_latest(self._registry)


class _Now(Collector):
    """What is looked up when somebody asks."""

    def __init__(self, library: Library, admission: Admission) -> None:
        self._library = library
        self._admission = admission

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing is probed before the first question

    def collect(self) -> Iterable[Metric]:
        status, turnover = self._library.status(), self._library.turnover()
        yield _gauge("requests_running", "Requests that have a place.", self._admission.running)
        yield _gauge("requests_waiting", "Requests that wait for one.", self._admission.waiting)
        yield CounterMetricFamily(
            f"{PREFIX}model_loads", "Models brought into memory.", value=turnover.loads
        )
        yield CounterMetricFamily(
            f"{PREFIX}model_evictions", "Models that left for others, or after an idle time.",
            value=turnover.evictions,
        )  # fmt: skip
        loaded = status.loaded
        yield _gauge("models_loaded", "Models in memory.", len(loaded))
        yield _gauge("model_bytes", "What their weights take.", sum(row.nbytes for row in loaded))
        yield _gauge("prefix_cache_bytes", "What conversations keep.", status.cache_bytes)
        yield _gauge("memory_budget_bytes", "What models may take.", status.budget_bytes)
        yield _gauge("memory_free_bytes", "What the device has left.", status.memory_free_bytes)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, meaning, value=value)
