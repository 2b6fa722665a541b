"""No handler sees a secret that a library put into a log record."""

import io
import logging
from collections.abc import Iterator

import pytest

from gemma_space import redaction
from gemma_space.redaction import redacted

CANARY = "hf_canaryCANARYcanary0004"
SIGNED = "https://cdn.example/x?Expires=1&Signature=SIGNEDcanary~_-&Key-Pair-Id=KEYcanary"


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    before = logging.getLogRecordFactory()
    redaction.install()
    logger, written = logging.getLogger("gemma_space.tests.redaction"), io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    yield logger, written
    logger.removeHandler(handler)
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize(
    "text",
    [f"token {CANARY} was sent", f"Illegal header value b'Bearer {CANARY}\\n'",
     "Bearer eyJcanary.canary.canary", "hf_oauth_eyJcanary.a-_b.canary", "hf_jwt_eyJcanary.x",
     f"my_{CANARY}",     f"a%3D{CANARY}", "bearer eyJcanary", SIGNED, "https://x/y?sig=canary&a=1",
     "https://x?X-Amz-Signature=canary&X-Amz-Credential=canary"],
)  # fmt: skip
def test_secrets_are_taken_out(text: str) -> None:
    assert "canary" not in redacted(text).lower()
    assert redaction.PLACE_OF_A_SECRET in redacted(text)


@pytest.mark.parametrize("text", ["nothing here", "hf_hub_download failed", "https://x?a=1"])
def test_other_text_stays(text: str) -> None:
    assert redacted(text) == text


def test_messages_arguments_and_tracebacks_are_redacted(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, written = log
    logger.warning("asked %s with %s", SIGNED, CANARY)
    try:
        raise ValueError(f"Illegal header value b'Bearer {CANARY}'")
    except ValueError:
        logger.exception("it broke")
    logger.info("plain %d", 3)
    shown = written.getvalue()
    assert "canary" not in shown.lower()
    assert "ValueError" in shown
    assert "Traceback" in shown


def test_what_has_no_secret_is_left_as_it_was(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    logger.warning("%s of %d", "one", 2)
    assert written.getvalue() == "WARNING one of 2\n"
