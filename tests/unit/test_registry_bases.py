"""The registry beyond one model: adapters on a base, idle time, a machine that is full."""

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from gemma_space.catalog import KVGroup
from gemma_space.errors import LoadError, ModelTooLargeError
from gemma_space.lease import ModelKey, Report, ServedModel
from gemma_space.registry import ModelRegistry
from gemma_space.reports import LoadProgress
from gemma_space.types import Attention, Precision
from tests.unit.test_registry import (
    BYTES,
    PATIENCE,
    Clock,
    FakeLoader,
    eventually,
    key,
    names,
    row,
    use,
)

ADAPTER_BYTES = 20


class BaseLoader(FakeLoader):
    """Also remembers the base each adapter was given, and which were taken off."""

    def __init__(self) -> None:
        super().__init__()
        self.bases: list[ServedModel | None] = []
        self.closed: list[str] = []

    def __call__(
        self,
        key: ModelKey,
        token: str | None,
        report: Report,
        cancelled: Callable[[], bool],
        base: ServedModel | None,
    ) -> ServedModel:
        self.bases.append(base)
        served = super().__call__(key, token, report, cancelled, base)
        name = key.checkpoint.repo_id
        nbytes = ADAPTER_BYTES if base else self.nbytes
        return replace(served, nbytes=nbytes, close=lambda: self.closed.append(name))


@pytest.fixture
def loader() -> BaseLoader:
    return BaseLoader()


def adapter(name: str, base: ModelKey) -> ModelKey:
    checkpoint = replace(
        row(name), base=base.checkpoint, parameters=base.checkpoint.parameters + ADAPTER_BYTES // 2
    )
    return ModelKey(checkpoint, "main", base.precision, base.attention, base)


def registry_of(loader: FakeLoader, nbytes: int, clock: Clock | None = None) -> ModelRegistry:
    return ModelRegistry(loader, lambda: nbytes, clock=clock or Clock())


def test_adapters_stand_on_one_base(loader: BaseLoader) -> None:
    registry = registry_of(loader, 3 * BYTES)
    base = key("base")
    models = [use(registry, adapter(name, base)) for name in ("x", "y", "x")]
    assert [k.checkpoint.repo_id for k, _ in loader.loads] == ["base", "x", "y"]
    assert names(registry) == ["base", "x", "y"]
    served = use(registry, base)
    assert loader.bases == [None, served, served]
    assert models[0] is models[2]
    assert [r.nbytes for r in registry.rows()] == [BYTES, ADAPTER_BYTES, ADAPTER_BYTES]


def test_other_attention_is_another_model(loader: BaseLoader) -> None:
    registry = registry_of(loader, 9 * BYTES)
    eager = replace(key("a"), attention=Attention.EAGER)
    assert use(registry, key("a")) is not use(registry, eager)
    assert len(loader.loads) == 2


def test_waiting_for_an_adapter_shows_its_base_on_the_way(loader: BaseLoader) -> None:
    registry = registry_of(loader, 3 * BYTES)
    loader.go.clear()
    with registry.lease(adapter("x", key("base"))) as lease:
        steps = lease.wait()
        assert loader.started.wait(PATIENCE)
        assert next(steps) == LoadProgress(
            phase="load", done_bytes=50, total_bytes=BYTES, seconds=0.0
        )
        loader.go.set()
        list(steps)
    assert names(registry) == ["base", "x"]


def test_an_adapter_in_use_keeps_its_base_in_memory(loader: BaseLoader) -> None:
    registry = registry_of(loader, 2 * BYTES + ADAPTER_BYTES)
    with registry.lease(adapter("x", key("base"))) as lease:
        list(lease.wait())
        use(registry, key("b"))
        use(registry, key("c"))
        assert names(registry) == ["base", "x", "c"]
        (shown, *_) = registry.rows()
        assert (shown.repo_id, shown.leases, shown.idle_seconds) == ("base", 0, 0.0)


def test_idle_adapters_leave_before_their_base_and_are_taken_off(loader: BaseLoader) -> None:
    clock = Clock()
    registry = registry_of(loader, 2 * BYTES + 2 * ADAPTER_BYTES, clock)
    for clock.now, name in enumerate(("x", "y"), start=1):
        use(registry, adapter(name, key("base")))
    clock.now = 3.0
    use(registry, key("b"))
    loader.nbytes = BYTES
    # Room for another adapter on b: the oldest adapter is enough.
    clock.now = 4.0
    use(registry, adapter("z", key("b")))
    assert names(registry) == ["base", "y", "b", "z"]
    assert loader.closed == ["x"]
    # Room for a whole model: the old base leaves with all that stands on it, as one.
    clock.now = 5.0
    use(registry, key("c"))
    assert names(registry) == ["b", "z", "c"]


def test_a_failing_adapter_leaves_its_base(loader: BaseLoader) -> None:
    registry = registry_of(loader, 3 * BYTES)
    use(registry, key("base"))
    loader.fail = LoadError("It does not match.", "Take another.")
    with pytest.raises(LoadError, match="match"):
        use(registry, adapter("x", key("base")))
    assert names(registry) == ["base"]
    loader.fail = None
    use(registry, adapter("x", key("base")))
    registry.unload("base")
    assert names(registry) == []


def test_a_base_that_fails_is_what_the_adapters_users_are_told(loader: BaseLoader) -> None:
    registry = registry_of(loader, 3 * BYTES)
    loader.fail = LoadError("The files are damaged.", "Get them again.")
    with pytest.raises(LoadError, match="damaged"):
        use(registry, adapter("x", key("base")))
    assert registry.rows() == ()
    assert len(loader.loads) == 1


