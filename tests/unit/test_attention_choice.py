"""Which attention may be chosen, and why not: the rules alone, nothing is loaded."""

import itertools
from dataclasses import replace

import pytest

from gemma_space import attention
from gemma_space.attention import offered, parse, refusal, require
from gemma_space.catalog import Checkpoint, hub_catalog
from gemma_space.errors import InvalidRequestError, PrecisionUnsupportedError
from gemma_space.types import Attention, Precision

AUTO, EAGER, SDPA, FLASH = Attention
BF16, FP32 = Precision.BF16, Precision.FP32
LOADED = [p for p in Precision if p is not Precision.AUTO]
FAMILIES: dict[str, Checkpoint] = {row.family: row for row in hub_catalog()}


@pytest.fixture
def with_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "find_spec", lambda name: object())


@pytest.fixture
def without_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "find_spec", lambda name: None)


# --- names ---------------------------------------------------------------------------------------


def test_the_four_names_are_read() -> None:
    names = ["auto", "eager", "sdpa", "flash_attention_2"]
    assert [parse(name) for name in names] == [AUTO, EAGER, SDPA, FLASH]
    assert parse(FLASH) is FLASH


@pytest.mark.parametrize("name", ["", "flash", "SDPA", "flash_attention_3", None, 5, ["auto"], {}])
def test_any_other_name_is_refused_in_words(name: object) -> None:
    with pytest.raises(InvalidRequestError, match="There is no attention") as caught:
        parse(name)
    assert caught.value.hint == "Choose one of auto, eager, sdpa, flash_attention_2."


def test_a_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse("x" * 10_000)
    assert len(str(caught.value)) < 200


# --- rules ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_flash")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_auto_and_eager_always_work(family: str, device: str) -> None:
    for how, precision in itertools.product((AUTO, EAGER), LOADED):
        assert refusal(FAMILIES[family], how, precision, device) == ""
        require(FAMILIES[family], how, precision, device)


@pytest.mark.usefixtures("with_flash")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_only_gemma_2_has_no_sdpa(device: str) -> None:
    refused = {
        family: refusal(row, SDPA, precision, device)
        for family, row in FAMILIES.items()
        for precision in LOADED
        if refusal(row, SDPA, precision, device)
    }
    assert refused == {"gemma2": "Gemma 2 caps its attention scores, which sdpa cannot do."}


@pytest.mark.usefixtures("with_flash")
def test_flash_attention_ends_at_heads_of_256() -> None:
    wide = "Gemma 4's global layers have heads of 512, and FlashAttention ends at 256."
    for family, row in FAMILIES.items():
        assert refusal(row, FLASH, BF16, "cuda") == (wide if family == "gemma4" else "")
        if family != "gemma4":
            heads = {group.head_dim for group in row.kv}
            assert max(heads) <= 256, "the rule holds for what the catalogue has"


@pytest.mark.usefixtures("with_flash")
def test_flash_attention_needs_a_gpu_even_where_the_package_is() -> None:
    assert refusal(FAMILIES["gemma3"], FLASH, BF16, "cpu") == "FlashAttention needs an NVIDIA GPU."


def test_flash_attention_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(attention, "find_spec", lambda name: asked.append(name))
    reason = "The package flash-attn is not installed here."
    assert refusal(FAMILIES["gemma3"], FLASH, BF16, "cuda") == reason
    assert asked == ["flash_attn"]


@pytest.mark.usefixtures("with_flash")
def test_flash_attention_computes_in_16_bits() -> None:
    for precision in LOADED:
        reason = "FlashAttention works in 16 bits only." if precision is FP32 else ""
        assert refusal(FAMILIES["gemma1"], FLASH, precision, "cuda") == reason


# --- what is offered -----------------------------------------------------------------------------

EVERYWHERE = {
    "gemma1": (AUTO, EAGER, SDPA), "gemma2": (AUTO, EAGER), "gemma3": (AUTO, EAGER, SDPA),
    "gemma3n": (AUTO, EAGER, SDPA), "gemma4": (AUTO, EAGER, SDPA),
}  # fmt: skip


@pytest.mark.parametrize("family", EVERYWHERE)
def test_flash_is_offered_only_beside_a_gpu_and_its_package(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, without = FAMILIES[family], EVERYWHERE[family]
    for device, package in itertools.product(("cpu", "cuda"), (None, object())):
        monkeypatch.setattr(attention, "find_spec", lambda name, found=package: found)
        flash = (FLASH,) if device == "cuda" and package and family != "gemma4" else ()
        assert offered(row, device) == (*without, *flash)


def test_every_family_of_the_catalogue_is_covered() -> None:
    assert set(FAMILIES) == set(EVERYWHERE)


@pytest.mark.usefixtures("without_flash")
def test_a_refusal_names_the_model_the_attention_and_the_reason() -> None:
    row = replace(FAMILIES["gemma2"], title="Gemma 2 2B Instruct")
    with pytest.raises(PrecisionUnsupportedError) as caught:
        require(row, SDPA, BF16, "cpu")
    assert caught.value.message == (
        "Gemma 2 2B Instruct does not run with sdpa: "
        "Gemma 2 caps its attention scores, which sdpa cannot do."
    )
    assert caught.value.hint == "Choose auto."
