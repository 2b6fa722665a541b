"""What the documents promise agrees with the code, and what they point at is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from gemma_space.catalog import hub_catalog
from gemma_space.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "gemma_space"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EACH = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
QUOTED = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w./-]+\.(?:py|js|css|json|toml|md|txt)|[\w.-]+(?:/[\w.-]+)*/")


def prose(document: Path) -> str:
    """A document without its blocks of code."""
    return FENCED.sub("", document.read_text(encoding="utf-8"))


def section(document: str, title: str) -> str:
    """What stands between a heading of the second level and the next."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


# --- links --------------------------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    """The names that GitHub and the Hub give to headings."""
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(prose(document)))
    return {title.strip().replace(" ", "-") for title in plain}


def broken(text: str, where: Path) -> Iterator[str]:
    """The links of a text that lead nowhere, were it a document of that name."""
    for groups in LINK.findall(text):
        link = "".join(groups)
        scheme, host, path, _, anchor = urlsplit(link)
        target = (where.parent / unquote(path)).resolve() if path else where
        inside = not (scheme or host) and target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            yield link


@EACH
def test_every_link_leads_somewhere_in_here(document: Path) -> None:
    assert LINK.search(prose(document))
    assert list(broken(prose(document), document)) == []


@pytest.mark.parametrize(
    "link",
    ["docs/nothing.md", "docs/hosting.md#nothing", "#nothing", "/docs/hosting.md", "../README.md",
     "https://example.com/docs/hosting.md", "//example.com/README.md", "LICENSE#terms"],
)  # fmt: skip
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    for text in (f"[words]({link})", f"![a picture]({link})", f'<img alt="" src="{link}">'):
        assert list(broken(text, ROOT / "README.md")) == [link]
    good = "[one](docs/hosting.md#on-a-space) [two](#run-it) ![three](assets/icon.svg)"
    assert list(broken(good, ROOT / "README.md")) == []


def test_every_document_is_reached_from_the_readme() -> None:
    linked = {"".join(groups).partition("#")[0] for groups in LINK.findall(prose(DOCUMENTS[0]))}
    assert {f"docs/{document.name}" for document in DOCUMENTS[1:]} <= linked


# --- names --------------------------------------------------------------------------------------


@EACH
def test_every_file_that_is_named_is_there(document: Path) -> None:
    """Named as in here, or as in the package; a bare name may be a checkpoint's file."""
    named = {name for name in QUOTED.findall(prose(document)) if FILE.fullmatch(name)}
    ours = {name for name in named if name.endswith(".py") or ("/" in name and name[0] != "/")}
    places = (ROOT, PACKAGE, PACKAGE / "ui")
    assert [n for n in sorted(ours) if not any((place / n).exists() for place in places)] == []


@EACH
def test_every_model_that_is_named_is_in_the_catalogue(document: Path) -> None:
    named = set(re.findall(r"google/gemma[\w.-]*\w", document.read_text(encoding="utf-8")))
    assert named <= {row.repo_id for row in hub_catalog()}


# --- settings -----------------------------------------------------------------------------------


def settings_variables() -> dict[str, object]:
    """The default of each setting, by its variable."""
    return {
        str(field.validation_alias or PREFIX + name.upper()): field.default
        for name, field in Settings.model_fields.items()
    }


@EACH
def test_everything_that_is_set_in_the_examples_is_a_setting(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(rf"\b({PREFIX}[A-Z_]+)\b", text))
    assert named - {"GEMMA_SPACE_LIVE_TOKEN"} <= settings_variables().keys()


def test_the_settings_table_is_complete_and_its_defaults_are_right() -> None:
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (.*?) ?\|", section("docs/hosting.md", "Settings"), re.MULTILINE
    )
    defaults = settings_variables()
    assert len(rows) == len(defaults)
    assert {name for name, _ in rows} == defaults.keys()
    plain = {name: told.strip("`") for name, told in rows if re.fullmatch("`[^`]+`", told)}
    assert len(plain) > 10
    assert plain == {name: str(defaults[name]).lower() for name in plain}


# --- how it is built ----------------------------------------------------------------------------

LAYOUT = section("docs/development.md", "How it is built")
# They stand before a gap in the line, further out than what is said of them.
NAMED = {
    name.rstrip("/")
    for names in re.findall(r"^  (\w[\w/ ]*?)(?:  +.*)?$", LAYOUT, re.MULTILINE)
    for name in names.split()
}


def test_the_layout_names_every_module_and_none_that_is_gone() -> None:
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    modules = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__"}
    assert packages | modules == NAMED


@pytest.mark.parametrize("package", ["engine", "remote"])
def test_the_layout_names_the_parts_of_a_package(package: str) -> None:
    parts = {file.stem for file in (PACKAGE / package).glob("*.py")} - {"__init__"}
    assert {part for part in parts if not re.search(rf"\b{part}\b", LAYOUT)} == set()


@pytest.mark.parametrize("entry", ["benchmarks/", "docs/", "tests/", "tools/", "training/"])
def test_the_layout_names_what_lies_beside_the_package(entry: str) -> None:
    assert re.search(rf"^{entry}", LAYOUT, re.MULTILINE)
    assert (ROOT / entry).is_dir()
