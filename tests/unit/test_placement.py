"""Where the weights go: shares of several GPUs, what may spill over, and what users are told.

No GPU is needed: what the library would do is asked of it, on a model without weights.
"""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig
from transformers.integrations.accelerate import _get_device_map

from gemma_space import memory
from gemma_space.access import Access
from gemma_space.errors import ModelTooLargeError
from gemma_space.memory import BUDGET_SHARE, Device
from gemma_space.model_source import ModelSource
from gemma_space.placement import OFFLOAD_NOTE, arguments, notes
from gemma_space.settings import Settings
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub

GIB = 1 << 30
LAYERS = 26


def gpus(*sizes: int) -> Device:
    return Device("cuda", "GPU", sum(sizes), sizes)


# --- arguments -----------------------------------------------------------------------------------


def test_on_a_cpu_everything_is_on_the_cpu() -> None:
    device = Device("cpu", "CPU", 64 * GIB)
    assert arguments(device, 50 * GIB) == {"device_map": "cpu"}
    assert arguments(device, 50 * GIB, 10 * GIB) == {"device_map": "cpu"}


def test_one_gpu_takes_all_of_it() -> None:
    assert arguments(gpus(24 * GIB), 19 * GIB) == {"device_map": {"": 0}}


def test_several_gpus_share_in_proportion_and_nothing_spills_over() -> None:
    placed = arguments(gpus(80 * GIB, 40 * GIB, 8 * GIB), 64 * GIB)
    assert placed == {
        "device_map": "auto",
        "max_memory": {0: 40 * GIB, 1: 20 * GIB, 2: 4 * GIB, "cpu": 0},
    }


def test_offloading_gives_the_rest_to_the_cpu() -> None:
    placed = arguments(gpus(24 * GIB), 19 * GIB, 50 * GIB)
    assert placed == {"device_map": "auto", "max_memory": {0: 19 * GIB, "cpu": 50 * GIB}}


@pytest.mark.parametrize("cpu_room", [0, 50 * GIB])
def test_a_model_that_fits_one_gpu_is_whole_on_the_roomiest(cpu_room: int) -> None:
    device = gpus(24 * GIB, 48 * GIB, 24 * GIB)
    room = 80 * GIB
    placed = arguments(device, room, cpu_room, needed_bytes=40 * GIB)
    assert placed == {"device_map": {"": 1}}
    assert "max_memory" in arguments(device, room, cpu_room, needed_bytes=40 * GIB + 1)
    taken = (24 * GIB, 20 * GIB, 23 * GIB)
    placed = arguments(device, room, cpu_room, needed_bytes=20 * GIB, free_bytes=taken)
    assert placed == {"device_map": {"": 0}}


def test_what_others_took_of_a_gpu_is_not_given_out_again() -> None:
    device, room = gpus(24 * GIB, 24 * GIB), 40 * GIB  # of each, 4 GiB are to stay free
    for free, shares in (((24, 24), (20, 20)), ((14, 24), (10, 20)), ((3, 5), (0, 1))):
        left = tuple(gib * GIB for gib in free)
        placed = arguments(device, room, needed_bytes=100 * GIB, free_bytes=left)
        assert placed["max_memory"] == {0: shares[0] * GIB, 1: shares[1] * GIB, "cpu": 0}


@settings(max_examples=60)
@given(st.data(), st.lists(st.integers(1, 200 * GIB), min_size=2, max_size=6))
def test_shares_stay_within_the_room_and_within_each_gpu(data: Any, sizes: list[int]) -> None:
    room = data.draw(st.integers(0, 2 * sum(sizes)))
    beside = data.draw(st.integers(0, 500 * GIB))
    free = data.draw(st.tuples(*(st.integers(0, size) for size in sizes)))
    empty = arguments(gpus(*sizes), room, beside)["max_memory"]
    full = arguments(gpus(*sizes), room, beside, free_bytes=free)["max_memory"]
    for placed in (empty, full):
        assert placed.pop("cpu") == beside
        assert list(placed) == list(range(len(sizes)))
        assert sum(placed.values()) <= room
    assert all(0 <= full[gpu] <= empty[gpu] <= own for gpu, own in enumerate(sizes))
    assert all(full[gpu] <= left for gpu, left in enumerate(free))
    if room <= sum(sizes):
        assert sum(empty.values()) >= room - len(sizes), "and nothing of it is given away"


# --- the deployer's choices ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "share"),
    [({}, round(24 * GIB * BUDGET_SHARE)), ({"memory_budget": 40 * GIB}, 20 * GIB)],
    ids=["of the machine", "as named"],
)
@pytest.mark.parametrize("offload", [False, True])
def test_offloading_changes_nothing_about_the_gpus_shares(
    monkeypatch: pytest.MonkeyPatch,
    checkpoints: Checkpoints,
    chosen: dict[str, Any],
    share: int,
    offload: bool,
) -> None:
    """What may go to the CPU is no room on a GPU, where conversations and activations live."""
    from gemma_space import loading

    seen: list[Any] = []

    def loads(*args: Any, place: Any, **kwargs: Any) -> Any:
        seen.append(place)
        raise InterruptedError

    monkeypatch.setattr(memory, "probe_device", lambda: gpus(24 * GIB, 24 * GIB))
    monkeypatch.setattr(Device, "gpu_free_bytes", lambda device: device.gpu_bytes)
    monkeypatch.setattr(memory, "machine_total_bytes", lambda: 200 * GIB)
    monkeypatch.setattr(memory, "needs", lambda *row: memory.Needs(100 * GIB, 0, 0))
    monkeypatch.setattr(loading, "load", loads)

    def unheard(phase: object, done_bytes: int, total_bytes: int, note: str = "") -> None:
        return

    wanted = Settings.model_validate({"cpu_offload": offload, **chosen})
    source = ModelSource(Access(probe=no_hub), wanted)
    with pytest.raises(InterruptedError):
        source.load(tiny_key(checkpoints), None, unheard, lambda: False, None)
    beside = int(200 * GIB * BUDGET_SHARE) if offload else 0
    assert seen[0]["max_memory"]["cpu"] == beside
    for gpu in (0, 1):
        assert seen[0]["max_memory"][gpu] == pytest.approx(share, abs=2)


