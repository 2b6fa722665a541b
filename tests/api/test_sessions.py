"""What the server keeps of each session: next to nothing, and nobody's words."""

import gc
import tracemalloc
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState

from gemma_space.space import Space
from tests.api.conftest import DEMO, Served

WORDS = "Xylophones that nobody else mentions"


def choices_of(state: SessionState, part: gr.Radio) -> Any:
    return [name for name, _ in state[part._id].choices]


def some_radio(demo: Space) -> gr.Radio:
    return next(part for part in demo.blocks.values() if isinstance(part, gr.Radio))


def test_a_session_takes_kilobytes(app: Served) -> None:
    SessionState(app.demo)  # what is made once
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        sessions = [SessionState(app.demo) for _ in range(20)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(sessions) < 5_000


def test_no_session_keeps_what_was_said(app: Served) -> None:
    app.client.predict(WORDS, model=DEMO, max_new_tokens=3, api_name="/chat")
    states = list(app.demo.state_holder.session_data.values())
    assert app.client.session_hash in app.demo.state_holder.session_data
    for state in states:
        assert list(state.components) == []
        assert WORDS not in str(state.config_values) + str(state.state_data)


def test_what_a_session_changes_is_its_own(app: Served) -> None:
    part, one, other = some_radio(app.demo), SessionState(app.demo), SessionState(app.demo)
    before = choices_of(other, part)
    one[part._id] = gr.Radio(choices=["only here"], render=False)
    assert choices_of(one, part) == ["only here"]
    assert choices_of(other, part) == before
    assert app.demo.blocks[part._id] is part
    assert part._id in one
    assert part._id in other
