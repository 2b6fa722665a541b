"""Secrets are taken out of log records before anybody formats them.

A second line of defence: nothing here logs a token or a signed address on purpose, but libraries
log addresses and exceptions, and a traceback can quote a header. Knows what they look like.
"""

import logging
import re
from typing import Any

# Tokens by their prefix or behind "Bearer"; the signature in an address of the Hub's storage.
SECRETS = re.compile(
    r"(?<![A-Za-z0-9])hf_(?:oauth|jwt)_[\w\-.]+"
    r"|(?:(?<![A-Za-z0-9])|(?<=%3D))(?:hf|api_org)_[A-Za-z0-9]{16,}"
    r"|(?i:(?<=bearer ))[^\s'\"]+"
    r"|(?<=[?&])(?:sig|Signature|X-Amz-[A-Za-z-]+|Key-Pair-Id|Policy|access_token)=[^\s&'\"]+"
)
PLACE_OF_A_SECRET = "<removed>"
_named: set[str] = set()


def name(secret: str) -> None:
    """Have a secret removed that looks like nothing in particular."""
    _named.add(secret)


def redacted(text: str) -> str:
    """The text without tokens, signatures and what was named."""
    for secret in _named:
        text = text.replace(secret, PLACE_OF_A_SECRET)
    return SECRETS.sub(PLACE_OF_A_SECRET, text)


def install() -> None:
    """Have every log record of this process redacted, whichever handler writes it."""
    before = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        try:
            said = record.getMessage()
        except Exception:  # a record that cannot be formatted is the handler's to report
            return record
        if redacted(said) != said:
            record.msg, record.args = redacted(said), ()
        if record.exc_info and record.exc_info[0] is not None:
            told = logging.Formatter().formatException(record.exc_info)
            if redacted(told) != told:
                record.exc_text = redacted(told)  # formatters take this in place of their own
        return record

    logging.setLogRecordFactory(make)
