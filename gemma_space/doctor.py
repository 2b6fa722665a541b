"""The access doctor: may this visitor use this model, and if not, what would help.

Knows which repositories a model stands on, and whose business an unlisted one is. Asks `access`;
downloads nothing.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.hub import is_repo_id
from gemma_space.reports import AccessReport
from gemma_space.shelf import Shelf

ASKED_AT_ONCE = 8


class Doctor:
    """Reports about access.

    Args:
        shelf: what can be asked for.
        access: decides who may use what.
    """

    def __init__(self, shelf: Shelf, access: Access) -> None:
        self._shelf = shelf
        self._access = access

    def check(
        self, model: object, token: str | None = None, *, fresh: bool = False
    ) -> AccessReport:
        """May this visitor use this model, and if not, what would help. Downloads nothing.

        Args:
            fresh: ask the Hub even though its last answer still holds.

        Raises:
            ModelNotFoundError: there is no such model here.
        """
        name = model.strip() if isinstance(model, str) else ""
        row = self._shelf.peek(name)
        if row is None and self._shelf.takes_any and is_repo_id(name):
            return self._access.report_repository(name, token, fresh=fresh)
        row = row or self._shelf.find(model, token)
        if self.hides(row, token):  # whether anybody typed it before is not told
            return self._access.report_repository(row.repo_id, token, fresh=fresh)
        told = self._access.report(row, token, fresh)
        if row.base is None or not told.granted:
            return told
        below = self._access.report(row.base, token, fresh)
        return told if below.granted else below

    def check_all(
        self, typed: Sequence[str] = (), token: str | None = None, *, fresh: bool = False
    ) -> dict[str, AccessReport]:
        """`check` for every model listed, and for those this visitor typed."""
        self._access.account(token)  # asked once, not by all at the same time
        names = [*(row.repo_id for row in self._shelf.rows()), *typed]
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            told = pool.map(lambda name: self.check(name, token, fresh=fresh), names)
            return dict(zip(names, told, strict=True))

    def hides(self, row: Checkpoint, token: str | None) -> bool:
        """Whether a model's name is none of this visitor's business: another one typed it."""
        parts = [part for part in (row, row.base) if part is not None and not part.is_local]
        return any(
            part.gated
            and not self._shelf.lists(part.repo_id)
            and not self._access.was_granted(part, token)
            for part in parts
        )
