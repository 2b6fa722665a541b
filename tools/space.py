"""This repository as a Space of its own: `python -m tools.space you/gemma-space`.

Copies what is committed, writes the address of the Space's picture into the copy's front matter,
and has `hf` upload it. Knows git and `hf`; whose account it is, `hf auth login` knows.
"""

import argparse
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from gemma_space.link_card import picture_address

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"[\w-]+/[\w.-]+", re.ASCII)
FENCE = "---\n"
# A Space has its own, which tells large files from small ones.
LEFT_OUT = ":(exclude).gitattributes"


def stage(space: str, folder: Path, root: Path = ROOT) -> None:
    """Copy what is committed, with a front matter that is this Space's own.

    Args:
        space: `owner/name`.
        folder: where to; empty.
        root: of the repository.

    Raises:
        subprocess.CalledProcessError: git has no commit there.
        ValueError: README.md begins with no front matter.
    """
    archive = subprocess.run(
        ["git", "archive", "--format=zip", "HEAD", "--", LEFT_OUT],
        cwd=root, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(archive.stdout)) as files:
        files.extractall(folder)
    readme = folder / "README.md"
    readme.write_text(with_thumbnail(readme.read_text(encoding="utf-8"), space), encoding="utf-8")


def with_thumbnail(readme: str, space: str) -> str:
    """A README whose front matter names this Space's picture, and no other Space's.

    Raises:
        ValueError: it begins with no front matter.
    """
    before, begin, rest = readme.partition(FENCE)
    front, end, text = rest.partition(FENCE)
    if before or not begin or not end:
        raise ValueError("README.md does not begin with a front matter between two lines of ---.")
    front = re.sub(r"^thumbnail:.*\n", "", front, flags=re.MULTILINE)
    return f"{FENCE}{front}thumbnail: {picture_address(space)}\n{FENCE}{text}"


def upload(space: str, folder: Path) -> int:
    """Make the Space if it is not there, put a folder into it, and return `hf`'s exit status."""
    hf = Path(sys.executable).with_name("hf")  # that of this environment
    return subprocess.run(
        [hf, "upload", space, folder, ".", "--repo-type", "space"], check=False
    ).returncode


def main() -> None:
    """Stage and upload."""
    parser = argparse.ArgumentParser(prog="python -m tools.space", description=__doc__)
    parser.add_argument("space", help="its owner and name, such as you/gemma-space")
    space = parser.parse_args().space
    if not NAME.fullmatch(space):
        sys.exit(f"“{space}” names no Space. Say whose it is, too: you/gemma-space.")
    with tempfile.TemporaryDirectory(prefix="gemma-space-") as folder:
        try:
            stage(space, Path(folder))
        except (subprocess.CalledProcessError, FileNotFoundError):
            sys.exit("git has no commit here to take the files from. Run this in a clone.")
        print(f"What is committed goes to https://huggingface.co/spaces/{space}.", flush=True)
        sys.exit(upload(space, Path(folder)))


if __name__ == "__main__":
    main()
