"""Which files are needed, which are here, and which were verified."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from gemma_space.kept_files import Kept, needed, sha256, sweep, whole

COMMIT = "c" * 40
SMALL = ["chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json",
         "tokenizer_config.json"]  # fmt: skip
REST = [".gitattributes", "README.md", "LICENSE", "pytorch_model.bin", "model.gguf", "tf_model.h5",
        "flax_model.msgpack", "onnx/model.json", "original/model.safetensors", "a/config.json",
        "picture.png", "modeling_evil.py"]  # fmt: skip
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("there", "weights"),
    [
        (["model.safetensors"], ["model.safetensors"]),
        ([*SHARDS, INDEX], [*SHARDS, INDEX]),
        (["model.safetensors", *SHARDS, INDEX], ["model.safetensors"]),
        ([*SHARDS, INDEX, "consolidated.safetensors"], [*SHARDS, INDEX]),
        (["adapter_model.safetensors"], ["adapter_model.safetensors"]),
        (["odd-name.safetensors"], ["odd-name.safetensors"]),
    ],
)
def test_only_what_a_load_reads_is_needed(there: list[str], weights: list[str]) -> None:
    names = [*SMALL, *REST, *there, "tokenizer.model"]
    assert needed(names) == sorted([*SMALL, *weights])
    assert needed(names, weights=False) == sorted(SMALL)


def test_the_slow_tokenizer_is_needed_where_there_is_no_other() -> None:
    assert needed(["config.json", "tokenizer.model"]) == ["config.json", "tokenizer.model"]


def kept_in(cache: Path, files: dict[str, bytes], weights: bool = True) -> Kept:
    repository = cache / "models--a--b"
    kept = Kept(repository, COMMIT, weights)
    kept.folder.mkdir(parents=True, exist_ok=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for name, body in files.items():
        blob = repository / "blobs" / hashlib.sha256(body).hexdigest()
        blob.write_bytes(body)
        (kept.folder / name).unlink(missing_ok=True)
        (kept.folder / name).symlink_to(os.path.relpath(blob, kept.folder))
    return kept


FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


def test_what_was_verified_is_complete_until_it_changes(tmp_path: Path) -> None:
    kept = kept_in(tmp_path, FILES)
    assert not kept.complete()
    assert [f.name for f in kept.unverified(FILES)] == list(FILES)
    kept.remember(FILES)
    assert kept.complete()
    assert Kept(tmp_path / "models--a--b", COMMIT, True).complete()
    assert list(kept.unverified(FILES)) == []
    assert not Kept(tmp_path / "models--a--b", "d" * 40, True).complete()
    assert not Kept(tmp_path / "models--a--b", COMMIT, False).complete()
    (kept.folder / "model.safetensors").resolve().write_bytes(b"damaged")
    assert not kept.complete()
    assert [f.name for f in kept.unverified(FILES)] == ["model.safetensors"]
    (kept.folder / "model.safetensors").unlink()
    assert not kept.complete()


def test_the_tokenizer_alone_is_remembered_apart(tmp_path: Path) -> None:
    small, full = kept_in(tmp_path, FILES, weights=False), kept_in(tmp_path, FILES)
    small.remember(["config.json"])
    assert small.complete()
    assert not full.complete()
    assert [f.name for f in full.unverified(FILES)] == ["model.safetensors"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}', "null"])
def test_a_broken_record_means_verify_again(tmp_path: Path, text: str) -> None:
    kept = kept_in(tmp_path, FILES)
    (tmp_path / "models--a--b" / "gemma-space-verified.json").write_text(text)
    assert not kept.complete()
    assert [f.name for f in kept.unverified(FILES)] == list(FILES)
    kept.remember(FILES)
    assert kept.complete()


def test_the_checksum_is_the_name_in_the_cache_or_what_the_hub_lists(tmp_path: Path) -> None:
    kept = kept_in(tmp_path, FILES)
    file = kept.folder / "model.safetensors"
    assert kept.checksum(file, None) == hashlib.sha256(b"weights").hexdigest() == sha256(file)
    plain = kept.folder / "plain.safetensors"  # as on a file system without links
    plain.write_bytes(b"x")
    assert kept.checksum(plain, "a" * 64) == "a" * 64
    assert kept.checksum(plain, "*" * 64) is None
    assert kept.checksum(plain, None) is None


def test_whole_is_what_the_files_themselves_say(tmp_path: Path) -> None:
    def folder(*names: str) -> Path:
        made = tmp_path / str(len(list(tmp_path.iterdir())))
        made.mkdir()
        for name in names:
            body = {"weight_map": dict(zip("ab", SHARDS, strict=True))} if name == INDEX else {}
            (made / name).write_text(json.dumps(body))
        return made

    assert whole(folder("config.json", "model.safetensors"), True)
    assert whole(folder("config.json", INDEX, *SHARDS), True)
    assert not whole(folder("config.json", INDEX, SHARDS[0]), True)
    assert not whole(folder("config.json"), True)
    assert not whole(folder("model.safetensors"), True)
    assert whole(folder("adapter_config.json", "adapter_model.safetensors"), True)
    assert whole(folder("config.json", "tokenizer.json"), False)
    assert not whole(folder("config.json"), False)


def test_old_partial_files_are_swept_and_nothing_else(tmp_path: Path) -> None:
    """The orphans of a killed download, which no library reuses or cleans."""
    kept = kept_in(tmp_path, FILES)
    blobs = tmp_path / "models--a--b" / "blobs"
    old, young = blobs / "x.12345678.incomplete", blobs / "y.12345678.incomplete"
    old.write_bytes(bytes(100))
    young.write_bytes(bytes(10))
    hours_ago = time.time() - 3700
    os.utime(old, (hours_ago, hours_ago))
    for blob in blobs.iterdir():
        if blob.suffix != ".incomplete":
            os.utime(blob, (hours_ago, hours_ago))
    assert sweep(tmp_path) == 100
    assert not old.exists()
    assert young.exists()
    assert (kept.folder / "model.safetensors").read_bytes() == b"weights"
    assert sweep(tmp_path / "absent") == 0