def tiny_key(checkpoints: Checkpoints) -> Any:
    from gemma_space.lease import ModelKey
    from gemma_space.local_checkpoint import local_checkpoint
    from gemma_space.types import Precision

    row = local_checkpoint(checkpoints.folder(tiny.GEMMA_1))
    return ModelKey(row, "local", Precision.BF16)


# --- what the library does with them -------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Any:
    """A Gemma 3 1B in bf16 without its weights: 2 GB."""
    config = Gemma3TextConfig(
        vocab_size=262_144, hidden_size=1152, intermediate_size=6912, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=1, head_dim=256,
    )  # fmt: skip
    with torch.device("meta"):
        model: Any = Gemma3ForCausalLM(config)
        return model.to(torch.bfloat16)


def spread(model: Any, device: Device, room: int, beside: int = 0) -> dict[str, Any]:
    """Where the library would put each part, given our arguments."""
    placed = arguments(device, room, beside)
    return _get_device_map(model, placed["device_map"], placed["max_memory"], None)


def bytes_on(model: Any, device_map: dict[str, Any], place: Any) -> int:
    return sum(
        weight.nbytes
        for name, weight in model.named_parameters()
        if any(
            where == place and f"{name}.".startswith(f"{part}.")
            for part, where in device_map.items()
        )
    )


def layers_on(device_map: dict[str, Any]) -> dict[Any, int]:
    found = [device_map[f"model.layers.{i}"] for i in range(LAYERS)]
    return {place: found.count(place) for place in set(found)}


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4), (4, 2)], ids=str)
def test_with_room_enough_a_model_is_spread_over_the_gpus_and_over_nothing_else(
    model: Any, sizes: tuple[int, ...]
) -> None:
    device = gpus(*(size * GIB for size in sizes))
    room = int(device.total_bytes * BUDGET_SHARE)
    device_map = spread(model, device, room)
    assert set(layers_on(device_map)) == set(device_map.values()) == {0, 1}
    for gpu, own in enumerate(device.gpu_bytes):
        assert bytes_on(model, device_map, gpu) <= own * BUDGET_SHARE + 1
    assert notes(device_map, "Gemma") == ()


def test_without_room_enough_it_is_refused_not_run_from_the_disk(model: Any) -> None:
    device_map = spread(model, gpus(GIB, GIB), GIB)
    assert "disk" in device_map.values()
    assert "cpu" not in device_map.values()
    with pytest.raises(ModelTooLargeError, match="Gemma does not fit into the GPUs' memory"):
        notes(device_map, "Gemma")


def test_where_it_is_allowed_the_rest_runs_on_the_cpu_and_users_are_told(model: Any) -> None:
    device_map = spread(model, gpus(2 * GIB), GIB, 4 * GIB)
    assert set(layers_on(device_map)) == {0, "cpu"}
    assert notes(device_map, "Gemma") == (OFFLOAD_NOTE,)
    everything = spread(model, gpus(4 * GIB), 3 * GIB, 4 * GIB)
    assert set(everything.values()) == {0}
    assert notes(everything, "Gemma") == ()


@pytest.mark.filterwarnings("ignore")
def test_a_model_left_on_the_disk_is_refused_as_the_library_reports_it(
    checkpoints: Checkpoints,
) -> None:
    folder = checkpoints.folder(tiny.GEMMA_3)
    parts = {"model.embed_tokens": "cpu", "model.norm": "cpu", "lm_head": "cpu",
             "model.rotary_emb": "cpu", "model.layers": "disk"}  # fmt: skip
    model: Any = AutoModelForCausalLM.from_pretrained(folder, device_map=parts)
    with pytest.raises(ModelTooLargeError):
        notes(model.hf_device_map, "Gemma")


# --- notes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "device_map",
    [None, {}, {"": 0}, {"": "cpu"}, {"": "cuda:0"}, {"": torch.device("cuda", 0)},
     {"a": 0, "b": 1}, {"a": torch.device("cpu")}],
    ids=str,
)  # fmt: skip
def test_a_model_in_one_kind_of_memory_needs_no_note(device_map: dict[str, Any] | None) -> None:
    assert notes(device_map, "Gemma") == ()


@pytest.mark.parametrize(
    ("gpu", "cpu"),
    [*itertools.product((0, "cuda:1", torch.device("cuda", 0)), ("cpu", torch.device("cpu")))],
    ids=str,
)
def test_a_model_in_both_kinds_of_memory_says_that_it_is_slow(gpu: Any, cpu: Any) -> None:
    assert notes({"a": gpu, "b": cpu}, "Gemma") == (OFFLOAD_NOTE,)


def test_the_disk_is_refused_even_beside_the_cpu() -> None:
    with pytest.raises(ModelTooLargeError) as caught:
        notes({"a": 0, "b": "cpu", "c": "disk"}, "Gemma 3 1B in bf16")
    assert caught.value.message == "Gemma 3 1B in bf16 does not fit into the GPUs' memory."
    assert caught.value.hint
