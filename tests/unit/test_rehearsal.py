"""Presenter mode without a browser: its examples, their kept answers, and who may have them."""

import json
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest

from gemma_space.access import Access
from gemma_space.app import build_app
from gemma_space.assets import ASSETS
from gemma_space.catalog import hub_catalog
from gemma_space.errors import AccessDeniedError, GenerationError, SettingsError
from gemma_space.hub import Answer
from gemma_space.playground import Playground
from gemma_space.rehearsal import Rehearsal
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.ui import presenter
from tests.browser.fake_playground import FakePlayground
from tests.tiny_checkpoints import no_hub

QUESTIONS = ("What is this playground?", "Hello")


@pytest.fixture(scope="module")
def rehearsed() -> Rehearsal:
    """With the demo checkpoint, whose answers are real."""
    settings = Settings(presenter=True, presenter_examples=QUESTIONS)
    demo = served_checkpoints(["gemma-space/demo"])
    made = Rehearsal(Playground(demo, Access(probe=no_hub), settings), settings)
    assert made.answer(QUESTIONS[0]) is None  # nothing is written before somebody says so
    made.run()
    return made


def test_every_example_has_the_answer_the_model_is_surest_of(rehearsed: Rehearsal) -> None:
    kept = [rehearsed.answer(text) for text in QUESTIONS]
    assert all(answer is not None and answer.finish_reason == "stop" for answer in kept)
    assert [answer.params.temperature for answer in kept if answer and answer.params] == [0, 0]
    again = Rehearsal(rehearsed._playground, Settings(presenter_examples=QUESTIONS[:1]))
    again.run()
    (first, second) = (r.answer(QUESTIONS[0]) for r in (rehearsed, again))
    assert first is not None
    assert second is not None
    assert first.text == second.text != ""
    assert rehearsed.answer("something else") is None


def test_a_kept_answer_says_that_it_is_one(rehearsed: Rehearsal) -> None:
    answer = rehearsed.answer(QUESTIONS[0])
    assert answer is not None
    turn = presenter.cached(answer)
    assert turn.footer is not None
    assert (turn.text, turn.footer.title) == (answer.text, "Cached answer")
    assert "once" in turn.footer.detail


def test_what_fails_is_asked_live() -> None:
    fake = FakePlayground(refusal=GenerationError("It stumbled.", "Try again."))
    made = Rehearsal(cast(Playground, fake), Settings(presenter=True))
    made.run()
    assert len(fake.requests) == 1
    assert made.answer(made.examples[0]) is None


def test_where_gpus_are_lent_nothing_is_rehearsed() -> None:
    fake = FakePlayground()
    Rehearsal(cast(Playground, fake), Settings(presenter=True, zero_gpu=True)).run()
    assert fake.requests == []


def gated(answers: list[str], **more: Any) -> Rehearsal:
    row = next(row for row in hub_catalog() if row.repo_id == "google/gemma-3-270m-it")
    settings = Settings(presenter=True, **more)
    access = Access(
        deployer_token="hf_deployerdeployer01",
        probe=lambda repo_id, revision, token: Answer(answers[-1], commit="c" * 40),  # type: ignore[arg-type]
    )
    return Rehearsal(Playground([row], access, settings), settings)


def test_a_gated_model_needs_the_hosts_access() -> None:
    with pytest.raises(SettingsError, match=r"no place to sign in.*ACCESS=deployer"):
        gated(["ok"])
    gated(["ok"], access="deployer")


def test_the_page_says_on_whose_access_it_runs() -> None:
    made = gated(["granted"], access="deployer")
    settings = Settings(presenter=True, access="deployer")
    demo = build_app(made._playground, settings, made)
    shown = " ".join(str(b.value) for b in demo.blocks.values() if isinstance(b, gr.HTML))
    assert "on the host's own Hugging Face access" in shown
    assert "Gemma Terms of Use" in shown


def test_kept_answers_of_a_gated_model_end_with_the_access() -> None:
    answers = ["granted"]
    made = gated(answers, access="deployer")
    answer = next(iter(FakePlayground()._generate("")))
    made._answers["kept"] = answer
    answers.append("license_not_accepted")
    with pytest.raises(AccessDeniedError):
        made.answer("kept")


# --- the settings --------------------------------------------------------------------------------


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Any:
    def read(value: str) -> tuple[str, ...]:
        monkeypatch.setenv("GEMMA_SPACE_PRESENTER_EXAMPLES", value)
        return Settings.from_env().presenter_examples

    return read


def test_examples_are_a_list_in_place_or_in_a_file(examples: Any, tmp_path: Path) -> None:
    texts = ["One, with a comma", "Two\nlines"]
    file = tmp_path / "examples.json"
    file.write_text(json.dumps(texts), encoding="utf-8")
    assert examples(json.dumps(texts)) == examples(str(file)) == tuple(texts)
    assert examples("") == ()


@pytest.mark.parametrize("value", ["What is Gemma?", "[1, 2]", '["', '{"a": 1}', '[""]', "/none"])
def test_other_examples_are_refused_in_words(value: str, examples: Any) -> None:
    with pytest.raises(SettingsError, match=r"PRESENTER_EXAMPLES cannot be used: it is neither"):
        examples(value)


def test_without_any_they_are_those_of_the_chat_tab() -> None:
    made = Rehearsal(cast(Playground, FakePlayground()), Settings(presenter=True))
    assert list(made.examples) == json.loads((ASSETS / "examples.json").read_text("utf-8"))


# --- the page ------------------------------------------------------------------------------------


def test_the_page_has_no_controls_and_the_same_api() -> None:
    settings = Settings(presenter=True, presenter_title="Meet <Gemma>")
    fake = cast(Playground, FakePlayground())
    demo = build_app(fake, settings, Rehearsal(fake, settings))
    blocks = list(demo.blocks.values())
    controls = (gr.Dropdown, gr.Slider, gr.Checkbox, gr.Tab, gr.Sidebar, gr.Accordion)
    assert [block for block in blocks if isinstance(block, controls)] == []
    assert demo.title == "Meet <Gemma>"
    titles = [b.value for b in blocks if isinstance(b, gr.HTML) and "<h1>" in str(b.value)]
    assert "Meet &lt;Gemma&gt;" in titles[0]
    usual = build_app(fake, Settings())
    names = [set(app.get_api_info()["named_endpoints"]) for app in (demo, usual)]
    assert names[0] == names[1] != set()
