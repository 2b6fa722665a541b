"""What a repository says about itself: a few small files, and the headers of its weights.

Knows which files tell a model, and how little they may cost. Does not know what they mean;
`local_checkpoint` does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, SafetensorsParsingError
from huggingface_hub.utils import tqdm as hub_tqdm

from gemma_space.errors import DownloadError
from gemma_space.hub import TIMEOUT_SECONDS

# What tells which model a repository holds, without its weights or vocabulary.
DESCRIPTION = ["config.json", "generation_config.json", "tokenizer_config.json",
               "chat_template.jinja", "adapter_config.json"]  # fmt: skip
MAX_DESCRIPTION_BYTES = 32 << 20
MAX_WEIGHT_FILES = 200


@dataclass(frozen=True, slots=True)
class Description:
    """What a repository says about itself, without its weights.

    `folder` holds its small files; `tensors` are dtype and shape by name, from the headers of its
    safetensors files.
    """

    folder: Path
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    gated: bool
    license: str


def describe(repo_id: str, commit: str, token: str | None) -> Description:
    """Read what a repository holds: a few kilobytes, whatever the size of its weights.

    Raises:
        DownloadError: worded for people.
    """
    api, sent = HfApi(endpoint=constants.ENDPOINT), token or False
    with _failures_in_words(f"The files of {repo_id} could not be looked at"):
        info = api.model_info(
            repo_id, revision=commit, token=sent, timeout=TIMEOUT_SECONDS, files_metadata=True
        )
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        stored = [name for name in sizes if name.endswith(".safetensors") and "/" not in name]
        _require_modest(repo_id, [sizes.get(name, 0) for name in DESCRIPTION], len(stored))
        folder = Path(snapshot_download(repo_id, revision=commit, token=sent,
                                        allow_patterns=DESCRIPTION, tqdm_class=_NoBar))  # fmt: skip
        headers = [
            api.parse_safetensors_file_metadata(
                repo_id, name, revision=commit, token=sent, timeout=TIMEOUT_SECONDS
            )
            for name in stored
        ]
    tensors = {
        name: (tensor.dtype, tuple(tensor.shape))
        for header in headers
        for name, tensor in header.tensors.items()
    }
    card = info.card_data
    guarded = bool(info.gated or info.private)
    return Description(folder, tensors, guarded, str(card.license or "") if card else "")


def _require_modest(repo_id: str, sizes: list[int], weights: int) -> None:
    """Refuse a description that would cost more than it tells, before it is fetched."""
    if sum(sizes) > MAX_DESCRIPTION_BYTES or weights > MAX_WEIGHT_FILES:
        raise DownloadError(
            f"The repository {repo_id} is described by files that no Gemma has.",
            "Choose another repository.",
        )


@contextmanager
def _failures_in_words(subject: str) -> Iterator[None]:
    try:
        yield
    except (
        HfHubHTTPError, httpx2.HTTPError, OSError, ValueError, RuntimeError,
        SafetensorsParsingError,
    ) as error:  # fmt: skip
        raise DownloadError(
            f"{subject} ({type(error).__name__}).",
            "Check the connection and the free disk space, then try again.",
        ) from None


class _NoBar(hub_tqdm):
    """A progress bar that draws nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})
