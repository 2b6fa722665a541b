"""The models on other servers, with the use cases of those on this machine.

Nothing is loaded or sized here: a model is ready where a server lists it. Knows what each server
can do with a model, found out once; does not know how a reply is asked for.
"""

import logging
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from typing import Any

from cachetools import TTLCache

from gemma_space import precision
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.errors import (
    AccessDeniedError,
    DownloadError,
    GemmaSpaceError,
    InvalidRequestError,
    ServerError,
)
from gemma_space.library import Library
from gemma_space.remote.ability import Ability
from gemma_space.remote.asking import trial
from gemma_space.remote.models import RemoteShelf
from gemma_space.remote.probing import probe
from gemma_space.remote.servers import Server, Servers
from gemma_space.remote.wire import Wire
from gemma_space.reports import (
    Fit,
    LoadedRow,
    LoadProgress,
    ModelRow,
    PrecisionFit,
    Status,
)
from gemma_space.settings import Settings
from gemma_space.types import Attention, Precision

WAIT_SECONDS = 20.0  # of a page for what a server can do; it may be loading the model
UNREAD_SECONDS = 20.0
NOT_YET = "What the server can do is being found out; look again in a moment."
log = logging.getLogger(__name__)


class RemoteLibrary(Library):
    """The models that servers serve.

    Args:
        servers: which they are, and what they list.
        wire: asks them.
        access: decides who may read a tokenizer on the Hub; the servers serve everybody here.
    """

    def __init__(self, servers: Servers, wire: Wire, access: Access, settings: Settings) -> None:
        self._remote_shelf = RemoteShelf(servers, access, settings.models)
        super().__init__(self._remote_shelf, access, settings)
        self.servers, self._wire = servers, wire
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="trying")
        self._waits: dict[str, Future[Ability]] = {}
        self._unread: TTLCache[tuple[str, int], GemmaSpaceError] = TTLCache(500, UNREAD_SECONDS)

    @property
    def is_remote(self) -> bool:
        """They are on other servers."""
        return True

    def rows(self) -> tuple[ModelRow, ...]:
        """Every model listed, after a look at the servers; it is loaded where one has it."""
        self.servers.look()
        return tuple(
            replace(row, loaded=tuple(name for name, fit in row.precisions.items() if fit.fits))
            for row in super().rows()
        )

    def status(self, token: str | None = None) -> Status:
        """How many servers answer, and the models on them."""
        self.servers.look()
        count, answering = self.servers.count, self.servers.answering
        serving = [row for row in self.choices() if self.servers.serving(row.repo_id)]
        return Status(
            device=f"remote: {answering} of {count} server{'s' if count > 1 else ''} answering",
            memory_total_bytes=0, memory_free_bytes=0, budget_bytes=0,
            loaded=tuple(
                LoadedRow(repo_id=row.repo_id, precision=str(Precision.AS_SERVED), revision="",
                          nbytes=0, leases=0, idle_seconds=0.0)
                for row in serving
            ),
            queue=self.servers.requests,
        )  # fmt: skip

    def fits(self, row: Checkpoint, tokens: int = 0) -> dict[str, PrecisionFit]:
        """Nothing is needed here; whether it is ready is all there is to say."""
        there = bool(self.servers.serving(row.repo_id))
        reason = "" if there else "No server that has it answers."
        return {
            str(Precision.AS_SERVED): PrecisionFit(
                weights_bytes=0, kv_bytes=0, fits=there, reason=reason
            )
        }

    def attentions(self, row: Checkpoint) -> tuple[Attention, ...]:
        """The server decides."""
        return (Attention.AUTO,)

    def fit(
        self, row: Checkpoint, wanted: Precision, how: Attention = Attention.AUTO,
        token: str | None = None,
    ) -> Fit:  # fmt: skip
        """Whether a server has it, and what cannot be had there."""
        there = self.fits(row)[str(Precision.AS_SERVED)]
        ability = self.ability(row) if there.fits else None
        lacks = ability.lacks() if ability else (NOT_YET,) * there.fits
        return Fit(
            precision=Precision.AS_SERVED, weights_bytes=0, kv_bytes=0, tokens=0, budget_bytes=0,
            taken_bytes=0, loaded=there.fits, fits=there.fits, reason=there.reason, lacks=lacks,
        )  # fmt: skip

    def load(
        self, model: str, precision_name: str = "auto", token: str | None = None,
        attention_name: str = "auto",
    ) -> Generator[LoadProgress]:  # fmt: skip
        """Ready at once, if a server has it.

        Raises:
            ServerError: none that has it answers.
        """
        yield LoadProgress(phase="access")
        row = self.find(model, token)
        precision.require(row, precision.parse(precision_name))
        with self.servers.use(row.repo_id):
            yield LoadProgress(phase="ready")

    def unload(self, model: str, precision_name: str = "auto", token: str | None = None) -> Status:
        """Nothing of it is here.

        Raises:
            InvalidRequestError: always.
        """
        row = self.find(model, token)
        raise InvalidRequestError(
            f"{row.title} is on another server, which keeps it for everybody.",
            "Whoever runs that server can stop it.",
        )

    def require(self, row: Checkpoint, token: str | None) -> None:
        """Whoever may reach this page may use the deployer's servers."""

    def tokenizer(self, row: Checkpoint, token: str | None) -> Any:
        """The tokenizer of the checkpoint that the server runs, from the Hub or a folder here.

        Raises:
            InvalidRequestError: nobody knows which checkpoint that is.
            AccessDeniedError: it is gated, and the Hub does not let this visitor read it.
        """
        source = self._remote_shelf.source(row)
        if source is None:
            raise InvalidRequestError(
                f"Which checkpoint {row.title} is cannot be told from its name, so its tokenizer "
                "is not known here.",
                "Have the server list it by its id on the Hub.",
            )
        asked = source.repo_id, hash(token)
        if asked in self._unread:  # who types must not wait for a Hub that nobody reaches from here
            raise self._unread[asked]
        try:
            return self._source.tokenizer(source, self._access.require(source, token), token)
        except (AccessDeniedError, DownloadError) as error:
            told = type(error)(f"The tokenizer of {row.title} cannot be had here. {error.message}",
                               error.hint)  # fmt: skip
            self._unread[asked] = told
            raise told from None

    def has_files(self, row: Checkpoint) -> bool:
        """Whether the tokenizer is on this machine, so that nobody need be asked for it."""
        source = self._remote_shelf.source(row)
        return source is not None and source.is_local

    # --- what a server can do ---------------------------------------------------------------------

    def unfollowed(self, row: Checkpoint) -> tuple[str, ...]:
        """The controls that its server did not follow; none while that is not known."""
        ability = self.ability(row)
        return ability.unfollowed() if ability else ()

    def known(self, row: Checkpoint) -> Ability | None:
        """What some server can do with a model, if that was found out; nobody is asked."""
        found = (s.abilities.get(row.repo_id) for s in self.servers.serving(row.repo_id))
        return next((ability for ability in found if ability is not None), None)

    def ability(self, row: Checkpoint, wait_seconds: float = WAIT_SECONDS) -> Ability | None:
        """The same, found out if need be; None where that takes longer, or no server answers."""
        known = self.known(row)
        if known is not None:
            return known
        going = self._waits.get(row.repo_id)
        if going is None or going.done():
            going = self._waits[row.repo_id] = self._pool.submit(self._look_at, row)
        try:
            return going.result(wait_seconds)
        except (NotYet, GemmaSpaceError):
            return None

    def _look_at(self, row: Checkpoint) -> Ability:
        with self.servers.use(row.repo_id) as server:
            try:
                return self.tried(server, row)
            except ServerError as error:
                self.servers.failed(server, error)
                raise

    def tried(self, server: Server, row: Checkpoint) -> Ability:
        """What one server can do with a model; a few dozen tokens are asked for at first.

        Raises:
            ServerError: it is not there, or does not have the model.
        """
        with server.trying:
            found = server.abilities.get(row.repo_id)
            if found is None:
                ask = trial(self._wire, server.url, row.repo_id)
                found = probe(ask, thinks=row.family == "gemma4")
                server.abilities[row.repo_id] = found
                log.info("server %d, %s: %s", server.number, row.repo_id, found)
            return found
