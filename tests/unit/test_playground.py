"""The use cases together: defaults, limits, what is checked before anything is loaded, adapters."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import SecretStr

from gemma_space.access import Access
from gemma_space.errors import (
    InvalidControlError,
    InvalidRequestError,
    ModelNotFoundError,
    ModelTooLargeError,
    SettingsError,
)
from gemma_space.local_checkpoint import local_checkpoint
from gemma_space.memory import needs
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.types import ChatRequest, CompletionRequest, Controls, Message, Precision
from tests import tiny_adapters
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub
from tests.unit.test_exactness import Reference
from tests.unit.test_traps import ask, last_of, user


def serving(*folders: Path, **settings: Any) -> Playground:
    rows = served_checkpoints([str(folder) for folder in folders])
    return Playground(rows, Access(probe=no_hub), Settings(**settings))


@pytest.fixture
def gemma_3(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(tiny.GEMMA_3)


def test_the_first_model_is_the_default_unless_another_is_named(
    checkpoints: Checkpoints, gemma_3: Path
) -> None:
    other = checkpoints.folder(tiny.GEMMA_1)
    assert serving(gemma_3, other).default_model == str(gemma_3)
    assert serving(gemma_3, other, default_model=str(other)).default_model == str(other)
    assert Playground.from_settings(Settings()).default_model == "gemma-space/demo"
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        serving(gemma_3, default_model="nowhere")
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        Playground.from_settings(Settings(models=("nowhere",)))


def test_the_deployers_token_is_lent_only_where_settings_say_so() -> None:
    for access, lent in (("visitor", None), ("deployer", "hf_deployer1")):
        settings = Settings.model_validate({"access": access, "HF_TOKEN": "hf_deployer1"})
        playground = Playground.from_settings(settings)
        assert playground.library._access.token_for(playground.default_model, None) == lent
        assert playground.library._access.token_for("somebody/else", None) is None


def test_default_params_are_the_checkpoints_own_within_the_limits(
    checkpoints: Checkpoints, gemma_3: Path
) -> None:
    params = serving(gemma_3).default_params(str(gemma_3))
    assert (params.temperature, params.top_k, params.top_p) == (1.0, 64, 0.95)
    assert params.max_new_tokens == 512
    assert serving(gemma_3, max_new_tokens=100).default_params(str(gemma_3)).max_new_tokens == 100
    small = checkpoints.folder(tiny.GEMMA_1)  # 512 tokens of context
    assert serving(small).default_params(str(small)).max_new_tokens == 256
    assert serving(small).default_params(str(small)).temperature == 0.0
    assert serving(small).max_new_tokens(str(small)) == 511


def test_what_is_wrong_with_a_request_is_said_before_anything_is_loaded(gemma_3: Path) -> None:
    playground, model = serving(gemma_3), str(gemma_3)
    hello = (user("Hi"),)
    wrong: list[tuple[type[Exception], Any]] = [
        (ModelNotFoundError, ChatRequest(messages=hello, model="nowhere")),
        (InvalidControlError, ask(gemma_3, *hello, top_p=2)),
        (InvalidControlError, ask(gemma_3, *hello, max_new_tokens=5000)),
        (InvalidRequestError, ask(gemma_3, user(""))),
        (InvalidRequestError, ask(gemma_3, user("x" * 2_000_001))),
        (InvalidRequestError, CompletionRequest(prompt="", model=model, add_bos=False)),
        (InvalidRequestError, CompletionRequest(prompt="a", model=model, logprobs=21)),
    ]
    for kind, request in wrong:
        use: Any = playground.chat if isinstance(request, ChatRequest) else playground.complete
        with pytest.raises(kind):
            next(iter(use(request)))
    assert playground.library.status().loaded == ()


def test_a_budget_too_small_is_refused_with_figures(gemma_3: Path) -> None:
    playground = serving(gemma_3, memory_budget=1000)
    with pytest.raises(ModelTooLargeError, match="budget is 1 KiB") as caught:
        list(playground.chat(ask(gemma_3, user("Hi"))))
    assert caught.value.hint
    assert not any(fit.fits for fit in playground.library.rows()[0].precisions.values())


def test_a_step_down_in_precision_is_told(gemma_3: Path) -> None:
    needed = needs(local_checkpoint(gemma_3), Precision.BF16)
    playground = serving(gemma_3, memory_budget=needed.total_bytes - 1)
    request = ChatRequest(
        messages=(user("Hi"),), model=str(gemma_3), controls=Controls(max_new_tokens=2)
    )
    last = last_of(playground.chat(request))
    assert last.precision == "int8"
    assert any("bf16 does not fit" in note for note in last.notes)


def test_the_default_model_is_loaded_ahead_of_its_first_use(
    gemma_3: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    playground = serving(gemma_3)
    playground.warm_up()
    assert [row.repo_id for row in playground.library.status().loaded] == [str(gemma_3)]
    playground.library.unload(str(gemma_3))
    assert playground.library.status().loaded == ()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "gemma3_text"}')
    serving(broken).warm_up()  # logged, not raised: the page is up already
    assert "ahead of its first use" in caplog.text


def test_a_completion_may_begin_with_nothing_but_bos(gemma_3: Path) -> None:
    request = CompletionRequest(
        prompt="", model=str(gemma_3), precision=Precision.FP32,
        controls=Controls(max_new_tokens=3, temperature=0.0),
    )  # fmt: skip
    last = last_of(serving(gemma_3).complete(request))
    assert (last.prompt_tokens, last.completion_tokens) == (1, 3)


def test_completions_show_control_tokens_and_equal_generate(checkpoints: Checkpoints) -> None:
    folder = checkpoints.folder(tiny.GEMMA_3_BASE)
    reference = Reference(folder, frozenset((1,)))
    text = "<bos>The answer<end_of_turn> is"
    ids = reference.tokenizer.encode(text, add_special_tokens=False)
    request = CompletionRequest(
        prompt=text, model=str(folder), precision=Precision.FP32,
        controls=Controls(max_new_tokens=16, temperature=0.0),
    )  # fmt: skip
    last = last_of(serving(folder).complete(request))
    assert last.prompt_tokens == len(ids)
    assert last.text == reference.tokenizer.decode(reference.reply(ids))


# --- adapters --------------------------------------------------------------------------------

PEFT = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@pytest.fixture(scope="module")
def adapter(checkpoints: Checkpoints) -> Path:
    """A random LoRA adapter for the tiny Gemma 3, strong enough to be heard."""

    base = checkpoints.folder(tiny.GEMMA_3)
    return checkpoints.variant("adapter", lambda path: tiny_adapters.write(base, path))


@PEFT
def test_an_adapter_is_a_model_of_its_own_beside_its_base(
    checkpoints: Checkpoints, adapter: Path, gemma_3: Path
) -> None:
    playground = serving(gemma_3, adapter)
    base_row, row = playground.library.rows()
    assert row.variant == "adapter"
    assert row.parameters > base_row.parameters
    assert row.context_length == base_row.context_length
    reference = Reference(gemma_3, tiny.GEMMA_3.stop_ids)
    reference.model = tiny_adapters.merged(gemma_3, adapter)
    messages = [Message(role="user", content="Hello there")]
    wanted = reference.reply(reference.prompt(messages), 12)
    said = last_of(playground.chat(ask(adapter, *messages)))
    plain = last_of(playground.chat(ask(gemma_3, *messages)))
    assert said.text == reference.tokenizer.decode(wanted, skip_special_tokens=True)
    assert said.text != plain.text
    assert said.model == str(adapter)


@PEFT
def test_a_pickled_adapter_is_refused(
    checkpoints: Checkpoints, adapter: Path, gemma_3: Path, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(ModelNotFoundError, match=r"adapter_model\.safetensors"):
        serving(gemma_3, tmp_path)


def test_serving_everyone_needs_the_deployers_token() -> None:
    with pytest.raises(SettingsError, match="needs the deployer's HF_TOKEN"):
        Playground.from_settings(Settings(access="deployer"))
    Playground.from_settings(Settings(access="deployer", hf_token=SecretStr("hf_canary12345")))
