"""Who may use what: asked of the Hub for each visitor, at each use, before any weights are touched.

Knows the rule (a gated model needs the visitor's own verdict, or the deployer's explicit word)
and the words for each verdict. Keeps positive verdicts for five minutes under a keyed hash; a
token itself is never kept.
"""

import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Iterable

from gemma_space import hub
from gemma_space.catalog import Checkpoint
from gemma_space.errors import AccessDeniedError
from gemma_space.hub import Answer, Verdict

READY_SECONDS = 300.0
MAX_KEPT = 5000

WORDS: dict[Verdict, tuple[str, str]] = {
    "no_token": (
        "{title} is gated: the Hub gives it only to people who accepted its licence.",
        "Accept the licence at {url}, then use a Hugging Face token with read access.",
    ),
    "token_malformed": (
        "This is not a Hugging Face token.",
        "Copy it again from huggingface.co/settings/tokens; it begins with hf_.",
    ),
    "token_invalid": (
        "The Hub does not accept this token; it is wrong, revoked or expired.",
        "Make a new one at huggingface.co/settings/tokens.",
    ),
    "license_not_accepted": (
        "Your account has not accepted the licence of {title} yet.",
        "Accept it at {url}, then try again.",
    ),
    "request_pending": (
        "Your request for {title} is waiting for review.",
        "Try again once the Hub has told you that it was granted.",
    ),
    "request_rejected": (
        "Your request for {title} was rejected.",
        "Choose another model; Gemma 4 and the demo model are open.",
    ),
    "token_lacks_gated_scope": (
        "This fine-grained token may not read gated repositories.",
        "Allow “read access to public gated repos” at huggingface.co/settings/tokens.",
    ),
    "repo_missing": (
        "The Hub has no repository {repo_id} that this token can see.",
        "Check the name, or sign in with an account that may see it.",
    ),
    "revision_missing": (
        "The repository {repo_id} has no branch or commit “{revision}”.",
        "Leave the revision out, or check it on the repository's page.",
    ),
    "rate_limited": (
        "The Hub answers no more questions for the moment.",
        "Wait a minute and try again.",
    ),
    "hub_unreachable": (
        "The Hub cannot be reached, so access to {title} cannot be checked.",
        "Check the network, or use the demo model, which needs none.",
    ),
}


class Access:
    """Decides about each use of a checkpoint.

    Args:
        deployer_token: set only when the deployer chose to serve everyone with it; it is used
            for what `lend` names, never for a repository that a visitor typed.
        probe: asks the Hub; a seam for tests.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        deployer_token: str | None = None,
        probe: Callable[[str, str, str | None], Answer] = hub.probe,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deployer_token = deployer_token
        self._lent: frozenset[str] = frozenset()
        self._probe = probe
        self._clock = clock
        self._key = os.urandom(32)
        self._lock = threading.Lock()
        self._ready: dict[bytes, tuple[Answer, float]] = {}
        self._commits: dict[tuple[str, str], str] = {}

    def lend(self, repo_ids: Iterable[str]) -> None:
        """Name the repositories that the deployer's token serves to everyone."""
        self._lent = frozenset(repo_ids)

    def token_for(self, repo_id: str, visitor_token: str | None) -> str | None:
        """The token that acts for this visitor here: the deployer's where that is lent."""
        lent = self._deployer_token if repo_id in self._lent else None
        return lent or visitor_token

    def require(self, checkpoint: Checkpoint, visitor_token: str | None) -> str:
        """Return the commit to use, or refuse. A local folder needs nothing and asks nobody.

        Raises:
            AccessDeniedError: any verdict but ready, in words.
        """
        if checkpoint.is_local:
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
        if answer.verdict == "hub_unreachable" and not gated:
            # What is in memory or on disk may be enough, and nobody need be asked.
            return self._commits.get((repo_id, revision), revision)
        message, hint = WORDS[answer.verdict]
        facts = {
            "title": title or repo_id,
            "repo_id": repo_id,
            "revision": revision,
            "url": hub.repo_url(repo_id),
        }
        raise AccessDeniedError(message.format(**facts), hint.format(**facts), answer.verdict)

    def check(self, repo_id: str, revision: str, visitor_token: str | None) -> Answer:
        """The verdict for this visitor, from memory for up to five minutes once it was ready."""
        try:
            token = hub.clean_token(self.token_for(repo_id, visitor_token))
        except ValueError:
            return Answer("token_malformed")
        # The key joins token and repository under a secret of this process: nothing to steal.
        text = f"{token}\0{repo_id}\0{revision}".encode()
        key = hmac.new(self._key, text, hashlib.sha256).digest()
        with self._lock:
            kept = self._ready.get(key)
        if kept and kept[1] > self._clock():
            return kept[0]
        answer = self._probe(repo_id, revision, token)
        with self._lock:
            self._ready.pop(key, None)
            if answer.verdict == "ready":
                if len(self._ready) >= MAX_KEPT:
                    self._ready.clear()
                self._ready[key] = (answer, self._clock() + READY_SECONDS)
        return answer
