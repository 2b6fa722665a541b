"""Who may use what: asked of the Hub for each visitor, at each use, before any weights are touched.

Knows the rule (a gated model needs the visitor's own verdict, or the deployer's explicit word)
and how long a verdict holds. What is kept is kept under a keyed hash; a token itself is never
kept. Words are in `verdicts`.
"""

import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from cachetools import LRUCache, TLRUCache

from gemma_space import hub
from gemma_space.catalog import Checkpoint
from gemma_space.errors import AccessDeniedError
from gemma_space.hub import Account, Answer
from gemma_space.reports import AccessReport
from gemma_space.verdicts import DEFAULT_WAIT_SECONDS, HOST, in_words

READY_SECONDS = 300.0  # also how long a licence that was withdrawn still works here
REFUSED_SECONDS = 20.0
ACCOUNT_SECONDS = 3600.0
MAX_WAIT_SECONDS = 3600.0
MAX_KEPT = 5000
# Of an open model nobody need be asked: what is in memory or on disk may be enough.
UNANSWERED = ("hub_unreachable", "rate_limited")
REFUSALS = ("no_token", "license_not_accepted", "request_pending", "request_rejected",
            "token_lacks_gated_scope", "repo_missing")  # fmt: skip


class Access:
    """Decides about each use of a checkpoint.

    Args:
        deployer_token: set only when the deployer chose to serve everyone with it; it is used
            for what `lend` names, never for a repository that a visitor typed.
        probe: asks the Hub; a seam for tests.
        whose: asks the Hub whose token it is; likewise.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        deployer_token: str | None = None,
        probe: Callable[[str, str, str | None], Answer] = hub.probe,
        clock: Callable[[], float] = time.monotonic,
        whose: Callable[[str], Account] = hub.account,
    ) -> None:
        self._deployer_token = (deployer_token or "").strip() or None
        self._lent: frozenset[str] = frozenset()
        self._probe, self._whose, self._clock = probe, whose, clock
        self._key = os.urandom(32)
        self._lock = threading.Lock()
        self._answers: TLRUCache[bytes, tuple[Answer, float]] = TLRUCache(
            MAX_KEPT, ttu=lambda _, kept, now: now + _holds_seconds(kept[0]), timer=clock
        )
        self._accounts: TLRUCache[bytes, Account] = TLRUCache(
            MAX_KEPT, ttu=lambda _, account, now: now + _known_seconds(account), timer=clock
        )
        self._closed: set[str] = set()  # open once, until somebody was refused
        self._granted: LRUCache[bytes, bool] = LRUCache(MAX_KEPT)
        self._commits: dict[tuple[str, str], str] = {}

    def lend(self, repo_ids: Iterable[str]) -> None:
        """Name the repositories that the deployer's token serves to everyone."""
        self._lent = frozenset(repo_ids)

    def lends(self, repo_id: str) -> bool:
        """Whether the deployer's token serves this repository to everyone."""
        return self._deployer_token is not None and repo_id in self._lent

    def token_for(self, repo_id: str, visitor_token: str | None) -> str | None:
        """The token that acts for this visitor here: the deployer's where that is lent."""
        if self.lends(repo_id):
            return self._deployer_token
        return (visitor_token or "").strip() or None

    def require(self, checkpoint: Checkpoint, visitor_token: str | None) -> str:
        """Return the commit to use, or refuse. A local folder needs nothing and asks nobody; nor
        does a model on another server, whose deployer lends it to whoever reaches the page.

        Raises:
            AccessDeniedError: any verdict but ready, in words.
        """
        if checkpoint.is_local or checkpoint.is_remote:
            return checkpoint.revision
        return self.require_repository(
            checkpoint.repo_id, visitor_token,
            revision=checkpoint.revision, title=checkpoint.title, gated=checkpoint.gated,
        )  # fmt: skip

    def last_commit(self, checkpoint: Checkpoint) -> str:
        """The commit that `require` returned last, or the revision's name before that."""
        seen = (checkpoint.repo_id, checkpoint.revision)
        return self._commits.get(seen, checkpoint.revision)

    def require_repository(
        self,
        repo_id: str,
        visitor_token: str | None,
        *,
        revision: str = "main",
        title: str = "",
        gated: bool = True,
    ) -> str:
        """As `require`, for a repository of which no row exists yet."""
        answer = self.check(repo_id, revision, visitor_token)
        if answer.verdict == "ready":
            commit = answer.commit or revision
            self._commits[(repo_id, revision)] = commit
            return commit
        if answer.verdict in REFUSALS and not gated:
            self._closed.add(repo_id)
        if answer.verdict in UNANSWERED and not gated and repo_id not in self._closed:
            return self._commits.get((repo_id, revision), revision)
        who = HOST if self.lends(repo_id) else self._name(visitor_token)
        told = in_words(answer, repo_id, title or repo_id, revision, who)
        raise AccessDeniedError(told.message, told.hint, told.verdict, told.url)

    def check(
        self, repo_id: str, revision: str, visitor_token: str | None, fresh: bool = False
    ) -> Answer:
        """The verdict for this visitor, for as long as the last one holds.

        A yes holds for five minutes and a no for twenty seconds; where nobody answered, the next
        caller asks anew.

        Args:
            fresh: ask anew in any case, unless the Hub said how long it will not answer, or the
                deployer's token is the one that asks: strangers must not use up its quota.
        """
        try:
            token = hub.clean_token(self.token_for(repo_id, visitor_token))
        except ValueError:
            return Answer("token_malformed")
        key = self._hashed(token, repo_id, revision)
        with self._lock:
            kept = self._answers.get(key)
        if kept is not None:
            limited = kept[0].verdict == "rate_limited"
            if limited or not fresh or self.lends(repo_id):
                return self._as_of_now(*kept)
        answer = self._probe(repo_id, revision, token)
        with self._lock:
            # No answer takes nothing away: a yes holds for its time.
            if kept is None or kept[0].verdict != "ready" or answer.verdict not in UNANSWERED:
                self._answers.pop(key, None)
                self._answers[key] = (answer, self._clock())
            if answer.verdict == "ready":
                self._granted[key] = True
        return answer

    def _as_of_now(self, answer: Answer, asked_at: float) -> Answer:
        """With what is left of a wait."""
        if answer.wait_seconds is None:
            return answer
        return replace(answer, wait_seconds=answer.wait_seconds - (self._clock() - asked_at))

    def was_granted(self, checkpoint: Checkpoint, visitor_token: str | None) -> bool:
        """Whether this visitor has had a yes, and so knows the name; nobody is asked."""
        try:
            token = hub.clean_token(self.token_for(checkpoint.repo_id, visitor_token))
        except ValueError:
            return False
        with self._lock:
            return self._hashed(token, checkpoint.repo_id, checkpoint.revision) in self._granted

    def report(
        self, checkpoint: Checkpoint, visitor_token: str | None, fresh: bool = False
    ) -> AccessReport:
        """The verdict for this visitor in words, with whose token it is."""
        row = checkpoint
        if row.is_local:
            return AccessReport(verdict="open", message=f"{row.title} is on this machine.")
        if row.is_remote:
            return AccessReport(
                verdict="open", message=f"{row.title} is on the host's server, open to all here."
            )
        return self.report_repository(
            row.repo_id, visitor_token, revision=row.revision, title=row.title, gated=row.gated,
            fresh=fresh,
        )  # fmt: skip

    def report_repository(
        self,
        repo_id: str,
        visitor_token: str | None,
        *,
        revision: str = "main",
        title: str = "",
        gated: bool = True,
        fresh: bool = False,
    ) -> AccessReport:
        """As `report`, for a repository of which no row exists yet."""
        answer = self.check(repo_id, revision, visitor_token, fresh)
        if answer.verdict == "ready" and not gated:
            answer = replace(answer, verdict="open")
        if self.lends(repo_id):
            return in_words(answer, repo_id, title or repo_id, revision, HOST)
        owner = self.account(visitor_token)
        told = in_words(answer, repo_id, title or repo_id, revision, owner.name)
        return replace(told, account=owner.name)

    def account(self, visitor_token: str | None) -> Account:
        """Whose token it is; a name is kept for an hour.

        `token_malformed` and `no_token` without asking.
        """
        try:
            token = hub.clean_token(visitor_token)
        except ValueError:
            return Account("token_malformed")
        if token is None:
            return Account("no_token")
        key = self._hashed(token)
        with self._lock:
            kept = self._accounts.get(key)
        if kept is None:
            kept = self._whose(token)
            with self._lock:
                self._accounts[key] = kept
        return kept

    def _name(self, visitor_token: str | None) -> str:
        """Whose token it is, if that was asked before."""
        with self._lock:
            kept = self._accounts.get(self._hashed((visitor_token or "").strip()))
        return kept.name if kept is not None else ""

    def _hashed(self, *parts: str | None) -> bytes:
        """Token and repository under a secret of this process: nothing to steal."""
        text = "\0".join(str(part) for part in parts)
        return hmac.new(self._key, text.encode(), hashlib.sha256).digest()


def _holds_seconds(answer: Answer) -> float:
    if answer.verdict == "ready":
        return READY_SECONDS
    if answer.verdict == "rate_limited":
        return min(answer.wait_seconds or DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS)
    return 0.0 if answer.verdict == "hub_unreachable" else REFUSED_SECONDS


def _known_seconds(account: Account) -> float:
    if account.verdict == "ready":
        return ACCOUNT_SECONDS
    return 0.0 if account.verdict == "hub_unreachable" else REFUSED_SECONDS
