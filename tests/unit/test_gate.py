"""The gate, from a visitor's token to a reply: every credential, every repository, warm or cold.

With weights on disk and in memory the libraries would let everybody in, silently; these tests
hold that nothing here does. The real client asks a Hub on the loopback interface.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gemma_space import access as access_module
from gemma_space.access import Access
from gemma_space.catalog import Checkpoint, hub_catalog
from gemma_space.errors import AccessDeniedError, DownloadError, ModelNotFoundError
from gemma_space.hub import Answer
from gemma_space.playground import Playground
from gemma_space.reports import LoadProgress
from gemma_space.settings import Settings
from gemma_space.types import ChatRequest, Controls, Generation, Message, Precision
from tests import stand_in_hub
from tests import tiny_checkpoints as tiny
from tests.hub_faults import Fault
from tests.stand_in_hub import COMMIT, GOOD, StandInHub
from tests.tiny_checkpoints import Checkpoints

ROWS = {row.repo_id: row for row in hub_catalog()}
GATED = ROWS["google/gemma-3-270m-it"]
OPEN = replace(ROWS["google/gemma-3-1b-it"], gated=False)
PRIVATE = replace(ROWS["google/gemma-3-4b-it"], title="A private one")
CANARY = "hf_canaryCANARYcanary0005"

# Each kind of credential on a gated, an open and a private repository.
MATRIX: dict[str | None, tuple[str, str, str]] = {
    GOOD: ("ready", "open", "ready"),
    "hf_write": ("ready", "open", "ready"),
    "hf_fine_gated": ("ready", "open", "ready"),
    "hf_oauth_good": ("ready", "open", "ready"),
    None: ("no_token", "open", "repo_missing"),
    "hf_not_accepted": ("license_not_accepted", "open", "repo_missing"),
    "hf_pending": ("request_pending", "open", "repo_missing"),
    "hf_rejected": ("request_rejected", "open", "repo_missing"),
    "hf_fine_grained": ("token_lacks_gated_scope", "open", "repo_missing"),
    "hf_invalid": ("token_invalid", "token_invalid", "token_invalid"),
    "hf_expired": ("token_invalid", "token_invalid", "token_invalid"),
    "hf_limited": ("rate_limited", "rate_limited", "rate_limited"),
    "hf_broken": ("hub_unreachable", "hub_unreachable", "hub_unreachable"),
    "hf_portal": ("hub_unreachable", "hub_unreachable", "hub_unreachable"),
    "not a token": ("token_malformed", "token_malformed", "token_malformed"),
}
# Where nobody answers, an open model that is here already needs nobody's word.
UNANSWERED = ("rate_limited", "hub_unreachable")


@pytest.fixture(params=[False, True], ids=["http", "tls"])
def stand_in(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    checkpoints: Checkpoints,
) -> Iterator[StandInHub]:
    folder = checkpoints.folder(tiny.GEMMA_3)
    with stand_in_hub.in_place(monkeypatch, tmp_path / "cache", tls=request.param) as served:
        served.add(GATED.repo_id, folder, gated=True)
        served.add(OPEN.repo_id, folder)
        served.add(PRIVATE.repo_id, folder, gated=True)
        served.private.add(PRIVATE.repo_id)
        yield served


http_only = pytest.mark.parametrize("stand_in", [False], indirect=True, ids=["http"])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def playground(asks: Access | None = None, **settings: Any) -> Playground:
    rows = [GATED, OPEN, PRIVATE]
    return Playground(rows, asks or Access(), Settings(**settings))


def says_hi(row: Checkpoint) -> ChatRequest:
    return ChatRequest(
        messages=(Message(role="user", content="Hi"),), model=row.repo_id,
        precision=Precision.FP32, controls=Controls(max_new_tokens=3, temperature=0.0),
    )  # fmt: skip


def reply(served: Playground, row: Checkpoint, token: str | None) -> Generation:
    *_, last = served.chat(says_hi(row), token)
    assert isinstance(last, Generation)
    return last


def uses(served: Playground, row: Checkpoint, token: str | None) -> set[str]:
    """The verdicts with which each way to use a model is refused; `used` where it is not."""
    verdicts = set()
    for use in (
        lambda: list(served.chat(says_hi(row), token)),
        lambda: list(served.library.load(row.repo_id, "fp32", token)),
        lambda: served.tokenize("Hi", row.repo_id, token=token),
        lambda: served.render_chat(says_hi(row).messages, row.repo_id, token=token),
    ):
        try:
            use()
            verdicts.add("used")
        except AccessDeniedError as error:
            verdicts.add(error.verdict if error.hint else "no hint")
    return verdicts


@pytest.mark.parametrize("token", MATRIX, ids=str)
def test_the_doctor_knows_each_credential_before_anything_is_downloaded(
    stand_in: StandInHub, token: str | None
) -> None:
    served = playground()
    for row, expected in zip((GATED, OPEN, PRIVATE), MATRIX[token], strict=True):
        told = served.library.doctor.check(row.repo_id, token)
        assert told.verdict == expected
        assert told.message.endswith(".")
        assert told.granted == (expected in ("ready", "open"))
        assert told.granted or told.hint
    assert stand_in.bodies == [] or all("whoami" in path for path, _ in stand_in.bodies)
    asked = {(method, path.split("/")[-1]) for method, path, _ in stand_in.requests}
    assert asked <= {("HEAD", "tokenizer_config.json"), ("GET", "whoami-v2")}


def test_weights_on_disk_and_in_memory_open_for_nobody_else(
    stand_in: StandInHub, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a warm cache the libraries load for anybody, and say nothing."""
    served = playground()
    stand_in.granted.add(CANARY)
    with caplog.at_level(logging.DEBUG):
        for row in (GATED, OPEN, PRIVATE):
            assert reply(served, row, CANARY).revision == COMMIT
        sent = stand_in.sent(".safetensors")
        for token, verdicts in MATRIX.items():
            for row, verdict in zip((GATED, OPEN, PRIVATE), verdicts, strict=True):
                goes_on = verdict in ("ready", "open") or (row is OPEN and verdict in UNANSWERED)
                assert uses(served, row, token) == {"used" if goes_on else verdict}, (token, row)
        assert stand_in.sent(".safetensors") == sent, "downloaded once"
    shown = caplog.text + "".join(capfd.readouterr())
    assert "canary" not in shown.lower()


