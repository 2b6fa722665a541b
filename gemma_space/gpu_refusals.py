"""What it means when Hugging Face lends no GPU, in words with a next step.

Knows the titles and sentences of the `spaces` package's errors. Does not know what was to be run.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gemma_space.errors import GemmaSpaceError, GpuUnavailableError

TRY_AGAIN = "Try again in a moment."
_WAIT = re.compile(r"Try again in ((?:\d+ days?, )?[\d:]+)")


@contextmanager
def refusals_in_words(seconds: float) -> Iterator[None]:
    """Turn what `spaces` raises into sentences with a next step.

    It raises `gr.Error`s, which are told apart by their titles.

    Args:
        seconds: of GPU time that were asked for.
    """
    try:
        yield
    except GemmaSpaceError:
        raise
    except Exception as error:
        title = str(getattr(error, "title", ""))
        if not title.startswith("ZeroGPU"):
            raise
        message, hint = _words(title.removeprefix("ZeroGPU "), str(error), round(seconds))
        raise GpuUnavailableError(message, hint) from None


def _words(refusal: str, text: str, seconds: int) -> tuple[str, str]:
    """Message and hint for one of the package's refusals; `text` is its own sentence."""
    match refusal:
        case "quota exceeded" if (wait := _WAIT.search(text)) is not None:
            return (
                f"This reply asks for up to {seconds} s of GPU time, more than is left for you.",
                f"Lower max new tokens, sign in for more time, or try again in {wait[1]}.",
            )
        case "quota exceeded":
            return (
                "The GPU time that this Space has for you is used up.",
                "Sign in with Hugging Face, or try again later.",
            )
        case "illegal duration":
            return (
                f"This reply asks for up to {seconds} s of GPU time, more than is given at once.",
                "Lower max new tokens or shorten the conversation.",
            )
        case "queue timeout":
            return (
                "No GPU became free within a minute.",
                "Try again; who is signed in waits less.",
            )
        case "pending credits exceeded":
            return (
                "Your other requests hold all the GPU time you have.",
                "Wait for one of them to end, or stop it.",
            )
        case "worker error" if "aborted" in text:
            return (
                "The GPU was taken back before the reply was done.",
                "Continue the reply, or lower max new tokens.",
            )
        case "worker error":
            return (
                f"The process with the GPU failed ({text}).",
                "Try again; the server's log has the details.",
            )
        case _:
            return "No GPU could be had.", TRY_AGAIN
