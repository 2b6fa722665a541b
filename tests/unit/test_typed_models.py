"""From a typed name to a reply: downloads, gates, adapters on Hub bases, and branches.

Through the playground, with the real client and a Hub on the loopback interface.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gemma_space import lease
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint, hub_catalog
from gemma_space.errors import AccessDeniedError, ModelTooLargeError
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.types import ChatRequest, Controls, Generation, Message, Precision
from tests import stand_in_hub, tiny_adapters
from tests import tiny_checkpoints as tiny
from tests.stand_in_hub import COMMIT, GOOD, StandInHub, commit_of
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_shelf import HEADER, PEFT, naming

GEMMA_1 = next(row for row in hub_catalog() if row.fp16_revision)
BRANCH = GEMMA_1.fp16_revision
OTHER = "hf_otherotherother"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    monkeypatch.setattr(lease, "TICK_SECONDS", 0.0002)  # every phase is seen
    with stand_in_hub.in_place(monkeypatch, tmp_path / "cache") as hub:
        hub.granted.add(OTHER)
        yield hub


@pytest.fixture(scope="module")
def gemma_1(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(tiny.GEMMA_1)


@pytest.fixture(scope="module")
def gemma_3(checkpoints: Checkpoints) -> Path:
    return checkpoints.folder(tiny.GEMMA_3)


@pytest.fixture(scope="module")
def voice(checkpoints: Checkpoints, gemma_3: Path) -> Path:
    return checkpoints.variant("voice", lambda path: tiny_adapters.write(gemma_3, path))


@pytest.fixture
def playground(gemma_1: Path) -> Playground:
    """A local folder is listed; everything else has to be typed."""
    return Playground(served_checkpoints([str(gemma_1)]), Access(), Settings())


def says_hi(model: str, precision: Precision = Precision.FP32) -> ChatRequest:
    return ChatRequest(
        messages=(Message(role="user", content="Hi there"),), model=model, precision=precision,
        controls=Controls(max_new_tokens=6, temperature=0.0, ignore_eos=True),
    )  # fmt: skip


def reply(
    playground: Playground, model: str, token: str | None = None, precision: str = "fp32"
) -> Generation:
    *_, last = playground.chat(says_hi(model, Precision(precision)), token)
    assert isinstance(last, Generation)
    return last


def refused(playground: Playground, model: str, token: str | None) -> str:
    """The verdict with which every use of a model is refused."""
    uses: tuple[Any, ...] = (
        lambda: list(playground.chat(says_hi(model), token)),
        lambda: list(playground.library.load(model, "fp32", token)),
        lambda: playground.tokenize("Hi", model, token=token),
        lambda: playground.render_chat(says_hi(model).messages, model, token=token),
    )
    verdicts = set()
    for use in uses:
        with pytest.raises(AccessDeniedError) as caught:
            use()
        verdicts.add(caught.value.verdict)
    (verdict,) = verdicts
    return verdict


# --- repositories --------------------------------------------------------------------------------


def test_a_typed_open_repository_is_loaded_in_phases_and_answers_as_its_folder_does(
    stand_in: StandInHub, playground: Playground, gemma_3: Path
) -> None:
    name = stand_in.add("someone/open", gemma_3)
    steps = list(playground.library.load(name, "fp32"))
    phases = list(dict.fromkeys(step.phase for step in steps))
    assert [p for p in ("access", "download", "load", "ready") if p in phases] == phases
    assert {"access", "download", "ready"} <= set(phases)
    downloaded = [step.done_bytes for step in steps if step.phase == "download"]
    assert downloaded == sorted(downloaded)
    assert (
        stand_in.sent("model.safetensors") - HEADER
        == (gemma_3 / "model.safetensors").stat().st_size
    )
    (loaded,) = playground.library.status().loaded
    assert (loaded.repo_id, loaded.revision) == (name, COMMIT)
    last = reply(playground, name)
    assert (last.model, last.revision, last.completion_tokens) == (name, COMMIT, 6)
    assert last.text == reply(playground, str(gemma_3)).text
    assert name not in [row.repo_id for row in playground.library.rows()]


def test_a_typed_gated_repository_needs_the_token_each_time(
    stand_in: StandInHub, playground: Playground, gemma_3: Path
) -> None:
    name = stand_in.add("someone/guarded", gemma_3, gated=True)
    assert refused(playground, name, None) == "no_token"
    text = reply(playground, name, GOOD).text
    assert refused(playground, name, None) == "no_token"
    assert refused(playground, name, "hf_not_accepted") == "license_not_accepted"
    assert reply(playground, name, OTHER).text == text
    assert stand_in.sent("model.safetensors") < 2 * (gemma_3 / "model.safetensors").stat().st_size


@PEFT
def test_an_adapter_of_a_gated_base_needs_both_accesses_each_time(
    stand_in: StandInHub, playground: Playground, gemma_3: Path, voice: Path, tmp_path: Path
) -> None:
    base = stand_in.add("someone/base", gemma_3, gated=True)
    name = stand_in.add("someone/voice", naming(base, voice, tmp_path / "v"), gated=True)
    assert refused(playground, name, None) == "no_token"
    said = reply(playground, name, GOOD)
    assert (said.model, said.revision) == (name, COMMIT)
    assert said.text == reply(playground, str(voice)).text
    assert said.text != reply(playground, base, GOOD).text
    stand_in.open.add(name)  # the adapter is for everybody now, and its base is not
    assert refused(playground, name, None) == "no_token"
    assert refused(playground, name, "hf_pending") == "request_pending"


@PEFT
@pytest.mark.parametrize("kind", ["gated", "private"])
def test_a_guarded_adapter_is_not_given_to_others_when_the_hub_cannot_be_asked(
    stand_in: StandInHub, gemma_3: Path, voice: Path, tmp_path: Path, kind: str
) -> None:
    base = stand_in.add("someone/base", gemma_3)
    name = stand_in.add("someone/voice", naming(base, voice, tmp_path / "v"), gated=kind == "gated")
    if kind == "private":
        stand_in.private.add(name)
    playground = Playground(served_checkpoints([base]), Access(), Settings())
    assert reply(playground, name, GOOD).text
    assert refused(playground, name, "hf_maintenance") == "hub_unreachable"


def test_a_served_name_may_be_a_repository_that_only_the_deployers_token_sees(
    stand_in: StandInHub, gemma_3: Path
) -> None:
    name = stand_in.add("someone/tuned", gemma_3, gated=True)
    settings = Settings(models=(name,), hf_token=SecretStr(GOOD))
    playground = Playground.from_settings(settings)
    assert [row.repo_id for row in playground.library.choices()] == [name]
    assert refused(playground, name, None) == "no_token"
    assert reply(playground, name, OTHER).revision == COMMIT
    lent = Playground.from_settings(settings.model_copy(update={"access": "deployer"}))
    assert reply(lent, name, None).revision == COMMIT
    with pytest.raises(AccessDeniedError):
        Playground.from_settings(Settings(models=(name,)))


def test_what_cannot_fit_is_refused_before_it_is_downloaded(
    stand_in: StandInHub, gemma_1: Path, gemma_3: Path
) -> None:
    listed = served_checkpoints([str(gemma_1)])
    playground = Playground(listed, Access(), Settings.model_validate({"memory_budget": 1000}))
    name = stand_in.add("someone/large", gemma_3)
    for model, token in ((name, None), (GEMMA_1.repo_id, GOOD)):
        for precision in ("fp32", "auto"):
            with pytest.raises(ModelTooLargeError, match="budget is 1 KiB"):
                list(playground.library.load(model, precision, token))
    assert 0 < stand_in.sent(".safetensors") <= HEADER
    assert not [path for _, path, _ in stand_in.requests if path.endswith("tokenizer.json")]


# --- the fp16 branch -----------------------------------------------------------------------------


@pytest.fixture
def with_branch(stand_in: StandInHub, gemma_1: Path, checkpoints: Checkpoints) -> Checkpoint:
    """A Gemma 1 whose fp16 branch has other weights than main, so that they are told apart."""
    other = checkpoints.variant("gemma1-other", lambda path: tiny.write(tiny.GEMMA_1, path, seed=7))
    stand_in.add(GEMMA_1.repo_id, gemma_1, gated=True)
    stand_in.branches[GEMMA_1.repo_id, BRANCH] = other
    return GEMMA_1


def revisions(stand_in: StandInHub) -> set[str]:
    """The commits that weights were taken from."""
    return {path.split("/")[4] for path, _ in stand_in.bodies if path.endswith("model.safetensors")}


def test_fp16_comes_from_its_branch_and_everything_else_from_main(
    stand_in: StandInHub, with_branch: Checkpoint, gemma_1: Path
) -> None:
    name = with_branch.repo_id
    playground = Playground([with_branch], Access(), Settings())
    local = Playground(served_checkpoints([str(gemma_1)]), Access(), Settings())
    in_fp16 = reply(playground, name, GOOD, "fp16")
    assert in_fp16.revision == commit_of(BRANCH) != COMMIT
    assert revisions(stand_in) == {commit_of(BRANCH)}
    in_fp32 = reply(playground, name, GOOD, "fp32")
    assert in_fp32.revision == COMMIT
    assert revisions(stand_in) == {commit_of(BRANCH), COMMIT}
    assert in_fp32.text == reply(local, str(gemma_1)).text
    assert in_fp16.text != in_fp32.text
    loaded = {row.precision: row.revision for row in playground.library.status().loaded}
    assert loaded == {"fp16": commit_of(BRANCH), "fp32": COMMIT}
    for precision in ("fp16", "fp32"):  # and from memory the second time
        assert playground.library.fit(with_branch, Precision(precision)).loaded
        before = len(stand_in.bodies)
        reply(playground, name, GOOD, precision)
        assert len(stand_in.bodies) == before


def test_fp16_of_a_repository_without_that_branch_is_converted_from_main(
    stand_in: StandInHub, gemma_1: Path
) -> None:
    stand_in.add(GEMMA_1.repo_id, gemma_1, gated=True)
    playground = Playground([GEMMA_1], Access(), Settings())
    for _ in range(2):
        last = reply(playground, GEMMA_1.repo_id, GOOD, "fp16")
        assert (last.revision, last.precision) == (COMMIT, "fp16")
        assert playground.library.fit(GEMMA_1, Precision.FP16).loaded
    (loaded,) = playground.library.status().loaded
    assert loaded.nbytes < (gemma_1 / "model.safetensors").stat().st_size * 0.6
    asked = [path for _, path, _ in stand_in.requests if f"/{BRANCH}/" in path]
    assert len(asked) == 1, "once is enough to know"


def test_the_branch_is_refused_to_whom_the_repository_is_refused(
    stand_in: StandInHub, with_branch: Checkpoint
) -> None:
    playground = Playground([with_branch], Access(), Settings())
    reply(playground, with_branch.repo_id, GOOD, "fp16")
    for token, verdict in ((None, "no_token"), ("hf_rejected", "request_rejected")):
        with pytest.raises(AccessDeniedError) as caught:
            reply(playground, with_branch.repo_id, token, "fp16")
        assert caught.value.verdict == verdict
    assert reply(playground, with_branch.repo_id, OTHER, "fp16").revision == commit_of(BRANCH)


@PEFT
def test_an_adapter_in_fp16_stands_on_the_branch_of_its_base(
    stand_in: StandInHub, with_branch: Checkpoint, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    base = checkpoints.folder(tiny.GEMMA_1)
    voice = checkpoints.variant("voice1", lambda path: tiny_adapters.write(base, path))
    name = stand_in.add("someone/voice", naming(with_branch.repo_id, voice, tmp_path / "v"))
    playground = Playground([with_branch], Access(), Settings())
    said = reply(playground, name, GOOD, "fp16")
    assert (said.model, said.revision) == (name, COMMIT)
    loaded = {row.repo_id: row.revision for row in playground.library.status(GOOD).loaded}
    assert loaded == {with_branch.repo_id: commit_of(BRANCH), name: COMMIT}
    assert not [path for _, path, _ in stand_in.requests if name in path and BRANCH in path]


def test_an_open_model_is_served_from_memory_when_the_hub_cannot_be_asked(
    stand_in: StandInHub, with_branch: Checkpoint
) -> None:
    row = replace(with_branch, gated=False)
    stand_in.open.add(row.repo_id)
    playground = Playground([row], Access(), Settings())
    text = reply(playground, row.repo_id, None, "fp16").text
    again = reply(playground, row.repo_id, "hf_maintenance", "fp16")
    assert (again.text, again.revision) == (text, commit_of(BRANCH))