@http_only
def test_when_the_hub_cannot_be_asked_only_a_live_yes_helps(stand_in: StandInHub) -> None:
    clock = Clock()
    served = playground(Access(clock=clock))
    reply(served, GATED, GOOD)
    reply(served, OPEN, None)
    with stand_in.down():
        assert uses(served, GATED, GOOD) == {"used"}, "the yes still holds"
        assert uses(served, GATED, "hf_write") == {"hub_unreachable"}
        assert uses(served, GATED, None) == {"hub_unreachable"}
        clock.now = access_module.READY_SECONDS + 1
        assert uses(served, GATED, GOOD) == {"hub_unreachable"}
        assert uses(served, OPEN, None) == {"used"}
    assert uses(served, GATED, GOOD) == {"used"}


@http_only
def test_access_that_lapses_ends_at_the_next_use(stand_in: StandInHub) -> None:
    clock = Clock()
    served = playground(Access(clock=clock))
    reply(served, GATED, GOOD)
    stand_in.granted.discard(GOOD)
    assert uses(served, GATED, GOOD) == {"used"}, "for as long as the last yes holds"
    clock.now = access_module.READY_SECONDS + 1
    assert "used" not in uses(served, GATED, GOOD)
    stand_in.granted.add(GOOD)
    assert not served.library.doctor.check(GATED.repo_id, GOOD).granted, "a no is kept as well"
    assert served.library.doctor.check(GATED.repo_id, GOOD, fresh=True).granted
    assert uses(served, GATED, GOOD) == {"used"}


