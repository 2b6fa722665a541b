"""What visitors type and do not get: refused in words before any weights are read."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gemma_space import local_checkpoint
from gemma_space.access import Access
from gemma_space.errors import AccessDeniedError, DownloadError, GemmaSpaceError, ModelNotFoundError
from gemma_space.hub import Answer
from gemma_space.shelf import Shelf
from gemma_space.verdicts import in_words
from tests import stand_in_hub, tiny_adapters
from tests import tiny_checkpoints as tiny
from tests.stand_in_hub import GOOD, StandInHub
from tests.tiny_checkpoints import Checkpoints, no_hub
from tests.unit.test_shelf import HEADER, PEFT

Change = Callable[[Path], object]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    with stand_in_hub.in_place(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.fixture
def shelf() -> Shelf:
    return Shelf((local_checkpoint.demo(),), Access(), takes_any=True)


@pytest.fixture(scope="module")
def gemma_3(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(tiny.GEMMA_3)


@pytest.fixture(scope="module")
def voice(checkpoints: Checkpoints, gemma_3: Path) -> Path:
    return checkpoints.variant("voice", lambda path: tiny_adapters.write(gemma_3, path))


def saying(name: str = "config.json", **changes: Any) -> Change:
    """A change to one of a checkpoint's JSON files."""

    def change(folder: Path) -> None:
        told = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(told | changes))

    return change


def pickled(weights: str) -> Change:
    """The weights in a pickle only."""
    return lambda folder: (folder / weights).rename(folder / "pytorch_model.bin")


