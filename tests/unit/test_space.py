"""What a Space is made from: the front matter, the requirements, and the copy that is uploaded."""

import base64
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from packaging.requirements import Requirement
from PIL import Image

from gemma_space.environment import LIBRARY_DEFAULTS
from gemma_space.link_card import PICTURE, SENTENCE
from tools import space

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REQUIREMENTS = [
    Requirement(line)
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
MAX_SPACE_FILE_BYTES = 10_000_000
NAME = "somebody/gemma-space"
IN_THE_CLONE = ("README.md", "app.py", ".gitattributes", PICTURE)


def read_front_matter(readme: str) -> dict[str, Any]:
    assert readme.startswith("---\n")
    return yaml.safe_load(readme.split("---\n")[1])


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a commit, and what was never committed beside it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in IN_THE_CLONE:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "All there is")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    (folder / "diary.txt").write_text("a line", encoding="utf-8")
    (folder / "app.py").write_text("half a thought", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def staged(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("staged")
    space.stage(NAME, folder, clone)
    return folder


@pytest.fixture(scope="module", params=["here", "in the copy"])
def front(request: pytest.FixtureRequest, staged: Path) -> dict[str, Any]:
    """The front matter, as it is in the repository and as it goes to the Hub."""
    folder = ROOT if request.param == "here" else staged
    return read_front_matter((folder / "README.md").read_text(encoding="utf-8"))


# --- the front matter ---------------------------------------------------------------------------


def test_the_space_runs_the_pinned_gradio(front: dict[str, Any]) -> None:
    (gradio,) = (one for one in REQUIREMENTS if one.name == "gradio")
    assert (gradio.extras, str(gradio.specifier)) == (
        {"mcp", "oauth"},
        f"=={front['sdk_version']}",
    )


def test_the_space_starts_our_app(front: dict[str, Any]) -> None:
    assert (front["sdk"], front["app_file"]) == ("gradio", "app.py")
    assert front["python_version"] in ("3.11", "3.12")
    assert len(front["short_description"]) <= 60
    assert front["short_description"] == SENTENCE


def test_the_space_asks_visitors_for_gated_repositories_alone(front: dict[str, Any]) -> None:
    assert (front["hf_oauth"], front["hf_oauth_scopes"]) == (True, ["gated-repos"])


def test_the_space_has_time_to_start_and_can_be_found(front: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+(m|h)", front["startup_duration_timeout"])
    assert {"gemma", "zerogpu"} <= set(front["tags"])
    assert LIBRARY_DEFAULTS["GRADIO_SSR_MODE"] == "false"


def test_torch_is_free_to_be_what_zero_gpu_has() -> None:
    """2.8 to 2.11 on Python 3.12, as Hugging Face lists them; and it brings `spaces` itself."""
    (torch,) = (one for one in REQUIREMENTS if one.name == "torch")
    assert all(version in torch.specifier for version in ("2.8.0", "2.9.1", "2.10.0", "2.11.0"))
    assert "spaces" not in {one.name for one in REQUIREMENTS}


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


# --- the picture --------------------------------------------------------------------------------


def test_the_picture_is_of_the_usual_size_and_light() -> None:
    with Image.open(ROOT / PICTURE) as picture:
        assert (picture.format, picture.size) == ("PNG", (1200, 630))
    assert (ROOT / PICTURE).stat().st_size < 200_000


def test_the_copy_names_its_own_picture_and_the_repository_none(staged: Path) -> None:
    assert "thumbnail" not in read_front_matter(README)
    copy = (staged / "README.md").read_text(encoding="utf-8")
    address = read_front_matter(copy)["thumbnail"]
    before, _, file = address.partition("/resolve/main/")
    assert before == f"https://huggingface.co/spaces/{NAME}"
    assert (staged / file).read_bytes() == (ROOT / PICTURE).read_bytes()
    assert copy.replace(f"thumbnail: {address}\n", "") == README


def test_another_spaces_picture_is_not_kept() -> None:
    theirs = space.with_thumbnail(README, "another/space")
    assert space.with_thumbnail(theirs, NAME) == space.with_thumbnail(README, NAME)
    for odd in ("", "# Gemma Space\n", "text\n---\nsdk: gradio\n---\n", "---\nsdk: gradio\n"):
        with pytest.raises(ValueError, match=r"README\.md"):
            space.with_thumbnail(odd, NAME)


# --- the copy -----------------------------------------------------------------------------------


def test_the_copy_is_what_was_committed(staged: Path) -> None:
    files = {f.relative_to(staged).as_posix() for f in staged.rglob("*") if f.is_file()}
    assert files == set(IN_THE_CLONE) - {".gitattributes"}
    assert (staged / "app.py").read_bytes() == (ROOT / "app.py").read_bytes()


class Handler(BaseHTTPRequestHandler):
    """A Hub that takes everything, as plain files."""

    def do_POST(self) -> None:
        hub = cast("Hub", self.server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub.asked.append(self.path)
        hub.tokens.add(self.headers.get("Authorization", ""))
        told: dict[str, Any] = {}
        if self.path.endswith("/repos/create"):
            told = {"url": f"{hub.url}/spaces/{NAME}"}
            hub.made.append(json.loads(body))
        elif "/preupload/" in self.path:
            told["files"] = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines:
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    hub.files[line["value"]["path"]] = content
            told = {"commitUrl": f"{hub.url}/spaces/{NAME}/commit/1", "commitOid": "1" * 40}
        answer = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        return None


class Hub(ThreadingHTTPServer):
    """What came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.made: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.files: dict[str, bytes] = {}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_hf_puts_the_copy_into_the_space(
    hub: Hub, staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")  # the app's own choice
    assert space.upload(NAME, staged) == 0
    (made,) = hub.made
    assert (made["type"], made["sdk"], f"{made['organization']}/{made['name']}") == (
        "space", "gradio", NAME,
    )  # fmt: skip
    assert hub.tokens == {"Bearer hf_writer"}
    assert hub.files == {
        f.relative_to(staged).as_posix(): f.read_bytes() for f in staged.rglob("*") if f.is_file()
    }


def test_whoever_cannot_upload_is_told_why(
    staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Hub is there; nor a name, nor a commit."""
    assert space.upload(NAME, staged) != 0
    for name in ("gemma-space", "you/gemma/space", "", "../space"):
        monkeypatch.setattr(sys, "argv", ["space", name])
        with pytest.raises(SystemExit, match="you/gemma-space"):
            space.main()
    with pytest.raises(subprocess.CalledProcessError):
        space.stage(NAME, tmp_path / "copy", tmp_path)
