"""Catalogue rows made from folders: exact counts, templates, defaults, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_space.catalog import Linears
from gemma_space.checkpoint_files import sampling_of, stop_ids_of
from gemma_space.errors import AccessDeniedError, ModelNotFoundError
from gemma_space.loading import load
from gemma_space.local_checkpoint import demo, local_checkpoint
from gemma_space.shelf import served_checkpoints
from gemma_space.types import Precision
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints

EVERY = pytest.mark.parametrize("checkpoint", tiny.CHATTING, ids=lambda t: t.name)


@EVERY
def test_a_folder_becomes_a_row(checkpoints: Checkpoints, checkpoint: tiny.Tiny) -> None:
    folder = checkpoints.folder(checkpoint)
    row = local_checkpoint(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert row.parameters == sum(p.numel() for p in model.parameters())
    linears = [
        m for name, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and name != "lm_head" and ".altup." not in name
    ]  # fmt: skip
    assert row.linears == Linears(
        sum(m.weight.numel() for m in linears), sum(m.out_features for m in linears), len(linears)
    )
    assert row.left_out == 0
    assert row.repo_id == str(folder)
    assert row.path == folder
    assert row.is_local
    assert row.family == checkpoint.family
    assert row.context_length == checkpoint.context_length
    assert row.variant == "instruct"
    assert row.gated is False
    configured = checkpoint.generation["eos_token_id"]
    assert row.stop_ids == tuple(configured if isinstance(configured, list) else [configured])
    greedy = "do_sample" not in checkpoint.generation
    assert row.sampling == (
        {"temperature": 0.0} if greedy else {"temperature": 1.0, "top_k": 64, "top_p": 0.95}
    )
    assert (Precision.FP16 in row.precisions) is (row.family in ("gemma1", "gemma2"))


def test_a_folder_without_a_template_is_a_base_model(checkpoints: Checkpoints) -> None:
    assert local_checkpoint(checkpoints.folder(tiny.GEMMA_3_BASE)).variant == "base"


def test_an_untied_head_counts(checkpoints: Checkpoints) -> None:
    folder = checkpoints.poisoned()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert local_checkpoint(folder).parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])
def test_files_quantized_already_offer_that_precision_alone(
    checkpoints: Checkpoints, tmp_path: Path, precision: Precision
) -> None:
    plain = local_checkpoint(checkpoints.folder(tiny.GEMMA_1))
    assert plain.path is not None
    loaded = load(plain, plain.path, precision, lambda d, t: None, lambda: False)
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    row = local_checkpoint(tmp_path)
    assert row.precisions == (precision,)
    assert row.quantization == precision
    assert row.parameters == plain.parameters
    assert row.linears.parameters == plain.linears.parameters
    assert row.linears.layers == plain.linears.layers
    again = load(row, tmp_path, precision, lambda d, t: None, lambda: False)
    assert again.nbytes == loaded.nbytes


def test_the_demo_is_a_row_like_any_other() -> None:
    row = demo()
    assert row.repo_id == "gemma-space/demo"
    assert row.family == "gemma3"
    assert row.variant == "instruct"
    assert row.license == "apache-2.0"
    assert set(row.stop_ids) == {1, 106}
    assert 2 * row.parameters < 8_000_000
    assert "not one of Google's" in row.note


def test_a_folder_is_named_by_its_path_as_given(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints.folder(tiny.GEMMA_1)
    monkeypatch.chdir(folder.parent)
    names = ("./gemma1", "google/gemma-3-1b-it", str(folder), "gemma-space/demo")
    assert tuple(row.repo_id for row in served_checkpoints(names)) == names
    everything = served_checkpoints(())
    assert everything[0].repo_id == "gemma-space/demo"
    assert len(everything) > 30


def test_other_folders_are_refused_in_words(tmp_path: Path, checkpoints: Checkpoints) -> None:
    other = tmp_path / "llama"
    shutil.copytree(checkpoints.folder(tiny.GEMMA_1), other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(ModelNotFoundError, match="“llama” model, not a Gemma"):
        local_checkpoint(other)
    for text in ("", "{", "[]", "null", "\udcff"):
        (other / "config.json").write_text(text, errors="surrogateescape")
        with pytest.raises(ModelNotFoundError, match=r"config\.json"):
            local_checkpoint(other)
    (other / "config.json").unlink()
    for folder in (other, tmp_path / "nothing", other / "model.safetensors"):
        with pytest.raises(ModelNotFoundError, match=r"config\.json"):
            local_checkpoint(folder)
    with pytest.raises(ModelNotFoundError, match="neither a repository id nor a folder"):
        served_checkpoints(("./no/such/model",))
    with pytest.raises(AccessDeniedError, match="cannot be reached"):  # there is no Hub in a test
        served_checkpoints(("google/no-such-model",))


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x00", b"\xff" * 100, b"\x05\0\0\0\0\0\0\0nope!", b"\x02\0\0\0\0\0\0\0[]"],
    ids=["empty", "short", "noise", "no-json", "no-object"],
)
def test_damaged_weights_do_not_break_the_list(
    tmp_path: Path, checkpoints: Checkpoints, damage: bytes
) -> None:
    """What is wrong is said when it is loaded; the other models are still served."""
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoints.folder(tiny.GEMMA_1), folder)
    (folder / "model.safetensors").write_bytes(damage)
    assert local_checkpoint(folder).family == "gemma1"


@pytest.mark.parametrize(
    ("config", "sampling"),
    [
        ({}, {"temperature": 0.0}),
        ({"temperature": 0.7, "top_k": 5}, {"temperature": 0.0}),
        ({"do_sample": True}, {"temperature": 1.0, "top_k": 50}),
        ({"do_sample": True, "temperature": 0.3, "top_k": 64, "top_p": None, "min_p": 0.1},
         {"temperature": 0.3, "top_k": 64, "min_p": 0.1}),
    ],
)  # fmt: skip
def test_sampling_defaults(config: dict[str, object], sampling: dict[str, float]) -> None:
    assert sampling_of(config) == sampling


@pytest.mark.parametrize(
    ("config", "ids"),
    [({}, (1,)), ({"eos_token_id": None}, (1,)), ({"eos_token_id": 1}, (1,)),
     ({"eos_token_id": [1, 106, 1]}, (1, 106)), ({"eos_token_id": [1, 106, 50]}, (1, 106, 50))],
)  # fmt: skip
def test_configured_stop_ids(config: dict[str, object], ids: tuple[int, ...]) -> None:
    assert stop_ids_of(config) == ids
