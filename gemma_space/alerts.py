"""Errors become words for people: the one place that catches everything.

A `GemmaSpaceError` is shown as it is worded. Anything else goes to the log under a short
reference, and only the reference is shown: a foreign exception's text may hold a path, a token
or a signed address.
"""

import html
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from gemma_space.errors import GemmaSpaceError, InvalidRequestError

log = logging.getLogger(__name__)
READING_SECONDS = 15.0


@contextmanager
def errors_shown() -> Iterator[None]:
    """Turn whatever is raised inside into a `gr.Error` worth reading.

    Gradio renders the text as HTML, so it is escaped here. What is wrong with the request is in
    sight and can be mended, so its toast goes by itself; any other stays until it is closed.

    Raises:
        gr.Error: instead of any `Exception`; cancellation passes through.
    """
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        words = html.escape(str(worded(error)), quote=False)
        seconds = READING_SECONDS if isinstance(error, InvalidRequestError) else None
        raise gr.Error(words, print_exception=False, duration=seconds) from None


def worded(error: Exception) -> GemmaSpaceError:
    """An error as it may be shown: itself if it was raised on purpose, else a reference to the
    log, where the rest of it goes."""
    if isinstance(error, GemmaSpaceError):
        return error
    reference = secrets.token_hex(3)
    log.error("unexpected error, reference %s", reference, exc_info=error)
    return GemmaSpaceError(
        f"Something went wrong on our side (reference {reference}).",
        "Try again; if it happens again, the server's log has the details under this reference.",
    )


def words(error: Exception) -> str:
    """What to tell people of an error. Call it once: each unexpected one is logged."""
    return str(worded(error))
