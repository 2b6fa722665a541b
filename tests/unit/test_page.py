"""How the page is wired and launched, without a browser."""

import re
from dataclasses import fields
from typing import Any, cast

import gradio as gr
import pytest

from gemma_space.assets import ASSETS
from gemma_space.controls import CONTROLS
from gemma_space.errors import InvalidControlError, InvalidRequestError
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.types import Controls
from gemma_space.ui import page, scripted
from gemma_space.ui.controls import SamplingControls, read_seed
from gemma_space.ui.events import Values, asked_by, listen
from tests import tiny_checkpoints as tiny
from tests.browser.fake_playground import FakePlayground
from tests.tiny_checkpoints import Checkpoints


@pytest.fixture(scope="module")
def demo() -> gr.Blocks:
    return built()


def built(fake: FakePlayground | None = None, settings: Settings | None = None) -> gr.Blocks:
    fake = fake or FakePlayground()
    with gr.Blocks() as demo, asked_by(fake.visitors):
        page.build(cast(Playground, fake), settings or Settings())
    return demo


def test_every_event_of_the_page_is_private(demo: gr.Blocks) -> None:
    assert len(demo.fns) > 15
    assert {fn.api_visibility for fn in demo.fns.values()} == {"private"}


SPACE = Settings(space_id="someone/space", system="spaces", oauth_client_id="an-id")


def test_signing_in_is_offered_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradio.routes.attach_oauth", lambda app: None)  # it asks for an account
    there, here = built(settings=SPACE), built()
    assert [type(block) for block in there.blocks.values()].count(gr.LoginButton) == 1
    assert gr.LoginButton not in map(type, here.blocks.values())
    assert there.get_api_info()["named_endpoints"] == {}
    assert {fn.api_visibility for fn in there.fns.values()} == {"private"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, False), ({"server_name": "0.0.0.0"}, True), ({"share": True}, True)],
)
def test_who_serves_a_folder_to_others_tells_them_gemmas_terms(
    settings: dict[str, Any], told: bool, checkpoints: Checkpoints
) -> None:
    folder = str(checkpoints.folder(tiny.GEMMA_3_BASE))
    shown = Settings(models=(folder,), **settings)
    with gr.Blocks() as demo:
        playground = Playground.from_settings(shown)
        with asked_by(playground.visitors):
            page.build(playground, shown)
    found = [block for block in demo.blocks.values() if block.elem_id == "terms-notice"]
    assert bool(found) == told


def test_one_event_takes_the_token_and_none_gives_it_back(demo: gr.Blocks) -> None:
    (box,) = (block for block in demo.blocks.values() if getattr(block, "type", "") == "password")
    assert [fn.name for fn in demo.fns.values() if box in fn.inputs] == ["stream"]


def test_no_session_state(demo: gr.Blocks) -> None:
    """Each page with State holds a connection open; a browser has six per server."""
    assert [block for block in demo.blocks.values() if isinstance(block, gr.State)] == []


def test_the_page_is_built_without_a_look_at_the_machine() -> None:
    """What fits is asked of torch, which takes seconds to import; the page comes first."""
    fake = FakePlayground()
    for name in ("status", "fits", "fit", "attentions"):
        setattr(fake.library, name, fail)
    built(fake)


def test_scripts_are_inline_and_name_no_path() -> None:
    head = page.launch_options()["head"]
    assert head.count("<script>") == len(scripted.SCRIPTS) + 1
    assert str(ASSETS) not in head
    assert not re.search(r"<script[^>]+src=|https?://(?!www\.w3\.org)[a-z]", head)
    assert {f"{name}.js" for name in scripted.SCRIPTS} == {
        file.name for file in (ASSETS / "js").glob("*.js")
    }


def test_nothing_in_the_stylesheets_is_fetched() -> None:
    sheets = page.launch_options()["css_paths"]
    assert set(sheets) == set(ASSETS.glob("*.css"))
    assert all("url(" not in sheet.read_text(encoding="utf-8") for sheet in sheets)


def widgets() -> tuple[SamplingControls, dict[Any, Any]]:
    fake = FakePlayground()
    with gr.Blocks():
        controls = SamplingControls.build(fake.default_params("fake/chat"), 1024)
    shown = controls.show(fake.default_params("fake/chat"), 1024)
    values = {w: u["value"] if isinstance(u, dict) else u for w, u in shown.items()}
    return controls, values


def test_reading_the_widgets_sets_every_control() -> None:
    controls, values = widgets()
    values |= {controls.seed: " 7 ", controls.stop: "END\n\nSTOP\n", controls.ignore_eos: True}
    read = controls.read(Values(values))
    assert all(getattr(read, field.name) is not None for field in fields(Controls))
    assert (read.seed, read.stop, read.ignore_eos) == (7, ("END", "STOP"), True)
    assert set(controls.sliders) == {control.name for control in CONTROLS}
    assert controls.inputs() < set(values) == set(controls.outputs())


def test_the_length_slider_ends_at_the_models_limit() -> None:
    controls, _ = widgets()
    assert controls.sliders["max_new_tokens"].maximum == 1024


@pytest.mark.parametrize(("text", "seed"), [("", None), (None, None), ("  ", None), (" 12 ", 12)])
def test_seeds(text: str | None, seed: int | None) -> None:
    assert read_seed(text) == seed


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "²"])
def test_bad_seeds(text: str) -> None:
    with pytest.raises(InvalidControlError, match="seed"):
        read_seed(text)


def fail(*_: object) -> dict[Any, Any]:
    raise InvalidRequestError("<b> is wrong.", "Leave it out.")


def test_an_error_becomes_a_toast_or_the_words_for_the_page() -> None:
    with gr.Blocks() as demo, asked_by(FakePlayground().visitors):
        box, button = gr.Textbox(), gr.Button()
        listen([button.click], fail, {box}, [box])
        listen([button.click], fail, {box}, [box], on_error=lambda text, values: {box: text})
    toast, shown = (cast(Any, fn.fn) for fn in demo.fns.values())
    with pytest.raises(gr.Error, match="&lt;b&gt; is wrong"):
        toast({box: "x"}, None, None)
    assert shown({box: "x"}, None, None) == {box: "<b> is wrong. Leave it out."}


def test_what_runs_when_the_page_loads_follows_no_input() -> None:
    with gr.Blocks() as demo, asked_by(FakePlayground().visitors):
        box = gr.Textbox()
        listen([], lambda values: {box: values[box]}, {box}, [box])
    (event,) = demo.fns.values()
    assert [name for _, name in event.targets] == ["load"]
