"""A library with scripted loads: what fits is real arithmetic, what is in memory is a list.

Has the methods that the page calls; no torch, no files, no Hub.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gemma_space import memory, precision
from gemma_space.assets import DEMO_MODEL
from gemma_space.catalog import ALL_PRECISIONS, NO_FP16, Checkpoint, KVGroup, Linears
from gemma_space.errors import (
    AccessDeniedError,
    InvalidRequestError,
    LoadError,
    ModelNotFoundError,
)
from gemma_space.reports import Fit, LoadedRow, LoadProgress, PrecisionFit, Status
from gemma_space.types import Attention, Precision
from tests.browser.fake_access import FakeDoctor

MEGABYTE = 1 << 20
BUDGET = 8 << 30


def checkpoint(repo_id: str, title: str, **fields: object) -> Checkpoint:
    """A row with the usual values."""
    usual = {
        "family": "gemma3", "parameters": 3_580_000, "linears": Linears(2_000_000, 4000, 40),
        "context_length": 2048, "variant": "instruct", "license": "gemma", "gated": False,
        "sampling": {"temperature": 1.0}, "stop_ids": (1,), "precisions": ALL_PRECISIONS,
        "kv": (KVGroup(4, 1, 256),),
    }  # fmt: skip
    return Checkpoint(repo_id=repo_id, title=title, **(usual | fields))  # type: ignore[arg-type]


LARGE = {"parameters": 6_000_000_000, "linears": Linears(5_000_000_000, 1_000_000, 300)}
ROWS = (
    checkpoint("fake/chat", "Scripted Chat", note="It repeats what its script says."),
    checkpoint("fake/base", "Scripted Base", variant="base", gated=True, context_length=8192),
    checkpoint("fake/large", "Scripted Large", family="gemma4", license="apache-2.0",
               note="Larger than most.", context_length=131_072, precisions=NO_FP16,
               kv=(KVGroup(20, 2, 256),), **LARGE),
    checkpoint("fake/huge", "Scripted Huge", family="gemma2", parameters=90_000_000_000),
    checkpoint("fake/int8", "Scripted Eight", family="gemma1", precisions=(Precision.INT8,),
               quantization="int8", note="These files are quantized already."),
)  # fmt: skip
TYPED = checkpoint("someone/other-gemma", "other-gemma", family="codegemma")
PRIVATE = checkpoint("someone/private-gemma", "private-gemma", gated=True)


@dataclass
class FakeLibrary:
    """Loads take `load_steps` steps of 0.1 s; none from one moment on ends one under way.

    Attributes:
        in_memory: repo ids and precisions of what is loaded, oldest first.
        loads: what was asked for: model, precision and attention.
        unlike_auto: what of it was loaded with another attention; `fit` does not know it.
        evicts: what the fit of anything not in memory says would leave.
        fail_load: the sentence of an error in place of a load.
        note: what its steps note beside the bytes.
        tokens: what each question was asked with, by the name of the method.
    """

    takes_any: bool = True
    takes_folders: bool = True
    is_remote: bool = False
    load_steps: int = 0
    in_memory: list[tuple[str, str]] = field(default_factory=lambda: [("fake/chat", "bf16")])
    loads: list[tuple[str, str, str]] = field(default_factory=list)
    unlike_auto: list[tuple[str, str]] = field(default_factory=list)
    evicts: tuple[str, ...] = ()
    fail_load: str = ""
    note: str = ""
    doctor: FakeDoctor = field(default_factory=lambda: FakeDoctor((*ROWS, TYPED)))
    tokens: dict[str, str | None] = field(default_factory=dict)

    def reset(self) -> None:
        """As at first; the page holds on to this object."""
        vars(self).update(vars(FakeLibrary()))

    def choices(self) -> tuple[Checkpoint, ...]:
        return ROWS

    def tokenizer(self, row: Checkpoint, token: str | None = None) -> Any:
        """The demo's own, for every model."""
        from gemma_space import loading

        return loading.load_tokenizer(DEMO_MODEL)

    def find(self, model: object, token: str | None = None) -> Checkpoint:
        self.tokens["find"] = token
        if model == PRIVATE.repo_id:
            if token is None or self.doctor.verdicts.get(PRIVATE.repo_id):
                raise AccessDeniedError("The Hub has no such repository.", "Check the name.")
            return PRIVATE
        for row in (*ROWS, TYPED) if self.takes_any else ROWS:
            if row.repo_id == model:
                return row
        raise ModelNotFoundError(f"There is no model “{model}” here.", "Choose one from the list.")

    def require(self, row: Checkpoint, token: str | None) -> None:
        self.tokens["require"] = token

    def status(self, token: str | None = None) -> Status:
        self.tokens["status"] = token
        loaded = tuple(
            LoadedRow(repo_id=repo_id, precision=name, revision="main", nbytes=8 * MEGABYTE,
                      leases=0, idle_seconds=1.0)
            for repo_id, name in self.in_memory
        )  # fmt: skip
        return Status(
            device="CPU", memory_total_bytes=16 << 30, memory_free_bytes=9 << 30,
            budget_bytes=BUDGET, loaded=loaded, queue=0,
        )  # fmt: skip

    def fits(self, row: Checkpoint, tokens: int = 8192) -> dict[str, PrecisionFit]:
        return memory.fits(row, BUDGET, tokens)

    def unfollowed(self, row: Checkpoint) -> tuple[str, ...]:
        return ()

    def attentions(self, row: Checkpoint) -> tuple[Attention, ...]:
        return (Attention.AUTO, Attention.EAGER)

    def fit(
        self, row: Checkpoint, wanted: Precision, how: Attention = Attention.AUTO,
        token: str | None = None,
    ) -> Fit:  # fmt: skip
        self.tokens["fit"] = token
        fits = self.fits(row)
        chosen, note = precision.choose(row, wanted, lambda p: fits[p].reason)
        needed, key = memory.needs(row, chosen), (row.repo_id, str(chosen))
        loaded = key in self.in_memory and (key in self.unlike_auto) == (how != Attention.AUTO)
        return Fit(
            precision=chosen, note=note, weights_bytes=needed.weights_bytes,
            kv_bytes=needed.kv_bytes, tokens=needed.tokens, budget_bytes=BUDGET,
            taken_bytes=sum(memory.needs(self.find(model, token), Precision(name)).total_bytes
                            for model, name in self.in_memory),
            loaded=loaded,
            fits=loaded or fits[chosen].fits, evicts=() if loaded else self.evicts,
            instead=tuple(p for p in precision.auto_order(row) if fits[p].fits and p != chosen),
            reason=fits[chosen].reason,
        )  # fmt: skip

    def load(
        self, model: str, precision_name: str = "auto", token: str | None = None,
        attention_name: str = "auto",
    ) -> Iterator[LoadProgress]:  # fmt: skip
        self.loads.append((model, precision_name, attention_name))
        self.tokens["load"] = token
        if self.fail_load:
            raise LoadError(self.fail_load, "Try again.")
        yield from self.loading()
        chosen = self.fit(self.find(model, token), Precision(precision_name)).precision
        self.in_memory.append((model, str(chosen)))
        if attention_name != Attention.AUTO:
            self.unlike_auto.append((model, str(chosen)))
        yield LoadProgress(phase="ready")

    def loading(self) -> Iterator[LoadProgress]:
        """The steps of a load, of anything."""
        step = 0
        while step < (steps := self.load_steps):
            done = 8 * MEGABYTE * step // steps
            speed, left = (2.5 * MEGABYTE, 40.0) if step else (None, None)
            yield LoadProgress(
                phase="load", done_bytes=done, total_bytes=8 * MEGABYTE, seconds_left=left,
                bytes_per_second=speed, note=self.note,
            )  # fmt: skip
            time.sleep(0.1)
            step += 1

    def unload(self, model: str, precision_name: str = "auto", token: str | None = None) -> Status:
        self.tokens["unload"] = token
        leaving = [key for key in self.in_memory
                   if key[0] == model and precision_name in ("auto", key[1])]  # fmt: skip
        if not leaving:
            raise InvalidRequestError("This model is not loaded in this precision.")
        self.in_memory = [key for key in self.in_memory if key not in leaving]
        return self.status(token)
