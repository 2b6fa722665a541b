"""What would fit is said before anything is loaded: figures, reasons, who would leave.

On real tiny checkpoints in folders; the budget is set in bytes of what they need.
"""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.errors import ModelTooLargeError
from gemma_space.library import Library
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.memory import adapter_bytes, needs, show_bytes, show_needs
from gemma_space.model_source import KEPT_TOKENIZERS, ModelSource
from gemma_space.playground import Playground
from gemma_space.reports import Fit
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.types import Precision
from tests import tiny_adapters
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub
from tests.unit.test_shelf import PEFT

FP32, BF16, FP16 = Precision.FP32, Precision.BF16, Precision.FP16
INT8, INT4, AUTO = Precision.INT8, Precision.INT4, Precision.AUTO
SLACK = 4096  # a loaded model has a few tables that no file lists


@pytest.fixture(scope="module")
def gemma_1(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(tiny.GEMMA_1)


@pytest.fixture(scope="module")
def gemma_3(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(tiny.GEMMA_3)


@pytest.fixture(scope="module")
def voice(checkpoints: Checkpoints, gemma_3: Path) -> Path:
    return checkpoints.variant("voice", lambda path: tiny_adapters.write(gemma_3, path))


@dataclass
class Machine:
    """What nobody has taken of its memory."""

    free: int = 1 << 40


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    monkeypatch.setattr(ModelSource, "free", lambda source: found.free)
    return found


def serving(*folders: Path, budget: int | None = None) -> Library:
    rows = served_checkpoints([str(folder) for folder in folders])
    settings = Settings.model_validate({"memory_budget": budget})
    return Playground(rows, Access(probe=no_hub), settings).library


def whole(folder: Path, precision: Precision) -> int:
    """What a checkpoint takes of the budget, its conversation included."""
    return needs(local_checkpoint(folder), precision).total_bytes


def fit(library: Library, folder: Path, wanted: Precision) -> Fit:
    return library.fit(library.find(str(folder)), wanted)


def load(library: Library, folder: Path, precision: Precision) -> None:
    *_, last = library.load(str(folder), str(precision))
    assert last.phase == "ready"


@contextmanager
def using(library: Library, folder: Path, precision: Precision) -> Iterator[None]:
    with library.lease(library.find(str(folder)), precision, None) as (lease, _):
        list(lease.wait())
        yield


def loaded(library: Library) -> list[str]:
    """Titles of what is in memory, as evictions name them."""
    return [
        f"{library.find(row.repo_id).title} in {row.precision}" for row in library.status().loaded
    ]


# --- one model -----------------------------------------------------------------------------------


def test_with_nothing_loaded_a_fit_says_what_it_takes(gemma_3: Path) -> None:
    budget = whole(gemma_3, FP32)
    library = serving(gemma_3, budget=budget)
    needed = needs(local_checkpoint(gemma_3), BF16)
    assert needed.kv_bytes > 0
    assert fit(library, gemma_3, BF16) == Fit(
        precision=BF16, weights_bytes=needed.weights_bytes, kv_bytes=needed.kv_bytes,
        tokens=8192, budget_bytes=budget, taken_bytes=0, loaded=False, fits=True,
    )  # fmt: skip
    assert fit(library, gemma_3, FP32).fits, "to the byte"
    assert loaded(library) == [], "asking loads nothing"


def test_a_fit_knows_what_is_loaded(gemma_3: Path) -> None:
    library = serving(gemma_3, budget=2 * whole(gemma_3, BF16))
    load(library, gemma_3, BF16)
    found = fit(library, gemma_3, BF16)
    assert (found.loaded, found.fits, found.evicts, found.reason) == (True, True, (), "")
    assert found.taken_bytes == pytest.approx(whole(gemma_3, BF16), abs=SLACK)
    assert fit(library, gemma_3, AUTO).loaded
    assert not fit(library, gemma_3, INT8).loaded
    library.unload(str(gemma_3))
    assert not fit(library, gemma_3, BF16).loaded


def test_what_is_loaded_or_on_its_way_fits_however_little_is_left(
    gemma_3: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half loaded it has taken the memory that it is counted with."""
    library = serving(gemma_3, budget=whole(gemma_3, BF16))
    loads, seen = ModelSource.load, []

    def watched(source: ModelSource, *arguments: Any) -> Any:
        machine.free = 1000
        seen.append(fit(library, gemma_3, BF16))
        return loads(source, *arguments)

    monkeypatch.setattr(ModelSource, "load", watched)
    library = serving(gemma_3, budget=whole(gemma_3, BF16))
    load(library, gemma_3, BF16)
    seen += [fit(library, gemma_3, BF16), fit(library, gemma_3, AUTO)]
    assert [(f.precision, f.fits, f.reason) for f in seen] == 3 * [(BF16, True, "")]
    load(library, gemma_3, AUTO)
    assert loaded(library) == ["gemma3 in bf16"]


def test_too_large_comes_with_figures_and_with_what_would_fit(gemma_3: Path) -> None:
    budget = whole(gemma_3, BF16) - 1
    found = fit(serving(gemma_3, budget=budget), gemma_3, BF16)
    needed = needs(local_checkpoint(gemma_3), BF16)
    assert (found.fits, found.loaded, found.evicts) == (False, False, ())
    assert found.instead == (INT8, INT4)
    assert found.reason == (
        f"It needs {show_needs(needed)}; the memory budget is {show_bytes(budget)}."
    )
    nothing = fit(serving(gemma_3, budget=1000), gemma_3, BF16)
    assert (nothing.fits, nothing.instead) == (False, ())
    assert nothing.reason.endswith("the memory budget is 1 KiB.")


def test_a_refused_precision_has_its_own_reason_and_what_would_fit(gemma_3: Path) -> None:
    found = fit(serving(gemma_3), gemma_3, FP16)
    assert (found.precision, found.fits, found.instead) == (FP16, False, (BF16, INT8, INT4))
    assert found.reason == "Gemma 3 overflows in fp16 and gives empty or broken text; use bf16."
    tight = fit(serving(gemma_3, budget=whole(gemma_3, INT8)), gemma_3, FP16)
    assert tight.instead == (INT8, INT4)


def test_auto_says_what_it_becomes_and_why(gemma_3: Path) -> None:
    found = fit(serving(gemma_3), gemma_3, AUTO)
    assert (found.precision, found.note, found.fits) == (BF16, "", True)
    budget = whole(gemma_3, BF16) - 1
    found = fit(serving(gemma_3, budget=budget), gemma_3, AUTO)
    assert (found.precision, found.fits, found.reason) == (INT8, True, "")
    assert found.note.startswith("auto chose int8, because bf16 does not fit: It needs ")
    assert f"the memory budget is {show_bytes(budget)}." in found.note
    nothing = fit(serving(gemma_3, budget=1000), gemma_3, AUTO)
    assert (nothing.fits, nothing.instead) == (False, ())
    assert nothing.reason


def test_quantized_files_have_one_precision(gemma_3: Path) -> None:
    library = serving(gemma_3, budget=1000)
    row: Checkpoint = replace(library.find(str(gemma_3)), precisions=(INT8,), quantization="int8")
    found = library.fit(row, BF16)
    assert found.reason == "Its files are quantized to int8; no other precision exists."
    assert found.instead == ()
    assert library.fit(row, AUTO).precision is INT8


def test_the_machine_may_have_less_left_than_the_budget(gemma_3: Path, machine: Machine) -> None:
    left = machine.free = whole(gemma_3, INT8) + 1
    library = serving(gemma_3, budget=1 << 30)
    found = fit(library, gemma_3, BF16)
    assert (found.fits, found.instead, found.budget_bytes) == (False, (INT8, INT4), left)
    assert found.reason.endswith(f"this machine has {show_bytes(left)} left at the moment.")
    with pytest.raises(ModelTooLargeError, match="this machine has"):
        load(library, gemma_3, BF16)
    load(library, gemma_3, AUTO)
    assert loaded(library) == ["gemma3 in int8"]
    needed = needs(local_checkpoint(gemma_3), BF16)
    machine.free = needed.total_bytes + needed.kv_bytes + SLACK  # beside the int8's conversation
    assert fit(library, gemma_3, BF16).evicts == (), "what is loaded is no part of what is left"
    machine.free -= 2 * SLACK
    assert fit(library, gemma_3, BF16).evicts == ("gemma3 in int8",)


# --- several -------------------------------------------------------------------------------------


def test_a_fit_names_what_would_leave_and_just_that_leaves(gemma_1: Path, gemma_3: Path) -> None:
    budget = whole(gemma_1, FP32) + whole(gemma_1, INT8) + whole(gemma_3, BF16) - SLACK
    library = serving(gemma_1, gemma_3, budget=budget)
    load(library, gemma_1, FP32)
    load(library, gemma_1, INT8)
    found = fit(library, gemma_3, BF16)
    assert (found.fits, found.evicts) == (True, ("gemma1 in fp32",))
    assert found.taken_bytes == pytest.approx(whole(gemma_1, INT8), abs=SLACK)
    assert loaded(library) == ["gemma1 in fp32", "gemma1 in int8"], "asking evicts nothing"
    load(library, gemma_3, BF16)
    assert loaded(library) == ["gemma1 in int8", "gemma3 in bf16"]


def test_what_is_in_use_cannot_leave(gemma_1: Path, gemma_3: Path) -> None:
    budget = whole(gemma_1, FP32) + whole(gemma_3, INT8) + SLACK
    library = serving(gemma_1, gemma_3, budget=budget)
    with using(library, gemma_1, FP32):
        found = fit(library, gemma_3, BF16)
        assert (found.fits, found.evicts, found.instead) == (False, (), (INT8, INT4))
        assert found.taken_bytes == pytest.approx(whole(gemma_1, FP32), abs=SLACK)
        assert found.reason.endswith(f", of which {show_bytes(found.taken_bytes)} are in use.")
        with pytest.raises(ModelTooLargeError, match="are in use"):
            load(library, gemma_3, BF16)
        assert fit(library, gemma_3, AUTO).precision is INT8
        assert fit(library, gemma_1, FP32).loaded
    assert fit(library, gemma_3, BF16).evicts == ("gemma1 in fp32",)


@PEFT
def test_an_adapter_needs_only_its_own_bytes_beside_its_base(gemma_3: Path, voice: Path) -> None:
    row = serving(gemma_3, voice).find(str(voice))
    own = adapter_bytes(row, BF16)
    assert 0 < own < 50_000
    library = serving(gemma_3, voice, budget=whole(gemma_3, BF16) + own + SLACK)
    alone = fit(library, voice, BF16)
    assert alone.weights_bytes == needs(row, BF16).weights_bytes
    load(library, gemma_3, BF16)
    beside = fit(library, voice, BF16)
    assert (beside.fits, beside.evicts, beside.weights_bytes) == (True, (), own)
    load(library, voice, BF16)
    assert len(loaded(library)) == 2
    assert fit(library, voice, BF16).loaded
    tight = serving(gemma_3, voice, budget=whole(gemma_3, BF16) + own - SLACK)
    load(tight, gemma_3, BF16)
    assert fit(tight, voice, BF16).fits is False, "the base cannot leave for its own adapter"


def test_tokenizers_do_not_pile_up(gemma_3: Path) -> None:
    """Whoever may type any name looks at the tokens of ever more models."""
    source, row = ModelSource(Access(probe=no_hub), Settings()), local_checkpoint(gemma_3)

    def tokenizer(number: int) -> Any:
        return source.tokenizer(replace(row, repo_id=f"somebody/{number}"), "a commit", None)

    first, oldest = tokenizer(0), weakref.ref(tokenizer(1))
    for number in range(2, KEPT_TOKENIZERS + 1):
        assert tokenizer(0) is first, "what is in use stays"
        tokenizer(number)
    gc.collect()
    assert oldest() is None
