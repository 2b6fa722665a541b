"""Who is asking, and with which Hub token.

Knows the sources of a token and which of them goes first: pasted, signed in, and the login of
whoever runs the server, for them alone. A pasted token lives in this process's memory, under a
key that says nothing, for a limited time. Does not know what a token may read; `access` does.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from cachetools import TTLCache

from gemma_space.access import Access
from gemma_space.errors import InvalidRequestError
from gemma_space.hub import Account, clean_token
from gemma_space.verdicts import refusal

PASTED_SECONDS = 8 * 3600.0  # as long as a sign-in on a Space
MAX_PASTED = 10_000
TIDY_SECONDS = 60.0

Source = Literal["pasted", "signed_in", "own_machine", "none"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from.

    Attributes:
        key: of the browser, opaque; empty where there is none.
        signed_in: the token that came with the request: of a sign-in, or an API caller's.
        is_local: it comes from this very machine, through no proxy.
        account: that signed in, as the Hub named it; empty where none did.
        address: of the network it comes from; empty where a proxy hides it.
    """

    key: str = field(default="", repr=False)
    signed_in: str | None = field(default=None, repr=False)
    is_local: bool = False
    account: str = ""
    address: str = field(default="", repr=False)


class Visitors:
    """Tokens by visitor.

    Args:
        access: says whose a pasted token is.
        own_token: the login of whoever runs the server, for visitors on the same machine; None
            where others can reach the page.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        access: Access,
        own_token: Callable[[], str | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        self._own_token = own_token
        self._lock = threading.Lock()
        self._pasted: TTLCache[str, str] = TTLCache(MAX_PASTED, PASTED_SECONDS, timer=clock)
        self._tidying = False

    def token(self, visitor: Visitor) -> str | None:
        """The token that acts for this visitor; None without one."""
        return self._found(visitor)[0]

    def source(self, visitor: Visitor) -> Source:
        """Where the visitor's token comes from."""
        return self._found(visitor)[1]

    def account(self, visitor: Visitor) -> Account:
        """Whose token it is; asks the Hub about one that is new."""
        return self._access.account(self.token(visitor))

    def paste(self, visitor: Visitor, raw: str) -> Account:
        """Keep a token for this visitor, in place of one pasted before.

        Its form is looked at before anybody is asked; one that the Hub does not know is not kept.

        Raises:
            AccessDeniedError: it is no token, or not a good one; nothing has changed then.
            InvalidRequestError: the browser cannot be told from others.
        """
        try:
            token = clean_token(raw)
        except ValueError:
            token = None
        if token is None:
            raise refusal("token_malformed")
        if not visitor.key:
            raise InvalidRequestError(
                "Your browser does not keep this page's cookie, so nobody could tell you apart.",
                "Allow cookies for this page and reload it.",
            )
        found = self._access.account(token)
        if found.verdict == "token_invalid":
            raise refusal("token_invalid")
        with self._lock:
            self._pasted[visitor.key] = token
            if not self._tidying:
                self._tidying = True
                threading.Thread(target=self._tidy, name="forget tokens", daemon=True).start()
        return found

    def forget(self, visitor: Visitor) -> None:
        """Drop the token that this visitor pasted."""
        with self._lock:
            self._pasted.pop(visitor.key, None)

    def _found(self, visitor: Visitor) -> tuple[str | None, Source]:
        with self._lock:
            pasted = self._pasted.get(visitor.key) if visitor.key else None
        if pasted:
            return pasted, "pasted"
        if visitor.signed_in:
            return visitor.signed_in, "signed_in"
        own = self._own_token() if self._own_token is not None and visitor.is_local else None
        return (own, "own_machine") if own else (None, "none")

    def _tidy(self) -> None:
        """Drop what is too old even if nobody asks again."""
        while True:
            time.sleep(TIDY_SECONDS)
            with self._lock:
                self._pasted.expire()
                if not self._pasted:
                    self._tidying = False
                    return
