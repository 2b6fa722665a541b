"""A Hub that answers by script: whose a token is, and who may use which model. No network."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from gemma_space.access import Access
from gemma_space.catalog import Checkpoint
from gemma_space.errors import ModelNotFoundError
from gemma_space.hub import Account, Answer
from gemma_space.reports import AccessReport, Verdict
from gemma_space.verdicts import in_words

ALICE, BOB, OWN = "hf_canary_of_alice", "hf_canary_of_bob", "hf_canary_of_the_host"
ACCOUNTS = {
    ALICE: Account("ready", "alice"),
    BOB: Account("ready", "<b>bob</b>", reads_gated=False),
    OWN: Account("ready", "host"),
}


@dataclass
class FakeHub:
    """Says whose a token is.

    Attributes:
        asked: every token it was asked about.
        reachable: whether it answers at all.
    """

    asked: list[str] = field(default_factory=list)
    reachable: bool = True

    def whose(self, token: str) -> Account:
        self.asked.append(token)
        if not self.reachable:
            return Account("hub_unreachable")
        return ACCOUNTS.get(token, Account("token_invalid"))

    def access(self) -> Access:
        return Access(probe=lambda *_: Answer("hub_unreachable"), whose=self.whose)


@dataclass
class FakeDoctor:
    """What is gated needs a token, whatever token; unless a verdict is set.

    Attributes:
        rows: what it knows, besides names of repositories.
        verdicts: what it says about a model in place of the usual.
        asked: model, token and freshness of every question, one for all models as "*".
        held: questions about these models wait until the event is set.
    """

    rows: Sequence[Checkpoint]
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    asked: list[tuple[str, str | None, bool]] = field(default_factory=list)
    held: dict[str, threading.Event] = field(default_factory=dict)

    def check(
        self, model: object, token: str | None = None, *, fresh: bool = False
    ) -> AccessReport:
        name = str(model)
        self.asked.append((name, token, fresh))
        if name in self.held:
            self.held[name].wait(20)
        return self._report(name, token)

    def check_all(
        self, typed: Sequence[str] = (), token: str | None = None, *, fresh: bool = False
    ) -> dict[str, AccessReport]:
        self.asked.append(("*", token, fresh))
        if "*" in self.held:
            self.held["*"].wait(20)
        return {name: self._report(name, token) for name in (*self._listed(), *typed)}

    def _listed(self) -> dict[str, Checkpoint]:
        return {row.repo_id: row for row in self.rows}

    def _report(self, name: str, token: str | None) -> AccessReport:
        row = self._listed().get(name)
        if row is None and "/" not in name:
            raise ModelNotFoundError(f"There is no model “{name}” here.")
        gated = row is None or row.gated
        usual: Verdict = "open" if not gated else "ready" if token else "no_token"
        answer = Answer(self.verdicts.get(name, usual), wait_seconds=30)
        who = ACCOUNTS[token].name if token in ACCOUNTS else ""
        return in_words(answer, name, row.title if row else name, "main", who)
