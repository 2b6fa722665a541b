"""What the fit meter promises is what a load then does, for many budgets and states of memory."""

import itertools
from contextlib import ExitStack
from pathlib import Path

import pytest

from gemma_space.errors import ModelTooLargeError, PrecisionUnsupportedError
from gemma_space.library import Library
from gemma_space.memory import adapter_bytes
from gemma_space.types import Precision
from tests import tiny_adapters
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_library import SLACK, fit, load, loaded, serving, using, whole
from tests.unit.test_registry import eventually
from tests.unit.test_shelf import PEFT

pytestmark = PEFT
FP32, BF16, INT8 = Precision.FP32, Precision.BF16, Precision.INT8
WANTED = (FP32, BF16, Precision.FP16, Precision.AUTO)
FITS, EVICTS, REFUSED = (True, False), (True, True), (False, False)


@pytest.fixture(scope="module")
def folders(checkpoints: Checkpoints) -> dict[str, Path]:
    """A Gemma 1, a Gemma 3, and an adapter for the latter."""
    base = checkpoints.folder(tiny.GEMMA_3)
    return {
        "other": checkpoints.folder(tiny.GEMMA_1),
        "base": base,
        "voice": checkpoints.variant("voice", lambda path: tiny_adapters.write(base, path)),
    }


def budgets(folders: dict[str, Path], there: str | None) -> list[int]:
    """Just too little and just enough of everything, alone and beside what is there."""
    own = adapter_bytes(serving(*folders.values()).find(str(folders["voice"])), FP32)
    beside = whole(folders[there], BF16) + SLACK if there else 0
    sizes = [whole(folders["base"], precision) for precision in (FP32, BF16, INT8)]
    extras = (-1, own + SLACK, beside + own)
    return sorted({max(size + extra, beside) for size in sizes for extra in extras})


@pytest.mark.parametrize(
    ("asked", "there", "in_use", "outcomes"),
    [
        ("base", None, False, {FITS, REFUSED}),
        ("base", "other", False, {FITS, EVICTS, REFUSED}),
        ("base", "other", True, {FITS, REFUSED}),
        ("voice", "other", False, {FITS, EVICTS, REFUSED}),
        ("voice", "base", False, {FITS, EVICTS, REFUSED}),
        ("voice", "base", True, {FITS, REFUSED}),
    ],
)
def test_what_a_fit_promises_is_what_a_load_does(
    folders: dict[str, Path],
    asked: str,
    there: str | None,
    in_use: bool,
    outcomes: set[tuple[bool, bool]],
) -> None:
    seen: set[tuple[bool, bool]] = set()
    for budget, wanted in itertools.product(budgets(folders, there), WANTED):
        library = serving(*folders.values(), budget=budget)
        with ExitStack() as stack:
            if there and in_use:
                stack.enter_context(using(library, folders[there], BF16))
            elif there:
                load(library, folders[there], BF16)
            seen.add(keeps_its_word(library, folders[asked], wanted))
    assert seen == outcomes, "all kinds were seen"


def keeps_its_word(library: Library, folder: Path, wanted: Precision) -> tuple[bool, bool]:
    """Compare a fit with the load after it; returns whether it fitted and evicted."""
    promised, before = fit(library, folder, wanted), loaded(library)
    assert promised.fits is (promised.reason == "")
    for other in promised.instead:
        assert fit(library, folder, other).fits
    try:
        load(library, folder, wanted)
    except (ModelTooLargeError, PrecisionUnsupportedError):
        assert not promised.fits
        assert loaded(library) == before
    else:
        assert promised.fits
        chain = [library.find(str(folder)).base, library.find(str(folder))]
        new = [f"{row.title} in {promised.precision}" for row in chain if row]
        stayed = [title for title in before if title not in promised.evicts]
        wanted_now = [*stayed, *(title for title in new if title not in stayed)]
        assert eventually(lambda: loaded(library) == wanted_now)
    return promised.fits, bool(promised.evicts)
