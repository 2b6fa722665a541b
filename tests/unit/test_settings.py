"""The environment: how it is read, what is refused, and that a token is never shown."""

from typing import Any

import pytest

from gemma_space.errors import SettingsError
from gemma_space.settings import PER_VISITOR, Settings


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
    assert settings.idle_seconds == 3600
    assert settings.cpu_offload is False
    assert settings.takes_any_gemma is True
    assert settings.mcp is settings.shows_metrics is True
    assert settings.log_prompts is False
    assert settings.shutdown_seconds == 15


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch, GEMMA_SPACE_MODELS="", GEMMA_SPACE_MEMORY_BUDGET="",
        GEMMA_SPACE_MAX_NEW_TOKENS="", GEMMA_SPACE_ACCESS="", HF_TOKEN="",
        GEMMA_SPACE_IDLE_SECONDS="", GEMMA_SPACE_CPU_OFFLOAD="", GEMMA_SPACE_ALLOW_ANY_GEMMA="",
        SPACE_ID="",
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
        GEMMA_SPACE_CONCURRENT_REQUESTS="64",
        GEMMA_SPACE_QUEUE_SIZE="2",
        GEMMA_SPACE_IDLE_SECONDS="90.5",
        GEMMA_SPACE_CPU_OFFLOAD="true",
        GEMMA_SPACE_ALLOW_ANY_GEMMA="false",
        GEMMA_SPACE_MCP="false",
        GEMMA_SPACE_METRICS="false",
        GEMMA_SPACE_LOG_PROMPTS="1",
        GEMMA_SPACE_SHUTDOWN_SECONDS="2.5",
        HF_TOKEN="hf_canary123456",
        GEMMA_SPACE_UNKNOWN="is no error",
    )
    assert settings.models == ("google/gemma-3-1b-it", "/models/mine", "./x")
    assert settings.default_model == "./x"
    assert settings.memory_budget == 20 * 2**30
    assert settings.access == "deployer"
    assert (settings.max_new_tokens, settings.queue_size) == (100, 2)
    assert settings.concurrent_requests == 64
    assert settings.idle_seconds == 90.5
    assert settings.cpu_offload is True
    assert settings.allow_any_gemma is settings.takes_any_gemma is False
    assert settings.mcp is settings.metrics is settings.shows_metrics is False
    assert settings.log_prompts is True
    assert settings.shutdown_seconds == 2.5
    assert settings.hf_token is not None
    assert settings.hf_token.get_secret_value() == "hf_canary123456"


@pytest.mark.parametrize(
    ("told", "space", "takes_any"),
    [
        (None, None, True), (None, "someone/gemma", False), ("true", None, True),
        ("true", "someone/gemma", True), ("false", None, False), ("false", "someone/gemma", False),
        ("1", "someone/gemma", True), ("0", None, False), ("", "someone/gemma", False),
    ],
)  # fmt: skip
def test_visitors_may_name_any_gemma_except_on_a_space_unless_the_deployer_says(
    monkeypatch: pytest.MonkeyPatch, told: str | None, space: str | None, takes_any: bool
) -> None:
    given = {"GEMMA_SPACE_ALLOW_ANY_GEMMA": told, "SPACE_ID": space}
    settings = read(
        monkeypatch, **{name: value for name, value in given.items() if value is not None}
    )
    assert settings.takes_any_gemma is takes_any


def test_an_idle_time_of_zero_means_that_nobody_leaves_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read(monkeypatch, GEMMA_SPACE_IDLE_SECONDS="0").idle_seconds == 0


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
        ("GEMMA_SPACE_CONCURRENT_REQUESTS", "0"), ("GEMMA_SPACE_CONCURRENT_REQUESTS", "5000"),
        ("GEMMA_SPACE_QUEUE_SIZE", "0"), ("GEMMA_SPACE_QUEUE_SIZE", "x"),
        ("GEMMA_SPACE_IDLE_SECONDS", "-1"), ("GEMMA_SPACE_IDLE_SECONDS", "an hour"),
        ("GEMMA_SPACE_IDLE_SECONDS", "nan"), ("GEMMA_SPACE_IDLE_SECONDS", "inf"),
        ("GEMMA_SPACE_IDLE_SECONDS", "1e12"), ("GEMMA_SPACE_CPU_OFFLOAD", "maybe"),
        ("GEMMA_SPACE_ALLOW_ANY_GEMMA", "some"), ("GEMMA_SPACE_SHUTDOWN_SECONDS", "-1"),
        ("GEMMA_SPACE_METRICS", "some"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **{variable: value})
    assert f"setting {variable} " in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.message.count(". ") == 0, "one sentence"
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("chosen", "share"),
    [
        ({}, 0),
        ({"server_name": "0.0.0.0"}, PER_VISITOR),
        ({"space_id": "somebody/space"}, PER_VISITOR),
        ({"share": True}, PER_VISITOR),
        ({"space_id": "somebody/space", "presenter": True}, 0),  # a room has one address
        ({"space_id": "somebody/space", "per_visitor": 0}, 0),
        ({"per_visitor": 7}, 7),
    ],
    ids=str,
)
def test_a_visitors_share_where_strangers_come(chosen: dict[str, Any], share: int) -> None:
    assert Settings(**chosen).visitors_share == share
