"""LoRA adapters share one base: each computes what its merged weights would, and none nothing.

Through the real library and playground, on random adapters for the tiny Gemma 3.
"""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gemma_space.access import Access
from gemma_space.errors import InvalidRequestError, LoadError, ModelTooLargeError
from gemma_space.lease import ModelKey, ServedModel
from gemma_space.memory import adapter_bytes, needs
from gemma_space.model_source import ModelSource
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.types import CompletionRequest, Controls, Generation, Precision
from tests import tiny_adapters
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub
from tests.unit.test_exactness import Reference
from tests.unit.test_registry import IdleEngine, eventually

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
PROMPT = "The answer is"
NEW_TOKENS = 12
EXTRA = {"voice.one": {}, "voice.two": {"rank": 8, "target_modules": ["o_proj", "down_proj"]}}


@pytest.fixture(scope="module")
def base(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(tiny.GEMMA_3)


@pytest.fixture(scope="module")
def voices(checkpoints: Checkpoints, base: Path) -> tuple[Path, ...]:
    """Two adapters of different rank, scale and layers; dots in their names, as on the Hub."""
    return tuple(
        checkpoints.variant(
            name, lambda path, s=seed, e=extra: tiny_adapters.write(base, path, seed=s, **e)
        )
        for seed, (name, extra) in enumerate(EXTRA.items(), start=1)
    )


def serving(*folders: Path, **settings: Any) -> Playground:
    rows = served_checkpoints([str(folder) for folder in folders])
    return Playground(rows, Access(probe=no_hub), Settings(**settings))


@pytest.fixture
def playground(base: Path, voices: tuple[Path, ...]) -> Playground:
    return serving(base, *voices)


def say(playground: Playground, model: Path, precision: Precision = Precision.FP32) -> str:
    request = CompletionRequest(
        prompt=PROMPT, model=str(model), precision=precision,
        controls=Controls(max_new_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True),
    )  # fmt: skip
    *_, last = playground.complete(request)
    assert isinstance(last, Generation)
    assert last.model == str(model)
    return last.text


def wanted(base: Path, voice: Path | None) -> str:
    """What plain transformers says, with the adapter merged into the weights."""
    reference = Reference(base, frozenset())
    if voice is not None:
        reference.model = tiny_adapters.merged(base, voice)
    reference.stop_ids = frozenset((511,))
    ids = reference.tokenizer.encode(PROMPT)
    return reference.tokenizer.decode(reference.reply(ids, NEW_TOKENS))


def loaded(playground: Playground) -> list[tuple[str, str]]:
    rows = playground.library.status().loaded
    return [(Path(row.repo_id).name, row.precision) for row in rows]


def test_switching_between_adapters_and_none_is_exact(
    playground: Playground, base: Path, voices: tuple[Path, ...]
) -> None:
    models = [None, *voices]
    right = {voice: wanted(base, voice) for voice in models}
    assert len(set(right.values())) == 3, "adapters nobody hears would prove nothing"
    for voice in (voices[0], None, voices[1], voices[0], None, voices[1], None):
        assert say(playground, voice or base) == right[voice]


def test_the_base_is_in_memory_once(
    playground: Playground, base: Path, voices: tuple[Path, ...]
) -> None:
    for voice in voices:
        say(playground, voice)
    assert loaded(playground) == [
        ("gemma3", "fp32"), ("voice.one", "fp32"), ("voice.two", "fp32"),
    ]  # fmt: skip
    base_row, *adapters = playground.library.choices()
    sizes = {row.repo_id: row.nbytes for row in playground.library.status().loaded}
    assert sizes[str(base)] == pytest.approx(
        needs(base_row, Precision.FP32).weights_bytes, rel=0.01
    )
    for row in adapters:
        assert sizes[row.repo_id] == adapter_bytes(row, Precision.FP32)
        assert sizes[row.repo_id] < sizes[str(base)] / 4


def test_many_visitors_with_different_adapters_at_once_each_get_their_own(
    playground: Playground, base: Path, voices: tuple[Path, ...]
) -> None:
    models = [base, *voices] * 4
    right = {model: wanted(base, None if model == base else model) for model in {*models}}
    with ThreadPoolExecutor(len(models)) as visitors:
        said = list(visitors.map(lambda model: say(playground, model), models))
    assert said == [right[model] for model in models]
    assert len(loaded(playground)) == 3


def forget_conversations(playground: Playground) -> None:
    """Have every prompt computed from its beginning."""
    for entry in playground.library._registry._entries.values():
        kept = getattr(getattr(entry.served, "engine", None), "kept", None)
        if kept is not None:
            kept.clear()


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8, Precision.INT4])
def test_adapters_are_heard_in_every_precision(
    playground: Playground, base: Path, voices: tuple[Path, ...], precision: Precision
) -> None:
    plain = say(playground, base, precision)
    assert say(playground, voices[0], precision) != plain
    (_, row, _) = playground.library.choices()
    sizes = {r.repo_id: r.nbytes for r in playground.library.status().loaded}
    assert sizes[row.repo_id] == adapter_bytes(row, precision)
    forget_conversations(playground)  # in few bits a kept beginning rounds differently
    assert say(playground, base, precision) == plain


