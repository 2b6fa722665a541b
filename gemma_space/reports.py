"""What is reported about models and the machine: sizes, fit, loading, what is in memory.

Frozen values like those of `types`; a value here only says what it is.
"""

from dataclasses import dataclass
from typing import Literal

from gemma_space.types import Precision, Variant

# What the Hub says about a visitor and a checkpoint. `open` needs nobody's word; `ready` is a yes.
Verdict = Literal[
    "open", "ready", "no_token", "token_malformed", "token_invalid", "license_not_accepted",
    "request_pending", "request_rejected", "token_lacks_gated_scope", "repo_missing",
    "revision_missing", "rate_limited", "hub_unreachable",
]  # fmt: skip
LoadPhase = Literal["access", "download", "load", "ready"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessReport:
    """May this visitor use this checkpoint, and if not, what would help.

    Attributes:
        message: one sentence.
        hint: the next step, one sentence; empty where there is nothing to do.
        url: the one page that helps; empty where none does.
        account: whose token it is, as the Hub says; empty without one.
    """

    verdict: Verdict
    message: str
    hint: str = ""
    url: str = ""
    account: str = ""

    @property
    def granted(self) -> bool:
        """Whether the checkpoint may be used."""
        return self.verdict in ("open", "ready")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """Where a load stands.

    Bytes are of the phase at hand; `total_bytes` 0 means unknown. `seconds` is since the start,
    `seconds_left` of the phase at hand at its speed of late; None while that says nothing, as is
    `bytes_per_second`. `note` says what else is going on, such as a wait.
    """

    phase: LoadPhase
    done_bytes: int = 0
    total_bytes: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    bytes_per_second: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionFit:
    """What one precision would need, whether it fits the budget, and why (not).

    `kv_bytes` is the cache of one conversation, counted in `fits` beside the weights.
    """

    weights_bytes: int
    kv_bytes: int
    fits: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What loading a model would mean, said before anything is loaded.

    Attributes:
        precision: the one to be loaded; `auto` is resolved.
        note: why `auto` did not become the best one; empty where it did.
        weights_bytes: what the weights take that are not in memory yet.
        kv_bytes: the cache of one conversation of `tokens` tokens.
        budget_bytes: what all models together may take, as things are now.
        taken_bytes: what the models that stay in memory take of it.
        loaded: it is in memory already.
        fits: it can be loaded now.
        evicts: idle models that would make room, e.g. “Gemma 2B Instruct in bf16”.
        instead: precisions of the same checkpoint that would fit now, best first.
        reason: why it does not fit, or is not offered; empty when it can be loaded.
        lacks: what cannot be had where it is, in sentences; of another server's model.
    """

    precision: Precision
    note: str = ""
    weights_bytes: int
    kv_bytes: int
    tokens: int
    budget_bytes: int
    taken_bytes: int
    loaded: bool
    fits: bool
    evicts: tuple[str, ...] = ()
    instead: tuple[Precision, ...] = ()
    reason: str = ""
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A checkpoint as the model list shows it."""

    repo_id: str
    title: str
    family: str
    parameters: int
    variant: Variant
    license: str
    gated: bool
    context_length: int
    revision: str
    precisions: dict[str, PrecisionFit]
    loaded: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRow:
    """A model in memory: its size, how many requests hold it, how long it has been idle."""

    repo_id: str
    precision: str
    revision: str
    nbytes: int
    leases: int
    idle_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnover:
    """How many models were brought into memory, and how many left for others or for idleness."""

    loads: int
    evictions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The machine and what is in its memory.

    `queue` counts requests running or waiting, `cache_bytes` what conversations keep of their
    prompts between turns, in the room that each model's load sets aside for it.
    """

    device: str
    memory_total_bytes: int
    memory_free_bytes: int
    budget_bytes: int
    loaded: tuple[LoadedRow, ...]
    queue: int
    cache_bytes: int = 0
