"""Every error this package raises on purpose.

Knows how an error reads: `message` says in one sentence what happened, `hint` what to do next.
Does not know where it will be shown; `alerts` turns errors into words for people.

    GemmaSpaceError(message, hint)
    ├── InvalidRequestError      something in the request cannot be served as given
    │   ├── InvalidControlError  a generation control is out of its range
    │   └── ContextLengthError   the prompt does not fit the context window
    ├── ModelNotFoundError       no such checkpoint here
    ├── AccessDeniedError        the Hub's answer about this visitor and this checkpoint
    ├── PrecisionUnsupportedError
    ├── ModelTooLargeError       the weights cannot fit the memory budget
    ├── LoadError                the files are there but do not make a working model
    ├── DownloadError            the files could not be brought here
    ├── GenerationError          the model failed while generating
    │   └── ServerError          another server, which has the model, did not do it
    ├── GpuUnavailableError      no GPU was lent for this request, or it was taken back
    ├── BusyError                too many requests are waiting
    ├── TooManyRequestsError     one visitor has asked for more than their share
    ├── ServerClosingError       the server is being shut down
    └── SettingsError            the environment asks for something impossible
"""


class GemmaSpaceError(Exception):
    """An expected failure, worded for the person who caused or met it.

    Args:
        message: what happened, one sentence, ending in a full stop. It may quote what somebody
            sent: half a character in it, which no answer could carry, becomes a question mark.
        hint: what to do next, one sentence; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message.encode(errors="replace").decode()
        self.hint = hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidRequestError(GemmaSpaceError):
    """The request cannot be served as given."""


class InvalidControlError(InvalidRequestError):
    """A generation control has the wrong type or lies outside its range; `control` names it."""

    def __init__(self, message: str, hint: str = "", control: str = "") -> None:
        super().__init__(message, hint)
        self.control = control


class ContextLengthError(InvalidRequestError):
    """The prompt and the room kept for the reply exceed the context window."""


class ModelNotFoundError(GemmaSpaceError):
    """The name is no checkpoint that this playground serves."""


class AccessDeniedError(GemmaSpaceError):
    """The Hub does not let this visitor use this checkpoint, or could not be asked.

    `verdict` is the machine's word for it, see `reports.Verdict`; `url` the page that helps.
    """

    def __init__(self, message: str, hint: str = "", verdict: str = "", url: str = "") -> None:
        super().__init__(message, hint)
        self.verdict = verdict
        self.url = url


class PrecisionUnsupportedError(GemmaSpaceError):
    """The checkpoint cannot run in the chosen precision on this device."""


class ModelTooLargeError(GemmaSpaceError):
    """The weights need more memory than the budget has."""


class LoadError(GemmaSpaceError):
    """The checkpoint's files do not make a working model."""


class DownloadError(GemmaSpaceError):
    """The checkpoint's files could not be downloaded."""


class GenerationError(GemmaSpaceError):
    """The model failed while generating."""


class ServerError(GenerationError):
    """A server that generates for us refused, failed or was not there.

    Args:
        elsewhere: whether another server may do what this one did not.
        down: whether this one should be left alone for a while.
        rejected: it does not take the request as it is written (a field that it does not know).
    """

    def __init__(
        self, message: str, hint: str = "", *,
        elsewhere: bool = False, down: bool = False, rejected: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(message, hint)
        self.elsewhere = elsewhere
        self.down = down
        self.rejected = rejected


class BusyError(GemmaSpaceError):
    """As many requests wait as may wait."""


class TooManyRequestsError(GemmaSpaceError):
    """One visitor has as many requests as one may have; `retry_seconds` is when to come back."""

    def __init__(self, message: str, hint: str = "", retry_seconds: int = 5) -> None:
        super().__init__(message, hint)
        self.retry_seconds = retry_seconds


class ServerClosingError(GemmaSpaceError):
    """The server is being shut down and takes no more requests."""


class GpuUnavailableError(GemmaSpaceError):
    """A GPU that comes with each request was refused, or taken back before the end."""


class SettingsError(GemmaSpaceError):
    """A setting in the environment cannot be used."""
