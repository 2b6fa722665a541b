"""What libraries and child processes find in the environment: our defaults, and no secret."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_space.environment import (
    LIBRARY_DEFAULTS,
    SECRET_VARIABLES,
    SPACE_PROXIES,
    hide_secrets,
    set_library_defaults,
)
from gemma_space.settings import Settings


def test_library_defaults_leave_the_deployers_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARY_DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRADIO_SSR_MODE", "true")
    set_library_defaults()
    assert os.environ["GRADIO_SSR_MODE"] == "true"
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
    for name in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
        assert not logging.getLogger(name).isEnabledFor(logging.WARNING)


BEFORE_THE_LIBRARIES = """
import sys
from pathlib import Path
from gemma_space import redaction
from gemma_space.environment import set_library_defaults
assert "huggingface_hub" not in sys.modules
set_library_defaults(storage=Path(sys.argv[1]))
from gemma_space import hub
print(hub.cache())
"""


@pytest.mark.parametrize(
    ("environment", "kept"),
    [
        ({"SPACE_ID": "somebody/space"}, True),
        ({}, False),  # /data on somebody's own machine is theirs
        ({"SPACE_ID": "somebody/space", "HF_HOME": "/chosen"}, False),
    ],
)
def test_a_spaces_storage_keeps_downloads(
    tmp_path: Path, environment: dict[str, str], kept: bool
) -> None:
    """In a process of its own: the libraries read it once, at their import."""
    usual = {n: v for n, v in os.environ.items() if not n.startswith("HF_")}
    found = subprocess.run(
        [sys.executable, "-c", BEFORE_THE_LIBRARIES, str(tmp_path)],
        env=usual | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (str(tmp_path / "huggingface") in found.stdout) is kept


def test_a_space_without_storage_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.environ["HF_HOME"]
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    set_library_defaults({"SPACE_ID": "somebody/space", **LIBRARY_DEFAULTS}, tmp_path / "none")
    assert os.environ["HF_HOME"] == before
    assert os.environ["FORWARDED_ALLOW_IPS"] == SPACE_PROXIES


def test_a_secret_that_was_read_is_nowhere_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in SECRET_VARIABLES:
        monkeypatch.setenv(name, f"hf_secret{name}")
    settings = Settings.from_env()
    assert settings.hf_token is not None
    assert settings.engine_key is not None
    hide_secrets()
    assert "hf_secret" not in str(dict(os.environ))
