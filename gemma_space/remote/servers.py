"""The servers: which of them has a model, which is asked next, and which is left alone for now.

Knows what each lists, how many of our requests it has, and how long a dead one rests. Does not
know what a request is.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gemma_space.errors import GemmaSpaceError, ServerError
from gemma_space.remote.ability import Ability
from gemma_space.remote.wire import NO_ANSWER, Answer, Wire

LISTED_SECONDS = 30.0
REST_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Server:
    """One address. Guarded by the lock of `Servers`, but for `trying`.

    Attributes:
        listed: what it serves by name; None where it does not say.
        requests: ours that it is at work on.
        failures: in a row.
        rests_until: in seconds of the clock; it is not asked before.
        last: what went wrong last, while it is away.
        abilities: by model, as they were found since it was last away.
        trying: held while that is found out.
    """

    number: int
    url: str
    listed: dict[str, Answer] | None = None
    requests: int = 0
    failures: int = 0
    rests_until: float = 0.0
    last: ServerError | None = None
    looked_at: float | None = None
    used_at: float = 0.0
    abilities: dict[str, Ability] = field(default_factory=dict)
    trying: threading.Lock = field(default_factory=threading.Lock)


class Servers:
    """All of them.

    Args:
        urls: their addresses, without `/v1`.
        wire: asks them.
        named: models that are served even where no server lists them; where given, no others are.
        clock: seconds, monotonic.
    """

    def __init__(
        self, urls: Sequence[str], wire: Wire, named: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._all = [Server(number, url) for number, url in enumerate(urls, start=1)]
        self._wire, self._named, self._clock = wire, tuple(named), clock
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        for server in self._all:
            log.info("server %d is %s", server.number, server.url)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._all)

    @property
    def answering(self) -> int:
        """How many answered when they were last asked."""
        with self._lock:
            return sum(not s.failures and s.looked_at is not None for s in self._all)

    @property
    def requests(self) -> int:
        """Ours that are running."""
        with self._lock:
            return sum(server.requests for server in self._all)

    def models(self) -> dict[str, Answer]:
        """What they list, as known by now, each as its first server tells it; nobody is asked."""
        with self._lock:
            listed: dict[str, Answer] = {}
            for server in self._all:
                for name, told in (server.listed or {}).items():
                    listed.setdefault(name, told)
        return {name: listed.get(name, {}) for name in self._named} if self._named else listed

    def serving(self, model: str) -> tuple[Server, ...]:
        """The servers that have a model and are not at rest."""
        with self._lock:
            return tuple(s for s in self._having(model) if s.rests_until <= self._clock())

    def look(self, max_age: float = LISTED_SECONDS) -> None:
        """Ask all that are not at rest what they serve, unless that was asked just now."""
        with self._looking:
            now = self._clock()
            with self._lock:
                due = [
                    s for s in self._all
                    if s.rests_until <= now
                    and (s.looked_at is None or s.failures or now - s.looked_at >= max_age)
                ]  # fmt: skip
            if due:
                self._look(due)

    def _look(self, due: Sequence[Server]) -> None:
        for server, told in zip(due, self._wire.models([s.url for s in due]), strict=True):
            if isinstance(told, ServerError) and told.down:
                self.failed(server, told)
                continue
            with self._lock:
                server.looked_at, server.failures, server.last = self._clock(), 0, None
                # `transformers serve` fails here without a cache, and lists only what is in it.
                server.listed = None if isinstance(told, ServerError) else _by_name(told)

    @contextmanager
    def use(
        self, model: str, but: Set[Server] = frozenset(), instead: GemmaSpaceError | None = None
    ) -> Iterator[Server]:
        """The server that has a model and the fewest requests of ours; counted while it is used.

        Args:
            but: those that were tried already.
            instead: what is raised where no other is left.

        Raises:
            ServerError: there is none.
        """
        self.look()
        if not self.serving(model):  # better to ask the dead than to give up
            with self._lock:
                for server in self._all:
                    server.rests_until = 0.0
            self.look(0.0)
        with self._lock:
            now = self._clock()
            able = [s for s in self._having(model) if s not in but and s.rests_until <= now]
            if not able:
                raise instead or self._nobody(model)
            server = min(able, key=lambda s: (s.requests, s.used_at))
            server.requests += 1
            server.used_at = now
        try:
            yield server
        finally:
            with self._lock:
                server.requests -= 1

    def failed(self, server: Server, error: ServerError) -> None:
        """Take a failure: where the server is down it is left alone for a while, longer each time,
        and what it can do is found out anew after that."""
        log.warning("server %d: %s", server.number, error.message)
        if not error.down:
            return
        with self._lock:
            server.failures, server.last = server.failures + 1, error
            rest = REST_SECONDS[min(server.failures, len(REST_SECONDS)) - 1]
            server.rests_until = self._clock() + rest
            server.abilities.clear()

    def _having(self, model: str) -> list[Server]:
        listing = [s for s in self._all if s.listed and model in s.listed]
        if listing or model not in self._named:
            return listing
        return list(self._all)

    def _nobody(self, model: str) -> ServerError:
        known: Any = self._having(model)
        if not known:
            return ServerError(
                f"No server lists {model[:100]} any more.", "Choose another model from the list."
            )
        reasons = [server.last for server in known if server.last is not None]
        if len(known) == 1 or not reasons:
            return reasons[0] if reasons else NO_ANSWER
        return ServerError(
            f"None of the {len(known)} servers with this model can be used. Of the first: "
            f"{reasons[0].message}",
            reasons[0].hint,
        )


def _by_name(told: Sequence[Answer]) -> dict[str, Answer] | None:
    return {str(item["id"]): item for item in told if item.get("id")} or None
