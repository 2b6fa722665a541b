"""Errors become words: escaped where they are ours, a reference alone where they are not."""

import asyncio
import logging
import re

import gradio as gr
import pytest

from gemma_space.alerts import READING_SECONDS, errors_shown
from gemma_space.errors import (
    ContextLengthError,
    GemmaSpaceError,
    GenerationError,
    InvalidRequestError,
)


def shown(error: BaseException) -> gr.Error:
    with pytest.raises(gr.Error) as caught:
        with errors_shown():
            raise error
    assert caught.value.__cause__ is None
    return caught.value


def test_our_errors_are_shown_as_worded_with_their_next_step() -> None:
    error = shown(InvalidRequestError("The message is empty.", "Write something to send."))
    assert error.message == "The message is empty. Write something to send."
    assert error.print_exception is False
    assert shown(GemmaSpaceError("Alone.")).message == "Alone."


def test_what_can_be_mended_goes_by_itself_and_what_failed_stays() -> None:
    assert shown(InvalidRequestError("The message is empty.")).duration == READING_SECONDS
    assert shown(ContextLengthError("It is too long.")).duration == READING_SECONDS
    assert shown(GenerationError("The model failed.")).duration is None
    assert shown(RuntimeError("what nobody thought of")).duration is None


def test_what_a_visitor_typed_cannot_become_markup() -> None:
    text = "There is no model “<img src=x onerror=alert(1)>” & 'more'."
    message = shown(GemmaSpaceError(text)).message
    assert "<" not in message
    assert "&lt;img src=x onerror=alert(1)&gt;” &amp; 'more'." in message


@pytest.mark.parametrize(
    "error", [RuntimeError("/home/me/secret hf_canary"), KeyError("hf_canary"), OSError(5, "hf_x")]
)
def test_a_foreign_error_shows_a_reference_only_and_the_log_has_the_rest(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        message = shown(error).message
    assert "hf_" not in message
    assert "secret" not in message
    reference = re.search(r"reference ([0-9a-f]{6})", message)
    assert reference
    assert reference[1] in caplog.text
    assert type(error).__name__ in caplog.text


def test_what_is_worded_already_and_what_is_no_failure_passes_through() -> None:
    worded = gr.Error("as it is")
    assert shown(worded) is worded
    for passing in (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
        with pytest.raises(passing):
            with errors_shown():
                raise passing
    with errors_shown():
        pass
