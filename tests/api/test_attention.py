"""The attention parameter on the wire: taken, refused in words, and nothing else has changed."""

import pytest

from gemma_space.types import Precision
from tests.api.conftest import Served
from tests.api.test_bad_input import refusal
from tests.api.test_endpoints import GREEDY, MODEL, final, updates

NO_NAMES = ["flash", "", "EAGER", "x" * 500, None, 5, ["eager"]]
USES = ["/load", "/chat", "/generate"]


def loaded(app: Served) -> list[tuple[str, str]]:
    rows = app.client.predict(api_name="/status")["loaded"]
    return [(row["repo_id"], row["precision"]) for row in rows]


def test_eager_is_loaded_beside_what_there_is_and_says_the_same(app: Served) -> None:
    model = app.folders["gemma3"]
    plain = final(app.client, "/chat", message="Hi", model=model, **GREEDY)
    steps = updates(app.client, "/load", model=model, precision="fp32", attention="eager")
    assert steps[-1]["phase"] == "ready"
    there = loaded(app)
    assert there.count((model, "fp32")) == 2
    said = final(app.client, "/chat", message="Hi", model=model, attention="eager", **GREEDY)
    assert said["text"] == plain["text"]
    more = {**GREEDY, "prompt": "Hi", "model": model}
    assert final(app.client, "/generate", attention="eager", **more)["text"]
    assert loaded(app) == there, "it was used again"
    app.client.predict(model=model, api_name="/unload")
    assert model not in [name for name, _ in loaded(app)]


@pytest.mark.parametrize("endpoint", USES)
def test_nonsense_is_refused_in_words(app: Served, endpoint: str) -> None:
    for name in NO_NAMES:
        text = refusal(app, endpoint, attention=name)
        assert "There is no attention" in text
        assert "Choose one of auto, eager, sdpa, flash_attention_2." in text
        assert len(text) < 300


@pytest.mark.parametrize("endpoint", USES)
@pytest.mark.parametrize(
    ("family", "attention", "reason"),
    [
        ("gemma2", "sdpa", "caps its attention scores"),
        ("gemma3", "flash_attention_2", "needs an NVIDIA GPU"),
        ("gemma4", "flash_attention_2", "heads of 512"),
    ],
)
def test_what_a_checkpoint_cannot_run_with_is_refused_with_the_reason(
    app: Served, endpoint: str, family: str, attention: str, reason: str
) -> None:
    before = loaded(app)
    text = refusal(app, endpoint, model=app.folders[family], attention=attention)
    assert f"does not run with {attention}" in text
    assert reason in text
    assert loaded(app) == before, "nothing was loaded for it"


def test_models_carry_exactly_what_they_did(app: Served) -> None:
    precisions = {str(p) for p in Precision} - {"auto", "as served"}
    for row in app.client.predict(api_name="/models"):
        assert set(row) == MODEL
        assert set(row["precisions"]) == precisions
        for fit in row["precisions"].values():
            assert {name: type(value) for name, value in fit.items()} == {
                "weights_bytes": int, "fits": bool, "reason": str,
            }  # fmt: skip
