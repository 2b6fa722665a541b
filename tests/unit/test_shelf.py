"""What visitors type: a repository or a folder becomes a row, without a look at its weights.

The real client against a Hub on the loopback interface, which logs what it was asked.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_space import local_checkpoint
from gemma_space.access import Access
from gemma_space.catalog import GREEDY, Checkpoint, KVGroup, Linears, hub_catalog
from gemma_space.errors import AccessDeniedError, ModelNotFoundError
from gemma_space.memory import adapter_bytes, weights_bytes
from gemma_space.shelf import Shelf, served_checkpoints
from gemma_space.types import Precision
from tests import stand_in_hub, tiny_adapters
from tests import tiny_checkpoints as tiny
from tests.stand_in_hub import COMMIT, GOOD, StandInHub
from tests.tiny_checkpoints import Checkpoints, no_hub

PEFT = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
HEADER = 100_001  # what the client asks for first of each safetensors file
GATED = next(row for row in hub_catalog() if row.repo_id == "google/gemma-3-270m-it")
SAMPLED = {"temperature": 1.0, "top_k": 64, "top_p": 0.95}
WINDOWED = tiny.SLIDING_WINDOW
# By hand from the tiny architectures: context, what ends a reply, sampling, the cache's layers.
FACTS: dict[str, tuple[int, tuple[int, ...], dict[str, float], set[KVGroup]]] = {
    "gemma1": (512, (1,), GREEDY, {KVGroup(6, 2, 32)}),
    "gemma3": (8192, (1, 106), SAMPLED, {KVGroup(5, 2, 32, WINDOWED), KVGroup(1, 2, 32)}),
    "gemma3-multimodal": (
        2048, (1, 106), SAMPLED, {KVGroup(5, 2, 32, WINDOWED), KVGroup(1, 2, 32)},
    ),
    "gemma4": (2048, (1, 106, 50), SAMPLED, {KVGroup(2, 2, 32, WINDOWED), KVGroup(2, 2, 64)}),
}  # fmt: skip
TYPED = (tiny.GEMMA_1, tiny.GEMMA_3, tiny.GEMMA_3_MULTIMODAL, tiny.GEMMA_4)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    with stand_in_hub.in_place(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.fixture
def shelf() -> Shelf:
    """The demo is listed; anything else may be typed."""
    return Shelf((local_checkpoint.demo(),), Access(), takes_any=True)


@pytest.fixture(scope="module")
def gemma_3(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(tiny.GEMMA_3)


@pytest.fixture(scope="module")
def voice(checkpoints: Checkpoints, gemma_3: Path) -> Path:
    return checkpoints.variant("voice", lambda path: tiny_adapters.write(gemma_3, path))


def naming(base: str, voice: Path, path: Path) -> Path:
    """A copy of an adapter that names another base."""
    shutil.copytree(voice, path)
    told = json.loads((path / "adapter_config.json").read_text())
    told["base_model_name_or_path"] = base
    (path / "adapter_config.json").write_text(json.dumps(told))
    return path


def linears_of(model: Any) -> Linears:
    found = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head")
    ]
    rows = sum(weight.shape[0] for weight in found)
    return Linears(sum(weight.numel() for weight in found), rows, len(found))


def lora_parameters(folder: Path) -> int:
    from safetensors.torch import load_file

    return sum(t.numel() for t in load_file(folder / "adapter_model.safetensors").values())


# --- listed --------------------------------------------------------------------------------------


def test_listed_names_are_found_as_they_are_and_ask_nobody(gemma_3: Path) -> None:
    rows = (local_checkpoint.demo(), GATED, local_checkpoint.local_checkpoint(gemma_3))
    for takes_any in (True, False):
        shelf = Shelf(rows, Access(probe=no_hub), takes_any)
        assert shelf.rows() == rows
        for row in rows:
            assert shelf.find(row.repo_id) is row
            assert shelf.find(f"  {row.repo_id}\n") is row


def test_a_name_of_the_catalogue_that_is_not_listed_may_be_typed_and_asks_nobody() -> None:
    shelf = Shelf((local_checkpoint.demo(),), Access(probe=no_hub), takes_any=True)
    assert shelf.find(GATED.repo_id) == GATED
    assert [row.repo_id for row in shelf.rows()] == ["gemma-space/demo"]


# --- repositories --------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", TYPED, ids=lambda t: t.name)
def test_a_typed_repository_is_described_exactly_by_its_small_files_and_headers(
    stand_in: StandInHub, shelf: Shelf, checkpoints: Checkpoints, checkpoint: tiny.Tiny
) -> None:
    folder = checkpoints.folder(checkpoint)
    name = stand_in.add("someone/My-Gemma.v2", folder, license="apache-2.0")
    row = shelf.find(f" {name}\n")
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    context, stop_ids, sampling, kv = FACTS[checkpoint.name]
    assert (row.repo_id, row.title, row.family) == (name, "My-Gemma.v2", checkpoint.family)
    assert row.parameters == sum(weight.numel() for weight in model.parameters())
    assert row.linears == linears_of(model)
    assert (row.context_length, row.stop_ids, row.sampling) == (context, stop_ids, sampling)
    assert set(row.kv) == kv
    assert (row.variant, row.license, row.gated) == ("instruct", "apache-2.0", False)
    assert (row.path, row.base, row.revision, row.left_out) == (None, None, "main", 0)
    assert (Precision.FP16 in row.precisions) is (checkpoint.family == "gemma1")


def test_no_weights_are_asked_for_to_describe_a_repository(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path
) -> None:
    whole = (gemma_3 / "model.safetensors").stat().st_size
    assert whole > 8 * HEADER
    shelf.find(stand_in.add("someone/small", gemma_3))
    assert 0 < stand_in.sent(".safetensors") <= HEADER
    assert stand_in.sent("tokenizer.json") == 0
    assert {token for _, _, token in stand_in.requests} == {None}


def test_a_gated_repository_is_found_by_who_may_see_it(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path
) -> None:
    name = stand_in.add("someone/guarded", gemma_3, gated=True)
    row = shelf.find(name, GOOD)
    assert (row.gated, row.license) == (True, "gemma")
    assert {token for _, _, token in stand_in.requests} == {GOOD}


def test_a_repository_that_was_found_is_known_without_asking(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path
) -> None:
    row = shelf.find(stand_in.add("someone/again", gemma_3))
    asked = len(stand_in.requests)
    assert shelf.find("someone/again") is row
    assert len(stand_in.requests) == asked > 0


def test_what_was_typed_is_listed_to_nobody(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path
) -> None:
    stand_in.private.add(stand_in.add("someone/secret", gemma_3))
    with pytest.raises(AccessDeniedError) as caught:
        shelf.find("someone/secret")
    assert caught.value.verdict == "repo_missing"
    assert shelf.find("someone/secret", GOOD).repo_id == "someone/secret"
    assert [row.repo_id for row in shelf.rows()] == ["gemma-space/demo"]


def test_a_private_repository_counts_as_gated(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path
) -> None:
    """Else it would be given to everybody as soon as the Hub cannot be asked."""
    stand_in.private.add(stand_in.add("someone/secret", gemma_3))
    assert shelf.find("someone/secret", GOOD).gated


def test_names_that_were_typed_are_not_kept_without_end(
    shelf: Shelf, gemma_3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma_space.shelf.MAX_FOUND", 2)
    for number in range(5):
        link = tmp_path / str(number)
        link.symlink_to(gemma_3)
        shelf.find(str(link))
        assert len(shelf._found) <= 2


# --- adapters ------------------------------------------------------------------------------------


@PEFT
def test_a_typed_adapter_repository_stands_on_the_base_that_is_served(
    stand_in: StandInHub, voice: Path, tmp_path: Path
) -> None:
    shelf = Shelf((GATED,), Access(), takes_any=True)
    name = stand_in.add("someone/voice", naming(GATED.repo_id, voice, tmp_path / "v"))
    row = shelf.find(name)
    assert row.base is shelf.find(GATED.repo_id)
    assert (row.variant, row.repo_id, row.path) == ("adapter", name, None)
    own = lora_parameters(voice)
    assert row.parameters == GATED.parameters + own
    assert adapter_bytes(row, Precision.BF16) == 2 * own
    assert weights_bytes(row, Precision.BF16) == weights_bytes(GATED, Precision.BF16) + 2 * own
    assert (row.context_length, row.kv, row.license) == (
        GATED.context_length, GATED.kv, GATED.license,
    )  # fmt: skip
    assert not [path for _, path, _ in stand_in.requests if GATED.repo_id in path]


@PEFT
def test_a_typed_adapter_of_a_typed_base_shares_it(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path, voice: Path, tmp_path: Path
) -> None:
    base = stand_in.add("someone/base", gemma_3)
    first = shelf.find(stand_in.add("someone/one", naming(base, voice, tmp_path / "1")))
    second = shelf.find(stand_in.add("someone/two", naming(base, voice, tmp_path / "2")))
    assert first.base is second.base is shelf.find(base)
    assert stand_in.sent("model.safetensors") <= 3 * HEADER


@PEFT
def test_an_adapter_that_is_gated_stays_gated_on_an_open_base(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path, voice: Path, tmp_path: Path
) -> None:
    base = stand_in.add("someone/base", gemma_3)
    name = stand_in.add("someone/voice", naming(base, voice, tmp_path / "v"), gated=True)
    assert shelf.find(name, GOOD).gated


# --- folders -------------------------------------------------------------------------------------


def test_a_typed_folder_is_read_where_it_is(
    shelf: Shelf, gemma_3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = shelf.find(str(gemma_3))
    assert row == local_checkpoint.local_checkpoint(gemma_3)
    monkeypatch.setenv("HOME", str(gemma_3.parent))
    at_home = shelf.find(f"~/{gemma_3.name}")
    assert (at_home.repo_id, at_home.path) == (f"~/{gemma_3.name}", gemma_3)
    monkeypatch.chdir(gemma_3.parent)
    assert shelf.find(f"./{gemma_3.name}").parameters == row.parameters


@PEFT
def test_a_typed_folder_may_hold_an_adapter(shelf: Shelf, gemma_3: Path, voice: Path) -> None:
    row = shelf.find(str(voice))
    assert (row.variant, row.path) == ("adapter", voice)
    assert row.base is shelf.find(str(gemma_3))


# --- the allow-list ------------------------------------------------------------------------------


def test_a_served_name_may_be_a_repository_that_the_catalogue_does_not_know(
    stand_in: StandInHub, gemma_3: Path
) -> None:
    name = stand_in.add("someone/tuned", gemma_3, gated=True)
    rows = served_checkpoints([name, "gemma-space/demo", GATED.repo_id], Access(), GOOD)
    assert [row.repo_id for row in rows] == [name, "gemma-space/demo", GATED.repo_id]
    assert rows[0].gated
    with pytest.raises(AccessDeniedError, match="gated"):
        served_checkpoints([name], Access())


def test_the_repositories_that_a_deployer_does_not_list_are_not_served(
    stand_in: StandInHub, gemma_3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked, and no folder is looked at."""

    def looked(path: Path) -> bool:
        raise AssertionError(f"{path} was looked at")

    shelf = Shelf((GATED,), Access(), takes_any=False)
    name = stand_in.add("someone/open", gemma_3)
    other = hub_catalog()[1].repo_id
    with monkeypatch.context() as patch:
        for method in ("is_dir", "exists", "expanduser", "open", "stat"):
            patch.setattr(Path, method, looked)
        for typed in (name, other, str(gemma_3), "~/x", ".", "", None, 5, ["x"], {"a": 1}):
            with pytest.raises(ModelNotFoundError, match="There is no model") as caught:
                shelf.find(typed, GOOD)
            assert GATED.repo_id in caught.value.hint
    assert stand_in.requests == []


def test_rows_of_typed_repositories_know_their_commit(stand_in: StandInHub, gemma_3: Path) -> None:
    access = Access()
    row: Checkpoint = Shelf((GATED,), access, True).find(stand_in.add("someone/x", gemma_3))
    assert access.last_commit(row) == COMMIT
