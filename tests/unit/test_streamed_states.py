"""What a page is sent while a stream goes on: little, and nothing that a late page would lose."""

import copy
from typing import Any

import gradio as gr
import pytest
from gradio.block_function import BlockFunction
from gradio_client.utils import apply_diff

from gemma_space.space import Space

UPDATE = {"__type__": "update"}


@pytest.fixture(scope="module")
def demo() -> Space:
    with Space() as demo:
        button, text = gr.Button(), gr.Textbox()
        button.click(lambda: (None, None), None, [button, text])
    return demo


def sent(demo: Space, *states: list[Any]) -> list[list[Any]]:
    fn: BlockFunction = next(iter(demo.fns.values()))
    found = [
        demo.handle_streaming_diffs(fn, copy.deepcopy(state), "session", "run", final=False)
        for state in states
    ]
    last = demo.handle_streaming_diffs(fn, [None, None], "session", "run", final=True)
    assert last == states[-1]
    return found


def test_a_state_that_was_not_shown_yet_is_not_edited(demo: Space) -> None:
    states = [[{**UPDATE, "interactive": False}, "a"], [UPDATE, "ab"], [UPDATE, "abc"]]
    first, *later = sent(demo, *states)
    shown = list(first)
    for edits, state in zip(later, states[1:], strict=True):
        shown = [apply_diff(one, edit) for one, edit in zip(shown, edits, strict=True)]
        assert shown == state
    # A browser applies edits in place: only a state of its own leaves the one before alone.
    assert later == [[[("replace", [], UPDATE)], [["append", [], "b"]]],
                     [[], [["append", [], "c"]]]]  # fmt: skip


def test_an_event_that_is_no_stream_leaves_nothing_behind(demo: Space) -> None:
    fn: BlockFunction = next(iter(demo.fns.values()))
    state: list[Any] = [UPDATE, "a"]
    assert demo.handle_streaming_diffs(fn, state, "passer-by", None, final=True) == state
    assert "passer-by" not in demo.pending_diff_streams


def test_a_growing_text_is_sent_by_what_it_grows(demo: Space) -> None:
    long = [{"role": "assistant", "content": "word " * 2000}]
    longer = [{"role": "assistant", "content": "word " * 2001}]
    states = [[{**UPDATE, "value": 1}, long], [{**UPDATE, "value": 2}, longer]]
    _, second = sent(demo, *states)
    assert second == [[["replace", ["value"], 2]], [["append", [0, "content"], "word "]]]
