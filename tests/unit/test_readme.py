"""What the README promises agrees with the code."""

import re
from pathlib import Path

import pytest

from gemma_space.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FRONT_MATTER = README.split("---")[1]
MAX_SPACE_FILE_BYTES = 10_000_000


def front(name: str) -> str:
    found = re.search(rf"^{name}: (.+)$", FRONT_MATTER, re.MULTILINE)
    assert found, f"the front matter lacks {name}"
    return found[1].strip("\"'")


def test_the_space_runs_the_pinned_gradio() -> None:
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert f"gradio[mcp,oauth]=={front('sdk_version')}\n" in requirements


def test_the_space_starts_our_app() -> None:
    assert (front("sdk"), front("app_file")) == ("gradio", "app.py")
    assert front("python_version") in ("3.11", "3.12")
    assert len(front("short_description")) <= 60


def test_the_settings_table_is_complete() -> None:
    variables = {
        str(field.validation_alias or PREFIX + name.upper())
        for name, field in Settings.model_fields.items()
    }
    section = README.split("## Settings")[1].split("## ")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)`", section, re.MULTILINE)) == variables


def test_every_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    assert [name for name in pictures if not (ROOT / name).is_file()] == []


def test_no_file_is_too_large_for_a_space() -> None:
    large = [
        file for file in (ROOT / "assets").rglob("*")
        if file.is_file() and file.stat().st_size > MAX_SPACE_FILE_BYTES
    ]  # fmt: skip
    assert large == []


@pytest.mark.parametrize("module", sorted((ROOT / "gemma_space").glob("*.py")))
def test_the_layout_names_every_module(module: Path) -> None:
    section = README.split("## How it is built")[1].split("## ")[0]
    assert module.stem == "__init__" or re.search(rf"\b{module.stem}\b", section)