def test_unloading_an_adapter_leaves_the_base_as_it_was(
    playground: Playground, base: Path, voices: tuple[Path, ...]
) -> None:
    plain = say(playground, base)
    for voice in voices:
        say(playground, voice)
        playground.library.unload(str(voice))
        assert loaded(playground) == [("gemma3", "fp32")]
        assert say(playground, base) == plain
    key, entry = next(iter(playground.library._registry._entries.items()))
    assert key.base is None
    model = entry.served.engine._model  # type: ignore[union-attr]
    assert eventually(lambda: not any("lora_" in n for n, _ in model.named_parameters()))
    assert say(playground, base) == plain


def test_unloading_the_base_takes_its_adapters_along(
    playground: Playground, base: Path, voices: tuple[Path, ...]
) -> None:
    say(playground, voices[0])
    playground.library.unload(str(base))
    assert loaded(playground) == []
    assert say(playground, voices[0]) == wanted(base, voices[0])


def test_an_adapter_in_use_keeps_its_base(
    playground: Playground, base: Path, voices: tuple[Path, ...]
) -> None:
    row = playground.library.find(str(voices[0]))
    with playground.library.lease(row, Precision.FP32, None) as (lease, _):
        list(lease.wait())
        with pytest.raises(InvalidRequestError, match="in use"):
            playground.library.unload(str(base))
    playground.library.unload(str(base))


def test_an_adapter_needs_room_for_its_base_too(base: Path, voices: tuple[Path, ...]) -> None:
    small = adapter_bytes(serving(base, *voices).library.choices()[1], Precision.FP32)
    with pytest.raises(ModelTooLargeError):
        say(serving(base, *voices, memory_budget=2 * small), voices[0])


def test_weights_saved_whole_are_switched_like_the_others(base: Path, tmp_path: Path) -> None:
    """PEFT's `modules_to_save` replaces a module instead of adding to it."""
    voice = tiny_adapters.write(base, tmp_path / "whole", modules_to_save=["norm"])
    playground = serving(base, voice)
    plain = say(playground, base)
    assert say(playground, voice) == wanted(base, voice) != plain
    assert say(playground, base) == plain
    assert say(playground, voice) == wanted(base, voice)


def test_damaged_adapters_are_refused_and_the_base_goes_on(
    base: Path, voices: tuple[Path, ...], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(voices[0], damaged)
    file = damaged / "adapter_model.safetensors"
    whole = load_file(file)
    playground = serving(base, damaged)
    plain = say(playground, base)
    shrunk = {name: t[..., :-1].clone() for name, t in whole.items()}
    partial = dict(list(whole.items())[2:])
    for tensors in (shrunk, partial):
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(LoadError) as caught:
            say(playground, damaged)
        assert "base" in caught.value.hint
        assert loaded(playground) == [("gemma3", "fp32")]
        assert say(playground, base) == plain
    file.unlink()
    torch.save(whole, damaged / "adapter_model.bin")
    with pytest.raises(LoadError, match=r"adapter_model\.safetensors"):
        say(playground, damaged)
    shutil.copy(voices[0] / file.name, file)
    assert say(playground, damaged) == wanted(base, voices[0])


def test_attaching_waits_for_the_reply_that_is_being_written(
    playground: Playground, base: Path, voices: tuple[Path, ...]
) -> None:
    request = CompletionRequest(
        prompt=PROMPT, model=str(base), precision=Precision.FP32,
        controls=Controls(max_new_tokens=200, temperature=0.0, ignore_eos=True),
    )  # fmt: skip
    alone = say(playground, base)
    stream = playground.complete(request)
    for update in stream:
        if isinstance(update, Generation) and update.completion_tokens:
            break
    said: list[str] = []
    other = threading.Thread(target=lambda: said.append(say(playground, voices[0])))
    other.start()
    *_, last = stream
    other.join(60)
    assert isinstance(last, Generation)
    assert last.text.startswith(alone)
    assert said == [wanted(base, voices[0])]


def test_an_engine_without_adapters_says_so(base: Path, voices: tuple[Path, ...]) -> None:
    rows = served_checkpoints([str(base), str(voices[0])])
    source = ModelSource(Access(probe=no_hub), Settings())
    below, above = (ModelKey(row, "main", Precision.FP32) for row in rows)
    plain = ServedModel(key=below, engine=IdleEngine(), tokenizer=None, nbytes=0)
    with pytest.raises(LoadError, match="which this engine does not take"):
        source.load(above, None, lambda *_, **__: None, lambda: False, plain)
