"""What the README promises agrees with the code."""

import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from gemma_space.environment import LIBRARY_DEFAULTS
from gemma_space.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FRONT_MATTER = README.split("---")[1]
REQUIREMENTS = [
    Requirement(line)
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
MAX_SPACE_FILE_BYTES = 10_000_000


def front(name: str) -> str:
    found = re.search(rf"^{name}: (.+)$", FRONT_MATTER, re.MULTILINE)
    assert found, f"the front matter lacks {name}"
    return found[1].strip("\"'")


def settings_variables() -> set[str]:
    return {
        str(field.validation_alias or PREFIX + name.upper())
        for name, field in Settings.model_fields.items()
    }


def test_the_space_runs_the_pinned_gradio() -> None:
    (gradio,) = (one for one in REQUIREMENTS if one.name == "gradio")
    assert (gradio.extras, str(gradio.specifier)) == ({"mcp", "oauth"}, f"=={front('sdk_version')}")


def test_the_space_starts_our_app() -> None:
    assert (front("sdk"), front("app_file")) == ("gradio", "app.py")
    assert front("python_version") in ("3.11", "3.12")
    assert len(front("short_description")) <= 60


def test_the_space_asks_visitors_for_gated_repositories_alone() -> None:
    assert (front("hf_oauth"), front("hf_oauth_scopes")) == ("true", "[gated-repos]")


def test_the_space_has_time_to_start_and_can_be_found() -> None:
    assert re.fullmatch(r"\d+(m|h)", front("startup_duration_timeout"))
    assert {"gemma", "zerogpu"} <= set(re.findall(r"[\w-]+", front("tags")))
    assert LIBRARY_DEFAULTS["GRADIO_SSR_MODE"] == "false"


def test_torch_is_free_to_be_what_zero_gpu_has() -> None:
    """2.8 to 2.11 on Python 3.12, as Hugging Face lists them; and it brings `spaces` itself."""
    (torch,) = (one for one in REQUIREMENTS if one.name == "torch")
    assert all(version in torch.specifier for version in ("2.8.0", "2.9.1", "2.10.0", "2.11.0"))
    assert "spaces" not in {one.name for one in REQUIREMENTS}


def test_everything_that_is_set_in_the_examples_is_a_setting() -> None:
    named = set(re.findall(r"\b(GEMMA_SPACE_[A-Z_]+)=", README))
    assert named - {"GEMMA_SPACE_LIVE_TOKEN"} <= settings_variables()


def test_the_settings_table_is_complete() -> None:
    section = README.split("## Settings")[1].split("## ")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)`", section, re.MULTILINE)) == settings_variables()


def test_every_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    assert [name for name in pictures if not (ROOT / name).is_file()] == []


def test_no_file_is_too_large_for_a_space() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name] or [
        *(ROOT / "assets").rglob("*")  # a copy without its history
    ]
    large = [f for f in files if f.is_file() and f.stat().st_size > MAX_SPACE_FILE_BYTES]
    assert large == []
    assert "lfs" not in (ROOT / ".gitattributes").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", sorted((ROOT / "gemma_space").glob("*.py")))
def test_the_layout_names_every_module(module: Path) -> None:
    section = README.split("## How it is built")[1].split("## ")[0]
    assert module.stem == "__init__" or re.search(rf"\b{module.stem}\b", section)
