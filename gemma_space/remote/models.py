"""What the servers serve as rows of the catalogue: a name becomes all that is known about it.

Knows how a server's word for a model leads to the catalogue's row or to a folder that the deployer
named. Does not know which server is asked.
"""

from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from gemma_space import local_checkpoint
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint, Linears
from gemma_space.errors import GemmaSpaceError, ModelNotFoundError
from gemma_space.remote.servers import Servers
from gemma_space.remote.wire import Answer
from gemma_space.shelf import Shelf, catalogue
from gemma_space.types import Precision

ASSUMED_CONTEXT = 8192
UNKNOWN_CONTEXT = (
    f"The server does not tell how long its context window is; {ASSUMED_CONTEXT:,} is assumed."
)


def remote_row(name: str, told: Answer, folder: bool = False) -> Checkpoint:
    """The row of a model that a server serves under this name.

    Args:
        told: what the server lists about it.
        folder: the deployer gave this name, so that it may be that of a folder here.
    """
    told_length = told.get("max_model_len")  # vLLM and SGLang say so
    length = told_length if isinstance(told_length, int) and told_length > 1 else 0
    return _row(name, length, source_of(name, told, folder))


def _row(name: str, length: int, source: Checkpoint | None) -> Checkpoint:
    if source is None:
        return Checkpoint(
            repo_id=name, title=name.rstrip("/").rpartition("/")[2] or name, family="",
            context_length=length or ASSUMED_CONTEXT, variant="instruct", license="", gated=False,
            precisions=(Precision.AS_SERVED,), revision="", is_remote=True,
            note="" if length else UNKNOWN_CONTEXT, parameters=0, linears=Linears(0, 0, 0),
            sampling={}, stop_ids=(),
        )  # fmt: skip
    return replace(
        source, repo_id=name, gated=False, precisions=(Precision.AS_SERVED,), revision="",
        fp16_revision="", path=None, base=None, quantization=None, is_remote=True,
        context_length=length or source.context_length,
    )  # fmt: skip


def source_of(name: str, told: Answer, folder: bool) -> Checkpoint | None:
    """The checkpoint that a server's model is, where its files can be had: for its tokenizer."""
    for known in (name, told.get("root"), told.get("parent")):  # vLLM's names of its own have these
        if isinstance(known, str) and known in _catalogue():
            return _catalogue()[known]
    return _folder(name) if folder else None


@lru_cache(64)
def _folder(name: str) -> Checkpoint | None:
    try:
        if Path(name).is_dir():
            return local_checkpoint.local_checkpoint(Path(name), repo_id=name)
    except (GemmaSpaceError, OSError):  # it is a model for the server, which is enough
        pass
    return None


@cache
def _catalogue() -> dict[str, Checkpoint]:
    return catalogue()


class RemoteShelf(Shelf):
    """The models that servers list, or those that the deployer named.

    Args:
        named: the deployer's allow-list; empty for all that are listed.
    """

    def __init__(self, servers: Servers, access: Access, named: tuple[str, ...]) -> None:
        super().__init__((), access, takes_any=False)
        self._servers, self._named = servers, frozenset(named)

    def rows(self) -> tuple[Checkpoint, ...]:
        """The rows as known by now; nobody is asked."""
        listed = self._servers.models().items()
        return tuple(remote_row(name, told, name in self._named) for name, told in listed)

    def find(self, name: object, token: str | None = None) -> Checkpoint:
        """The row for a name; the servers are asked again for one they did not list.

        Raises:
            ModelNotFoundError: no server lists it.
        """
        found = self.peek(name)
        if found is None:
            self._servers.look()
            found = self.peek(name)
        if found is None:
            listed = [row.repo_id for row in self.rows()]
            raise ModelNotFoundError(
                f"No server lists a model “{str(name)[:100]}”.",
                f"Choose one from the list, for example {listed[0]}." if listed
                else "Try again once one of the servers answers.",
            )  # fmt: skip
        return found

    def peek(self, name: object) -> Checkpoint | None:
        """The row for a name as far as it is known by now."""
        text = name.strip() if isinstance(name, str) else ""
        told = self._servers.models().get(text)
        return None if told is None else remote_row(text, told, text in self._named)

    def lists(self, repo_id: str) -> bool:
        """Whether everybody sees this name; of what servers list, everybody does."""
        return repo_id in self._servers.models()

    def source(self, row: Checkpoint) -> Checkpoint | None:
        """The checkpoint that a row is, where its files can be had."""
        told = self._servers.models().get(row.repo_id)
        return None if told is None else source_of(row.repo_id, told, row.repo_id in self._named)
