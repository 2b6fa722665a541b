"""Which checkpoints can be asked for here: those the deployer lists, and those visitors type.

Knows how a name becomes a row: from the catalogue, a folder, or a repository's own description,
read before any weights. Does not know what is in memory.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gemma_space import architecture, catalog, description, hub, local_checkpoint
from gemma_space.access import Access
from gemma_space.assets import DEMO_ADAPTER
from gemma_space.catalog import DEMO_REPO_ID, Checkpoint
from gemma_space.checkpoint_files import base_of_adapter
from gemma_space.errors import ModelNotFoundError

MAX_FOUND = 500  # typed names that are remembered


class Shelf:
    """The checkpoints that can be asked for.

    Args:
        rows: those listed, in display order.
        access: decides who may look at a repository.
        takes_any: whether visitors may type others.
        takes_folders: whether these may be folders; None: as `takes_any`. A folder has no gate.
    """

    def __init__(
        self,
        rows: Sequence[Checkpoint],
        access: Access,
        takes_any: bool,
        takes_folders: bool | None = None,
    ) -> None:
        self._listed = {row.repo_id: row for row in rows}
        self._known = catalogue()
        self._found: dict[str, Checkpoint] = {}
        self._access = access
        self.takes_any = takes_any
        self.takes_folders = takes_any if takes_folders is None else takes_folders

    def rows(self) -> tuple[Checkpoint, ...]:
        """The listed checkpoints, in display order. Instant; needs no torch."""
        return tuple(self._listed.values())

    def find(self, name: object, token: str | None = None) -> Checkpoint:
        """The row for a name; a typed one is looked at first, with the visitor's own access.

        Raises:
            ModelNotFoundError: it is not served here, or holds nothing that could be.
            AccessDeniedError: the Hub does not let this visitor look.
            DownloadError: the Hub could not be asked.
        """
        text = name.strip() if isinstance(name, str) else ""
        known = self._seen(text)
        if known is not None:
            if not self.lists(text):
                self._access.require(known, token)  # it may be somebody's own
            return known
        if not self.takes_any or not text:
            raise ModelNotFoundError(
                f"There is no model “{str(name)[:100]}” here.",
                f"Choose one from the list, for example {next(iter(self._listed), DEMO_REPO_ID)}.",
            )
        return self._remember(text, self._known.get(text) or self._typed(text, token))

    def peek(self, name: object) -> Checkpoint | None:
        """The row for a name as far as it is known by now; nobody is asked."""
        text = name.strip() if isinstance(name, str) else ""
        return self._seen(text) or (self._known.get(text) if self.takes_any else None)

    def lists(self, repo_id: str) -> bool:
        """Whether everybody sees this name anyway."""
        return repo_id in self._listed or repo_id in self._known

    def _seen(self, text: str) -> Checkpoint | None:
        return self._listed.get(text) or self._found.get(text)

    def _remember(self, text: str, row: Checkpoint) -> Checkpoint:
        if len(self._found) >= MAX_FOUND:
            self._found.clear()
        self._found[text] = row
        return row

    def _typed(self, text: str, token: str | None, adapter: str = "") -> Checkpoint:
        """A row from the files; `adapter` is the one that stands on it, which no adapter can."""
        folder = _folder(text) if self.takes_folders else None
        if folder is not None:
            return self._folder_row(folder, text, token, adapter)
        if not hub.is_repo_id(text):
            kinds = (
                "neither a repository id nor a folder here"
                if self.takes_folders
                else ("no repository id")
            )
            raise ModelNotFoundError(
                f"“{text[:100]}” is {kinds}.",
                "A repository id has the form owner/name, like google/gemma-3-1b-it.",
            )
        return self._repository_row(text, token, adapter)

    def _base(
        self, name: str, token: str | None, adapter: str, above: str, local: bool
    ) -> Checkpoint:
        """The row that `adapter` stands on; `above` is what stands on the adapter itself.

        Only a `local` adapter's base may be a folder.
        """
        row = None if above else self._seen(name) or self._known.get(name)
        if not above and row is None:
            find = self._typed if local else self._repository_row
            row = self._remember(name, find(name, token, adapter))
        if row is None or row.base is not None:
            raise ModelNotFoundError(
                f"The base of {above or adapter} is an adapter itself.",
                "Only adapters of a whole model are attached here.",
            )
        return row

    def _folder_row(self, folder: Path, name: str, token: str | None, adapter: str) -> Checkpoint:
        base = base_of_adapter(folder)
        if not base:
            return local_checkpoint.local_checkpoint(folder, repo_id=name)
        row = self._base(base, token, name, adapter, local=True)
        return local_checkpoint.adapter_checkpoint(folder, row, repo_id=name)

    def _repository_row(self, repo_id: str, token: str | None, adapter: str) -> Checkpoint:
        commit = self._access.require_repository(repo_id, token)
        told = description.describe(repo_id, commit, self._access.token_for(repo_id, token))
        facts = {"repo_id": repo_id, "tensors": told.tensors}
        base = base_of_adapter(told.folder)
        if base:
            if not hub.is_repo_id(base):  # a stranger's file must not name a folder of ours
                raise ModelNotFoundError(
                    f"The base of {repo_id} is no repository of the Hub.",
                    "Only adapters of a model on the Hub are attached from there.",
                )
            below = self._base(base, token, repo_id, adapter, local=False)
            row = local_checkpoint.adapter_checkpoint(told.folder, below, **facts)
        else:
            row = local_checkpoint.local_checkpoint(told.folder, **facts)
            row = replace(row, kv=architecture.kv_groups(told.folder))
            if not row.kv:
                raise local_checkpoint.nonsense(repo_id)
        if not told.tensors:
            raise ModelNotFoundError(
                f"The repository {repo_id} has no safetensors files.",
                "Pickled weights (.bin) are not loaded, because loading them runs code.",
            )
        title = repo_id.split("/")[1]
        terms = told.license or row.license
        gated = told.gated or row.gated
        return replace(row, path=None, revision="main", title=title, license=terms, gated=gated)


def _folder(text: str) -> Path | None:
    try:
        folder = Path(text).expanduser()
        return folder if folder.is_dir() and not _is_kept(folder) else None
    except (OSError, RuntimeError, ValueError):  # too long, nobody's home, or not to be looked at
        return None


def _is_kept(folder: Path) -> bool:
    """Whether it, or anything in it, lies in the Hub's cache: those files have a gate."""
    cache = Path(hub.cache())
    if not cache.is_dir():
        return False
    for path in (folder, *folder.iterdir()):
        real = path.resolve()
        if any(parent.samefile(cache) for parent in (real, *real.parents) if parent.exists()):
            return True
    return False


def catalogue() -> dict[str, Checkpoint]:
    """Everything known by name: the demo, its adapter, and the Hub's catalogue."""
    demo = local_checkpoint.demo()
    ours = [demo]
    if DEMO_ADAPTER.is_dir():
        ours.append(local_checkpoint.demo_adapter(demo))
    return {row.repo_id: row for row in (*ours, *catalog.hub_catalog())}


def served_checkpoints(
    names: Sequence[str], access: Access | None = None, token: str | None = None
) -> tuple[Checkpoint, ...]:
    """The rows for an allow-list of repo ids and folders; the whole catalogue for none.

    Args:
        access, token: ask the Hub about repositories that the catalogue does not know.

    Raises:
        ModelNotFoundError: a name holds nothing that could be served.
        AccessDeniedError, DownloadError: the Hub does not say what a repository holds.
    """
    if not names:
        return tuple(catalogue().values())
    shelf = Shelf((), access or Access(), takes_any=True)
    return tuple(shelf.find(name, token) for name in names)
