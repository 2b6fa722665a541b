"""From a checkpoint and how it is to run to the key of its weights: commits and branches.

Knows that some repositories have a branch whose files are in fp16 already. Asks `access` about
that branch; loads nothing.
"""

from dataclasses import replace

from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.errors import AccessDeniedError
from gemma_space.lease import ModelKey
from gemma_space.types import Attention, Precision

BRANCH_MISSING = "revision_missing"


class ModelKeys:
    """Makes keys.

    Args:
        access: says at which commits files were last seen.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._branchless: set[str] = set()  # repositories found to have no fp16 branch

    def key(self, row: Checkpoint, chosen: Precision, how: Attention = Attention.AUTO) -> ModelKey:
        """The key at the commits that were last seen; nobody is asked.

        Args:
            chosen: not `auto`.
        """
        base = self.key(row.base, chosen, how) if row.base else None
        part = self._branch(row, chosen)
        return ModelKey(part, self._access.last_commit(part), chosen, how, base)

    def require_branch(self, row: Checkpoint, chosen: Precision, token: str | None) -> None:
        """Ask for the fp16 branch; a repository without one is converted while it loads.

        Raises:
            AccessDeniedError: the Hub says no, or cannot be asked.
        """
        branch = self._branch(row, chosen)
        if branch is row:
            return
        try:
            self._access.require(branch, token)
        except AccessDeniedError as error:
            if error.verdict != BRANCH_MISSING:
                raise
            self._branchless.add(row.repo_id)

    def _branch(self, row: Checkpoint, chosen: Precision) -> Checkpoint:
        """The row at the branch whose files have this precision already, where there is one."""
        if chosen is not Precision.FP16 or not row.fp16_revision or row.base is not None:
            return row
        return row if row.repo_id in self._branchless else replace(row, revision=row.fp16_revision)
