"""Models in memory: one load for many, eviction, refusal, failure, cancelling, giving back."""

import threading
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gemma_space.catalog import Checkpoint, Linears, hub_catalog
from gemma_space.chunks import GenerationChunk
from gemma_space.errors import InvalidRequestError, LoadError, ModelTooLargeError
from gemma_space.lease import ModelKey, Report, ServedModel
from gemma_space.registry import ModelRegistry
from gemma_space.reports import LoadProgress
from gemma_space.types import Precision, SamplingParams

BYTES = 200  # of one model in bf16
PATIENCE = 10


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class IdleEngine:
    requests: int = 0
    cache_bytes: int = 0

    def stream(
        self, prompt_ids: tuple[int, ...], params: SamplingParams, **_: Any
    ) -> Generator[GenerationChunk]:
        yield from ()

    def score(self, token_ids: tuple[int, ...], **_: Any) -> Generator[GenerationChunk]:
        yield from ()

    def examine(
        self, token_ids: tuple[int, ...], look: Any, **_: Any
    ) -> Generator[GenerationChunk]:
        yield from ()


class Cyclic:
    """What only the garbage collector frees, as models with hooks are."""

    def __init__(self) -> None:
        self.itself = self


class FakeLoader:
    """Loads at once, or when told to; remembers keys, tokens and whether it was cancelled."""

    def __init__(self) -> None:
        self.loads: list[tuple[ModelKey, str | None]] = []
        self.go = threading.Event()
        self.go.set()
        self.started = threading.Event()
        self.cancelled = threading.Event()
        self.fail: BaseException | None = None
        self.nbytes = BYTES
        self.on_load: Callable[[], None] = lambda: None

    def __call__(
        self,
        key: ModelKey,
        token: str | None,
        report: Report,
        cancelled: Callable[[], bool],
        base: ServedModel | None,
    ) -> ServedModel:
        self.loads.append((key, token))
        self.on_load()
        report("load", 50, BYTES)
        self.started.set()
        while not self.go.wait(0.01):
            if cancelled():
                self.cancelled.set()
                raise RuntimeError("cancelled")
        if self.fail is not None:
            raise self.fail
        return ServedModel(key=key, engine=IdleEngine(), tokenizer=Cyclic(), nbytes=self.nbytes)


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(loader: FakeLoader, clock: Clock) -> ModelRegistry:
    """Room for two models."""
    return ModelRegistry(loader, lambda: 2 * BYTES, clock=clock)


def row(name: str) -> Checkpoint:
    return replace(
        hub_catalog()[0],
        repo_id=name,
        title=name,
        parameters=BYTES // 2,
        linears=Linears(0, 0, 0),
        kv=(),
    )


def key(name: str, precision: Precision = Precision.BF16, revision: str = "main") -> ModelKey:
    return ModelKey(checkpoint=row(name), revision=revision, precision=precision)


def use(registry: ModelRegistry, wanted: ModelKey, token: str | None = None) -> ServedModel:
    with registry.lease(wanted, token) as lease:
        for _ in lease.wait():
            pass
        return lease.model


def names(registry: ModelRegistry) -> list[str]:
    return [r.repo_id for r in registry.rows()]


