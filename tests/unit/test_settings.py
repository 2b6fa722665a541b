"""The environment: how it is read, what is refused, and that a token is never shown."""

import logging
import os

import pytest

from gemma_space.errors import SettingsError
from gemma_space.settings import LIBRARY_DEFAULTS, Settings, set_library_defaults


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings.from_env()


def test_an_empty_environment_gives_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings.models == ()
    assert settings.default_model == ""
    assert settings.memory_budget is None
    assert settings.access == "visitor"
    assert settings.max_new_tokens == 4096
    assert settings.queue_size == 64
    assert settings.hf_token is None


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch, GEMMA_SPACE_MODELS="", GEMMA_SPACE_MEMORY_BUDGET="",
        GEMMA_SPACE_MAX_NEW_TOKENS="", GEMMA_SPACE_ACCESS="", HF_TOKEN="",
    )  # fmt: skip
    assert settings == Settings()


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        GEMMA_SPACE_MODELS=" google/gemma-3-1b-it, /models/mine ,,./x",
        GEMMA_SPACE_DEFAULT_MODEL="./x",
        GEMMA_SPACE_MEMORY_BUDGET="20GiB",
        GEMMA_SPACE_ACCESS="deployer",
        GEMMA_SPACE_MAX_NEW_TOKENS="100",
        GEMMA_SPACE_QUEUE_SIZE="2",
        HF_TOKEN="hf_canary123456",
        GEMMA_SPACE_UNKNOWN="is no error",
    )
    assert settings.models == ("google/gemma-3-1b-it", "/models/mine", "./x")
    assert settings.default_model == "./x"
    assert settings.memory_budget == 20 * 2**30
    assert settings.access == "deployer"
    assert (settings.max_new_tokens, settings.queue_size) == (100, 2)
    assert settings.hf_token is not None
    assert settings.hf_token.get_secret_value() == "hf_canary123456"


def test_the_token_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, HF_TOKEN="hf_canary123456")
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GEMMA_SPACE_MEMORY_BUDGET", "lots"), ("GEMMA_SPACE_MEMORY_BUDGET", "0"),
        ("GEMMA_SPACE_MEMORY_BUDGET", "-1GiB"), ("GEMMA_SPACE_ACCESS", "everyone"),
        ("GEMMA_SPACE_MAX_NEW_TOKENS", "0"), ("GEMMA_SPACE_MAX_NEW_TOKENS", "1.5"),
        ("GEMMA_SPACE_MAX_NEW_TOKENS", "many"), ("GEMMA_SPACE_MAX_NEW_TOKENS", "99999999"),
        ("GEMMA_SPACE_QUEUE_SIZE", "0"), ("GEMMA_SPACE_QUEUE_SIZE", "x"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **{variable: value})
    assert f"setting {variable} " in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.hint
    assert caught.value.__cause__ is None


def test_library_defaults_leave_the_deployers_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARY_DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRADIO_SSR_MODE", "true")
    set_library_defaults()
    assert os.environ["GRADIO_SSR_MODE"] == "true"
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
    assert not logging.getLogger("bitsandbytes.autograd._functions").isEnabledFor(logging.WARNING)
