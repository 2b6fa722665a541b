"""The same promises against huggingface.co itself, with a token that may read a gated Gemma.

Skipped without `GEMMA_SPACE_LIVE_TOKEN`. Fetches about 600 MB. The names of the repositories and
the endpoint can be changed by `GEMMA_SPACE_LIVE_GATED`, `_OPEN` and `_ENDPOINT`.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_space import hub
from gemma_space.access import Access
from gemma_space.catalog import hub_catalog
from gemma_space.downloads import Downloads
from gemma_space.errors import AccessDeniedError
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.types import ChatRequest, Controls, Generation, Message
from tests.conftest import LIVE, LIVE_TOKEN

pytestmark = pytest.mark.skipif(not LIVE_TOKEN, reason="needs GEMMA_SPACE_LIVE_TOKEN")

GATED = LIVE.get("GATED", "google/gemma-3-270m-it")
OPEN = LIVE.get("OPEN", "google/gemma-4-E2B-it")
ENDPOINT = LIVE.get("ENDPOINT", "https://huggingface.co")
NOBODYS = "hf_" + "thisIsNoTokenOfAnybody".ljust(34, "0")
ROWS = {row.repo_id: row for row in hub_catalog()}


@pytest.fixture(autouse=True)
def live_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from huggingface_hub import close_session, constants

    template = ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(os.environ, "HF_ENDPOINT", ENDPOINT)
    close_session()
    yield
    close_session()


@pytest.mark.parametrize(
    ("repo_id", "token", "verdict"),
    [
        (GATED, LIVE_TOKEN, "ready"),
        (GATED, None, "no_token"),
        (GATED, NOBODYS, "token_invalid"),
        (OPEN, LIVE_TOKEN, "ready"),
        (OPEN, None, "ready"),
        ("google/there-is-no-such-gemma", LIVE_TOKEN, "repo_missing"),
        ("google/there-is-no-such-gemma", None, "repo_missing"),
    ],
)
def test_the_wire_answers_as_the_stand_in_does(
    repo_id: str, token: str | None, verdict: str
) -> None:
    answer = hub.probe(repo_id, "main", token or None)
    assert answer.verdict == verdict
    assert (answer.commit is not None) == (verdict == "ready")


def test_a_missing_branch_is_told_from_a_missing_repository() -> None:
    assert hub.probe(OPEN, "no-such-branch", None).verdict == "revision_missing"


def test_the_hub_says_whose_token_it_is() -> None:
    found = hub.account(LIVE_TOKEN)
    assert found.verdict == "ready"
    assert found.name
    assert hub.account(NOBODYS).verdict == "token_invalid"


def test_a_gated_model_answers_its_visitor_and_nobody_else() -> None:
    row = replace(ROWS[GATED], title="Gated")
    playground = Playground([row], Access(), Settings())
    request = ChatRequest(
        messages=(Message(role="user", content="Say hello."),), model=GATED,
        controls=Controls(max_new_tokens=8, temperature=0.0),
    )  # fmt: skip
    phases = [step.phase for step in playground.library.load(GATED, "auto", LIVE_TOKEN)]
    assert phases[-1] == "ready"
    *_, last = playground.chat(request, LIVE_TOKEN)
    assert isinstance(last, Generation)
    assert last.text.strip()
    with pytest.raises(AccessDeniedError):
        list(playground.chat(request, None))


def test_an_open_models_tokenizer_comes_verified_through_whatever_transport_there_is() -> None:
    commit = hub.probe(OPEN, "main", None).commit
    assert commit
    found = Downloads().bring(OPEN, commit, None, weights=False)
    assert (found / "tokenizer.json").stat().st_size > 10_000
    assert not list(found.glob("*.safetensors"))