def eventually(condition: Callable[[], Any]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def test_concurrent_leases_share_one_load(registry: ModelRegistry, loader: FakeLoader) -> None:
    loader.go.clear()
    models: list[ServedModel] = []
    users = [
        threading.Thread(target=lambda: models.append(use(registry, key("a")))) for _ in range(8)
    ]
    for user in users:
        user.start()
    assert loader.started.wait(PATIENCE)
    assert registry.rows() == ()
    loader.go.set()
    for user in users:
        user.join(PATIENCE)
    assert len(models) == 8
    assert len({id(model) for model in models}) == 1
    assert len(loader.loads) == 1


def test_precision_and_revision_make_a_model_another(
    registry: ModelRegistry, loader: FakeLoader
) -> None:
    loader.nbytes = 1
    keys = [key("a"), key("a", Precision.INT8), key("a", revision="0123"), key("b")]
    budget = ModelRegistry(loader, lambda: 100 * BYTES)
    assert len({id(use(budget, k)) for k in keys}) == 4
    for k in keys:
        use(budget, k)
    assert [k for k, _ in loader.loads] == keys


def test_the_loader_gets_the_visitors_token(registry: ModelRegistry, loader: FakeLoader) -> None:
    use(registry, key("a"), "hf_visitor")
    assert loader.loads == [(key("a"), "hf_visitor")]


def test_the_longest_idle_model_is_evicted(
    registry: ModelRegistry, clock: Clock, loader: FakeLoader
) -> None:
    for clock.now, name in enumerate(("a", "b", "a", "c"), start=1):
        use(registry, key(name))
    assert names(registry) == ["a", "c"]
    assert len(loader.loads) == 3


def test_a_leased_model_is_never_evicted(registry: ModelRegistry, clock: Clock) -> None:
    with registry.lease(key("a")) as lease:
        list(lease.wait())
        clock.now = 5
        use(registry, key("b"))
        use(registry, key("c"))
        assert names(registry) == ["a", "c"]
        with registry.lease(key("c")) as other:
            list(other.wait())
            with pytest.raises(ModelTooLargeError, match="in use"):
                use(registry, key("d"))
    assert names(registry) == ["a", "c"]
    use(registry, key("d"))
    assert "d" in names(registry)


def test_a_loading_model_is_never_evicted(registry: ModelRegistry, loader: FakeLoader) -> None:
    use(registry, key("a"))
    loader.go.clear()
    with registry.lease(key("b")) as lease:
        loader.started.wait(PATIENCE)
        with registry.lease(key("c")) as other:  # takes a's place
            assert names(registry) == []
            with pytest.raises(ModelTooLargeError):
                use(registry, key("d"))
            loader.go.set()
            list(lease.wait())
            list(other.wait())
    assert names(registry) == ["b", "c"]


def test_what_can_never_fit_is_refused_and_costs_nobody_their_model(
    registry: ModelRegistry, loader: FakeLoader
) -> None:
    use(registry, key("a"))
    use(registry, key("b"))
    big = replace(row("big"), parameters=BYTES * 2)
    with pytest.raises(ModelTooLargeError) as caught:
        use(registry, ModelKey(checkpoint=big, revision="main", precision=Precision.BF16))
    assert "big in bf16 needs 1 KiB" in caught.value.message
    assert caught.value.hint
    assert names(registry) == ["a", "b"]
    assert len(loader.loads) == 2


def test_an_evicted_model_is_gone_before_the_next_is_loaded(
    registry: ModelRegistry, loader: FakeLoader
) -> None:
    refs = [weakref.ref(use(registry, key(name)).tokenizer) for name in ("a", "b")]
    alive: list[bool] = []
    loader.on_load = lambda: alive.append(refs[0]() is not None)
    use(registry, key("c"))
    assert alive == [False]
    assert refs[1]() is not None


def test_what_a_model_really_takes_counts(registry: ModelRegistry, loader: FakeLoader) -> None:
    loader.nbytes = 2 * BYTES
    use(registry, key("a"))
    assert registry.rows()[0].nbytes == 2 * BYTES
    use(registry, key("b"))
    assert names(registry) == ["b"]


def test_a_failed_load_leaves_nothing_and_can_be_tried_again(
    registry: ModelRegistry, loader: FakeLoader
) -> None:
    loader.fail = LoadError("The files are damaged.", "Get them again.")
    with pytest.raises(LoadError, match="damaged"):
        use(registry, key("a"))
    assert registry.rows() == ()
    loader.fail = None
    use(registry, key("a"))
    assert names(registry) == ["a"]
    assert len(loader.loads) == 2


def test_a_failure_reaches_everyone_who_waits(registry: ModelRegistry, loader: FakeLoader) -> None:
    loader.go.clear()
    loader.fail = LoadError("The files are damaged.", "Get them again.")
    with registry.lease(key("a")) as one, registry.lease(key("a")) as two:
        loader.go.set()
        for lease in (one, two):
            with pytest.raises(LoadError, match="damaged"):
                list(lease.wait())
            with pytest.raises(RuntimeError):
                _ = lease.model
    assert len(loader.loads) == 1


@pytest.mark.parametrize(
    "failure", [RuntimeError("/secret/path"), KeyboardInterrupt(), MemoryError()]
)
def test_a_foreign_failure_is_worded_without_its_text(
    registry: ModelRegistry, loader: FakeLoader, failure: BaseException
) -> None:
    loader.fail = failure
    with pytest.raises(LoadError) as caught:
        use(registry, key("a"))
    assert "secret" not in str(caught.value)
    assert type(failure).__name__ in caught.value.message
    assert registry.rows() == ()


def test_a_load_is_cancelled_when_the_last_waiter_leaves(
    registry: ModelRegistry, loader: FakeLoader
) -> None:
    loader.go.clear()
    with registry.lease(key("a")):
        with registry.lease(key("a")) as second:
            assert isinstance(next(second.wait()), LoadProgress)
        assert not loader.cancelled.wait(0.05), "somebody still waits"
    assert loader.cancelled.wait(PATIENCE)
    assert eventually(lambda: registry.rows() == ())
    loader.go.set()
    use(registry, key("a"))
    assert len(loader.loads) == 2


def test_whoever_comes_after_a_cancelled_load_gets_a_new_one(
    registry: ModelRegistry, loader: FakeLoader
) -> None:
    release = threading.Event()
    stubborn = FakeLoader()

    def slow_to_notice(*args: Any) -> ServedModel:
        if not stubborn.loads:
            stubborn.loads.append((key("a"), None))
            release.wait(PATIENCE)
            raise RuntimeError("cancelled")
        return loader(*args)

    registry = ModelRegistry(slow_to_notice, lambda: 2 * BYTES)
    with registry.lease(key("a")):
        assert eventually(lambda: stubborn.loads)
    threading.Timer(0.1, release.set).start()
    with registry.lease(key("a")) as lease:  # not before the other has given its memory back
        assert release.is_set()
        list(lease.wait())
        assert lease.model.key == key("a")
        assert [r.leases for r in registry.rows()] == [1]


def test_waiting_shows_phase_bytes_and_seconds(
    registry: ModelRegistry, loader: FakeLoader, clock: Clock
) -> None:
    loader.go.clear()
    with registry.lease(key("a")) as lease:
        loader.started.wait(PATIENCE)
        clock.now = 7.0
        progress = next(lease.wait())
        # A quarter took seven seconds.
        assert progress == LoadProgress(
            phase="load",
            done_bytes=50,
            total_bytes=BYTES,
            seconds=7.0,
            seconds_left=21.0,
            bytes_per_second=50 / 7,
        )
        loader.go.set()
        list(lease.wait())
    with registry.lease(key("a")) as again:
        assert list(again.wait()) == []


def test_memory_is_given_back_unless_in_use(registry: ModelRegistry, loader: FakeLoader) -> None:
    loader.nbytes = 1
    with registry.lease(key("a")) as lease:
        list(lease.wait())
        with pytest.raises(InvalidRequestError, match="in use"):
            registry.unload("a")
        assert names(registry) == ["a"]
    use(registry, key("a", Precision.INT8))
    registry.unload("a", Precision.INT8)
    assert [r.precision for r in registry.rows()] == ["bf16"]
    with pytest.raises(InvalidRequestError, match="not loaded"):
        registry.unload("a", Precision.INT8)
    use(registry, key("a", Precision.INT8))
    registry.unload("a")
    assert registry.rows() == ()
    with pytest.raises(InvalidRequestError, match="not loaded"):
        registry.unload("a")


def test_what_was_unloaded_is_freed(registry: ModelRegistry) -> None:
    ref = weakref.ref(use(registry, key("a")).tokenizer)
    registry.unload("a")
    assert ref() is None


def test_rows_count_leases_and_idle_seconds(registry: ModelRegistry, clock: Clock) -> None:
    with registry.lease(key("a")) as lease, registry.lease(key("a")):
        list(lease.wait())
        clock.now = 3.0
        (shown,) = registry.rows()
        assert (shown.leases, shown.idle_seconds) == (2, 0.0)
    clock.now = 10.0
    (shown,) = registry.rows()
    assert (shown.repo_id, shown.precision, shown.revision) == ("a", "bf16", "main")
    assert (shown.leases, shown.idle_seconds, shown.nbytes) == (0, 7.0, BYTES)


def test_requests_of_all_engines_are_counted(registry: ModelRegistry) -> None:
    for name, count in (("a", 2), ("b", 3)):
        engine = use(registry, key(name)).engine
        assert isinstance(engine, IdleEngine)
        engine.requests = count
    assert registry.requests() == 5