def test_leaving_while_the_base_loads_cancels_it_unless_somebody_else_waits(
    loader: BaseLoader,
) -> None:
    registry = registry_of(loader, 3 * BYTES)
    loader.go.clear()
    base = key("base")
    with registry.lease(base):
        with registry.lease(adapter("x", base)):
            assert loader.started.wait(PATIENCE)
        assert not loader.cancelled.wait(0.05)
        with registry.lease(adapter("y", base)) as lease:
            loader.go.set()
            list(lease.wait())
    assert names(registry) == ["base", "y"]
    registry.unload("base")
    loader.go.clear()
    with registry.lease(adapter("x", base)):
        pass
    assert loader.cancelled.wait(PATIENCE)
    assert eventually(lambda: registry._entries == {})


def test_a_model_that_goes_again_is_never_shown(loader: BaseLoader) -> None:
    """Everybody left while its load was coming to its end."""
    measuring, measured = threading.Event(), threading.Event()

    class Measured:
        def __init__(self, served: ServedModel) -> None:
            self._served = served

        def __getattr__(self, name: str) -> Any:
            if name == "nbytes":
                measuring.set()
                assert measured.wait(PATIENCE)
            return getattr(self._served, name)

    registry = ModelRegistry(
        lambda *given: cast(ServedModel, Measured(loader(*given))), lambda: BYTES, clock=Clock()
    )
    with registry.lease(key("a")):
        assert measuring.wait(PATIENCE)
    try:
        assert names(registry) == []
        assert not registry.holds(key("a"))
    finally:
        measured.set()
    use(registry, key("a"))  # waits until the first is gone: there is no room for two
    assert names(registry) == ["a"]
    assert len(loader.loads) == 2


def test_ten_visitors_see_the_progress_of_one_load(loader: BaseLoader) -> None:
    registry = registry_of(loader, 3 * BYTES)
    loader.go.clear()
    seen: list[LoadProgress] = []

    def visit() -> None:
        with registry.lease(key("a")) as lease:
            seen.append(next(lease.wait()))

    with registry.lease(key("a")) as lease:
        assert loader.started.wait(PATIENCE)
        visitors = [threading.Thread(target=visit) for _ in range(10)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join(PATIENCE)
        loader.go.set()
        list(lease.wait())
    assert [step.done_bytes for step in seen] == [50] * 10
    assert len(loader.loads) == 1


def test_what_is_idle_too_long_leaves_by_itself(loader: BaseLoader) -> None:
    registry = ModelRegistry(loader, lambda: 9 * BYTES, idle_seconds=0.2)
    with registry.lease(key("busy")) as lease:
        list(lease.wait())
        with registry.lease(adapter("x", key("base"))) as other:
            list(other.wait())
            assert names(registry) == ["busy", "base", "x"]
        assert eventually(lambda: names(registry) == ["busy"])
        time.sleep(0.3)
        assert names(registry) == ["busy"], "what is in use is not idle"
    assert eventually(lambda: names(registry) == [])
    use(registry, key("again"))
    assert eventually(lambda: names(registry) == [])


def test_without_idle_time_models_stay(loader: BaseLoader) -> None:
    registry = ModelRegistry(loader, lambda: 9 * BYTES)
    use(registry, key("a"))
    assert not registry._watching


def test_a_machine_that_is_full_refuses_although_the_budget_would_not(
    loader: BaseLoader,
) -> None:
    free = 3 * BYTES
    registry = ModelRegistry(loader, lambda: 9 * BYTES, lambda: free)
    use(registry, key("a"))
    free = BYTES // 2  # somebody else's program grew
    with registry.lease(key("a")) as lease:
        list(lease.wait())
        with pytest.raises(ModelTooLargeError, match="0 KiB left at the moment"):
            use(registry, key("b"))
    use(registry, key("b"))  # with a idle, its memory counts as room
    assert names(registry) == ["b"]


def test_room_is_foretold_and_nothing_happens(loader: BaseLoader) -> None:
    registry = registry_of(loader, 2 * BYTES)
    for name in ("a", "b"):
        use(registry, key(name))
    room = registry.room(key("c"))
    assert (room.fits, [k.checkpoint.repo_id for k in room.evict]) == (True, ["a"])
    assert registry.room(key("a")).needed_bytes == 0
    assert registry.holds(key("a"))
    assert not registry.holds(key("c"))
    assert not registry.holds(key("a", Precision.INT4))
    assert names(registry) == ["a", "b"]
    assert len(loader.loads) == 2


def test_an_error_holds_no_frames_and_no_half_a_model(loader: BaseLoader) -> None:
    registry = registry_of(loader, 2 * BYTES)
    loader.fail = RuntimeError("cannot")
    with registry.lease(key("a")) as lease, pytest.raises(LoadError) as caught:
        list(lease.wait())
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert "__call__" not in [frame.name for frame in frames]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_models_conversation_counts_beside_its_weights(loader: BaseLoader) -> None:
    small = replace(row("a"), kv=(), context_length=8)
    with_cache = replace(small, kv=(KVGroup(layers=1, kv_heads=1, head_dim=4),))
    needed = registry_of(loader, 10**9).room(ModelKey(with_cache, "main", Precision.BF16))
    plain = registry_of(loader, 10**9).room(ModelKey(small, "main", Precision.BF16))
    assert needed.needed_bytes - plain.needed_bytes == 2 * 1 * 1 * 4 * 2 * 8