@http_only
def test_the_deployers_token_serves_visitors_only_when_the_deployer_says_so(
    stand_in: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", GOOD)
    monkeypatch.setattr(access_module.hub.constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    careful = playground(hf_token=SecretStr(GOOD))
    reply(careful, GATED, "hf_write")
    assert uses(careful, GATED, None) == {"no_token"}
    assert GOOD not in {token for _, _, token in stand_in.requests}
    lending = playground(Access(deployer_token=GOOD), access="deployer", hf_token=SecretStr(GOOD))
    assert uses(lending, GATED, None) == {"used"}
    told = lending.library.doctor.check(GATED.repo_id, None)
    assert (told.verdict, told.account) == ("ready", "")
    assert "host" in told.message


@http_only
def test_what_a_visitor_typed_is_nobody_elses_business(
    stand_in: StandInHub, checkpoints: Checkpoints
) -> None:
    """A private repository in memory: its name is for those who may see it."""
    stand_in.add("alice/secret-gemma", checkpoints.folder(tiny.GEMMA_1), gated=True)
    stand_in.private.add("alice/secret-gemma")
    served = playground()
    *_, last = served.library.load("alice/secret-gemma", "fp32", GOOD)
    assert last.phase == "ready"
    everybody, alice = served.library.status(None), served.library.status(GOOD)
    assert [row.repo_id for row in alice.loaded] == ["alice/secret-gemma"]
    assert "secret" not in repr(everybody)
    assert everybody.loaded[0].nbytes == alice.loaded[0].nbytes
    row = served.library.find("alice/secret-gemma", GOOD)
    fit = served.library.fit(GATED, Precision.FP32, token=None)
    assert "secret" not in repr(fit)
    assert served.library.doctor.hides(row, "hf_not_accepted")


@http_only
def test_an_adapter_needs_its_bases_access(stand_in: StandInHub, tmp_path: Path) -> None:
    base = replace(GATED)
    voice = replace(OPEN, variant="adapter", base=base, title="A voice")
    served = Playground([base, voice], Access(), Settings())
    for token, verdict in ((None, "no_token"), (GOOD, "open"), ("hf_pending", "request_pending")):
        assert served.library.doctor.check(voice.repo_id, token).verdict == verdict


@http_only
def test_all_models_are_checked_together(stand_in: StandInHub) -> None:
    served = playground()
    found = served.library.doctor.check_all((), GOOD)
    assert {name: told.verdict for name, told in found.items()} == {
        GATED.repo_id: "ready", OPEN.repo_id: "open", PRIVATE.repo_id: "ready",
    }  # fmt: skip
    before = len(stand_in.requests)
    served.library.doctor.check_all((), GOOD)
    assert len(stand_in.requests) == before, "answers hold for a while"
    served.library.doctor.check_all((), GOOD, fresh=True)
    assert len(stand_in.requests) == before + 3


@http_only
def test_a_rate_limited_hub_says_when_to_come_back(stand_in: StandInHub) -> None:
    stand_in.faults.append(
        Fault("tokenizer_config", "status", methods=("HEAD",), status=429,
              headers={"RateLimit": '"resolvers";r=0;t=55'})
    )  # fmt: skip
    told = playground().library.doctor.check(GATED.repo_id, GOOD)
    assert told.verdict == "rate_limited"
    assert "55 seconds" in told.hint


@http_only
def test_a_kept_files_folder_is_no_way_around_the_gate(
    stand_in: StandInHub, tmp_path: Path
) -> None:
    """The Hub's cache lies on the same disk, under names that everybody can guess."""
    served = playground()
    reply(served, GATED, GOOD)
    (snapshot,) = (tmp_path / "cache").glob("models--*/snapshots/*")
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in snapshot.iterdir():
        (linked / file.name).symlink_to(file)
    (tmp_path / "alias").symlink_to(snapshot)
    for folder in (snapshot, linked, tmp_path / "alias", snapshot.parent.parent):
        with pytest.raises(ModelNotFoundError):
            list(served.chat(replace(says_hi(GATED), model=str(folder)), None))


@pytest.mark.parametrize("settings", [{"server_name": "0.0.0.0"}, {"share": True}], ids=str)
def test_folders_are_typed_on_ones_own_machine_alone(
    checkpoints: Checkpoints, settings: dict[str, Any]
) -> None:
    folder = str(checkpoints.folder(tiny.GEMMA_3))
    assert playground().library.find(folder).is_local
    with pytest.raises(ModelNotFoundError, match="no repository id"):
        playground(**settings).library.find(folder)


@http_only
def test_a_strangers_adapter_cannot_name_a_folder_here(
    stand_in: StandInHub, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    base = str(checkpoints.folder(tiny.GEMMA_3))
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": base})
    )
    stand_in.add("mallory/adapter", adapter)
    with pytest.raises(ModelNotFoundError, match="no repository of the Hub"):
        playground().library.find("mallory/adapter")


@http_only
def test_who_lost_access_while_the_model_came_gets_no_reply(stand_in: StandInHub) -> None:
    clock, asked = Clock(), []

    def probe(repo_id: str, revision: str, token: str | None) -> Answer:
        asked.append(token)
        return Answer("ready", COMMIT) if len(asked) == 1 else Answer("license_not_accepted")

    steps = playground(Access(probe=probe, clock=clock)).chat(says_hi(GATED), GOOD)
    assert isinstance(next(steps), LoadProgress)
    clock.now = access_module.READY_SECONDS + 1
    with pytest.raises(AccessDeniedError):
        assert {type(step) for step in steps} == {LoadProgress}
    assert asked == [GOOD, GOOD]


@http_only
def test_whether_somebody_typed_a_private_name_is_not_told(
    stand_in: StandInHub, checkpoints: Checkpoints
) -> None:
    for name in ("alice/secret-gemma", "alice/other-gemma"):
        stand_in.add(name, checkpoints.folder(tiny.GEMMA_1), gated=True)
        stand_in.private.add(name)
    served = playground()
    served.library.find("alice/secret-gemma", GOOD)
    known, unknown = (
        served.library.doctor.check(f"alice/{name}-gemma", "hf_pending")
        for name in ("secret", "other")
    )
    assert known.message.replace("secret", "other") == unknown.message
    with stand_in.down():
        known, unknown = (
            served.library.doctor.check(f"alice/{name}-gemma", "hf_rejected")
            for name in ("secret", "other")
        )
    assert known.message.replace("secret", "other") == unknown.message


@http_only
def test_a_repository_that_is_described_by_too_much_is_not_looked_at(
    stand_in: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "chat_template.jinja").write_bytes(bytes(5000))
    monkeypatch.setattr("gemma_space.description.MAX_DESCRIPTION_BYTES", 4000)
    stand_in.add("mallory/large", folder)
    with pytest.raises(DownloadError, match="no Gemma has"):
        playground().library.find("mallory/large")
    assert stand_in.sent(".jinja") == 0


@http_only
def test_one_visitors_cookie_from_the_hub_is_not_sent_for_the_next(
    stand_in: StandInHub,
) -> None:
    stand_in.faults.append(
        Fault("tokenizer_config", "status", methods=("HEAD",), status=403,
              headers={"Set-Cookie": "session=alice"})
    )  # fmt: skip
    playground().library.doctor.check(GATED.repo_id, GOOD)
    assert not list(access_module.hub.get_session().cookies.jar)