def without(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def changed(folder: Path, path: Path, change: Change) -> Path:
    shutil.copytree(folder, path)
    change(path)
    return path


# --- what it holds -------------------------------------------------------------------------------

UNSERVED: dict[str, tuple[Change, str]] = {
    "another architecture": (saying(model_type="llama"), "“llama” model, not a Gemma"),
    "no architecture": (saying(model_type=None), "not a Gemma"),
    "no text head": (saying(architectures=["Gemma3TextModel"]), "writes no text"),
    "a classifier": (
        saying(architectures=["Gemma3ForSequenceClassification"]), "writes no text",
    ),
    "gptq": (saying(quantization_config={"quant_method": "gptq"}), "quantized with gptq"),
    "pickles only": (pickled("model.safetensors"), "no safetensors files"),
    "no config": (without("config.json"), r"no readable config\.json"),
    "a config that is no JSON": (
        lambda folder: (folder / "config.json").write_text("<html>"), r"no readable config\.json",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNSERVED)
def test_a_repository_with_nothing_to_serve_is_refused_by_its_small_files(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path, tmp_path: Path, what: str
) -> None:
    change, words = UNSERVED[what]
    name = stand_in.add("someone/odd", changed(gemma_3, tmp_path / "odd", change))
    with pytest.raises(ModelNotFoundError, match=words) as caught:
        shelf.find(name)
    assert name in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    assert stand_in.sent(".safetensors") <= HEADER
    assert stand_in.sent(".bin") == 0
    stand_in.files[name] = gemma_3  # nothing was remembered of it
    assert name not in shelf._found


@pytest.mark.parametrize("what", [what for what in UNSERVED if what != "pickles only"])
def test_a_folder_with_nothing_to_serve_is_refused(
    shelf: Shelf, gemma_3: Path, tmp_path: Path, what: str
) -> None:
    change, words = UNSERVED[what]
    with pytest.raises(ModelNotFoundError, match=words):
        shelf.find(str(changed(gemma_3, tmp_path / "odd", change)))


# A stranger's config.json may say anything.
NONSENSE: dict[str, Change] = {
    "a context of words": saying(max_position_embeddings="long"),
    "no context": saying(max_position_embeddings=None),
    "stop ids of words": saying("generation_config.json", eos_token_id=["<eos>"]),
    "no size": saying(hidden_size="large"),
    "layers of an unknown kind": saying(layer_types=["sideways"] * 6),
    "a text part of words": saying(model_type="gemma3", text_config="none"),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_in_a_repositorys_files_is_refused_in_words(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path, tmp_path: Path, what: str
) -> None:
    name = stand_in.add("someone/odd", changed(gemma_3, tmp_path / "odd", NONSENSE[what]))
    with pytest.raises(GemmaSpaceError) as caught:
        shelf.find(name)
    assert name in caught.value.message


def test_sampling_defaults_of_words_are_left_out(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path, tmp_path: Path
) -> None:
    change = saying("generation_config.json", temperature="hot", top_p=[1], top_k=7)
    row = shelf.find(stand_in.add("someone/odd", changed(gemma_3, tmp_path / "odd", change)))
    assert row.sampling == {"temperature": 1.0, "top_k": 7}


def test_a_damaged_header_is_refused_in_words(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path, tmp_path: Path
) -> None:
    for number, content in enumerate((b"", b"short", b"\xff" * 100, b"<html>" * 10)):

        def damage(folder: Path, content: bytes = content) -> None:
            (folder / "model.safetensors").write_bytes(content)

        name = f"someone/odd{number}"
        stand_in.add(name, changed(gemma_3, tmp_path / str(number), damage))
        with pytest.raises(DownloadError, match="could not be looked at") as caught:
            shelf.find(name)
        assert stand_in.url not in str(caught.value)


# --- adapters ------------------------------------------------------------------------------------

ADAPTERS: dict[str, tuple[Change, str]] = {
    "pickled": (pickled("adapter_model.safetensors"), r"no adapter_model\.safetensors"),
    "no lora": (saying("adapter_config.json", peft_type="LOHA"), "of the kind LOHA"),
    "no base": (
        saying("adapter_config.json", base_model_name_or_path=None), r"no readable config\.json",
    ),
    "a base that is nothing": (
        saying("adapter_config.json", base_model_name_or_path="nowhere"),
        r"“nowhere”|is no repository of the Hub",
    ),
}  # fmt: skip


@PEFT
@pytest.mark.parametrize("what", ADAPTERS)
@pytest.mark.parametrize("where", ["hub", "folder"])
def test_an_adapter_that_cannot_be_attached_is_refused(
    stand_in: StandInHub, shelf: Shelf, voice: Path, checkpoints: Checkpoints, tmp_path: Path,
    what: str, where: str,
) -> None:  # fmt: skip
    change, words = ADAPTERS[what]
    if where == "hub":  # where a base is on the Hub as well
        there = stand_in.add("someone/base", checkpoints.folder(tiny.GEMMA_3))
        voice = changed(voice, tmp_path / "named", saying(
            "adapter_config.json", base_model_name_or_path=there
        ))  # fmt: skip
    folder = changed(voice, tmp_path / "odd", change)
    name = stand_in.add("someone/odd", folder) if where == "hub" else str(folder)
    with pytest.raises(ModelNotFoundError, match=words) as caught:
        shelf.find(name)
    assert caught.value.hint
    assert stand_in.sent(".safetensors") <= 2 * HEADER, "its own and its base's"
    assert stand_in.sent(".bin") == 0


@PEFT
@pytest.mark.parametrize("loop", ["itself", "another adapter"])
def test_an_adapter_whose_base_is_an_adapter_is_refused(
    stand_in: StandInHub, shelf: Shelf, voice: Path, tmp_path: Path, loop: str
) -> None:
    name = "someone/one"
    base = name if loop == "itself" else stand_in.add("someone/two", voice)
    change = saying("adapter_config.json", base_model_name_or_path=base)
    stand_in.add(name, changed(voice, tmp_path / "one", change))
    with pytest.raises(ModelNotFoundError, match="adapter"):
        shelf.find(name)


@PEFT
def test_an_adapter_of_a_gated_base_needs_the_bases_access(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path, voice: Path, tmp_path: Path
) -> None:
    base = stand_in.add("someone/guarded", gemma_3, gated=True)
    change = saying("adapter_config.json", base_model_name_or_path=base)
    name = stand_in.add("someone/open", changed(voice, tmp_path / "open", change))
    with pytest.raises(AccessDeniedError, match="someone/guarded is gated") as caught:
        shelf.find(name)
    assert caught.value.verdict == "no_token"
    assert shelf.find(name, GOOD).gated


# --- who asks, and for what ----------------------------------------------------------------------

DENIED = {
    None: "no_token", "hf_not_accepted": "license_not_accepted", "hf_pending": "request_pending",
    "hf_fine_grained": "token_lacks_gated_scope", "hf_invalid": "token_invalid",
    "hf_limited": "rate_limited", "hf_broken": "hub_unreachable", "hf x": "token_malformed",
}  # fmt: skip


@pytest.mark.parametrize(("token", "verdict"), DENIED.items(), ids=str)
def test_a_gated_repository_is_refused_by_verdict_and_nothing_of_it_is_sent(
    stand_in: StandInHub, shelf: Shelf, gemma_3: Path, token: str | None, verdict: Any
) -> None:
    name = stand_in.add("someone/guarded", gemma_3, gated=True)
    with pytest.raises(AccessDeniedError) as caught:
        shelf.find(name, token)
    assert caught.value.verdict == verdict
    assert caught.value.message == in_words(Answer(verdict), name, name, "main").message
    assert sum(length for _, length in stand_in.bodies) == 0
    assert {method for method, _, _ in stand_in.requests} <= {"HEAD"}


@pytest.mark.parametrize("token", [None, GOOD])
def test_a_repository_that_is_not_there_is_said_to_be_missing(
    stand_in: StandInHub, shelf: Shelf, token: str | None
) -> None:
    stand_in.missing.add("someone/nothing")
    with pytest.raises(AccessDeniedError, match="no repository someone/nothing") as caught:
        shelf.find("someone/nothing", token)
    assert caught.value.verdict == "repo_missing"


NO_NAMES = [
    "a/b/c", "../x", "x", "", "  ", "\n", "~", "~nosuchuser/x", "/nowhere/at/all", "./nowhere",
    "a" * 10_000, "a/" + "b" * 10_000, "a/" + "b" * 97, "google/\ngemma", "google\n/gemma", "a\0/b",
    "ü/ü", "-a/b", "a/b-", "a--b/c", "a..b/c", "a/b.git", "google/gemma?x=1", "google/gemma#x",
    "google/%2e%2e", "https://huggingface.co/google/gemma-3-1b-it", None, 5, ["a/b"], {"a": "b"},
    b"a/b",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES, ids=lambda n: repr(n)[:24].encode("ascii", "replace"))
def test_what_cannot_be_a_name_is_refused_in_words_and_never_sent(
    name: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    shelf = Shelf((local_checkpoint.demo(),), Access(probe=no_hub), takes_any=True)
    with pytest.raises(ModelNotFoundError) as caught:
        shelf.find(name, GOOD)
    assert caught.value.hint
    assert len(str(caught.value)) < 400
