"""What Gradio keeps for each session, without what nothing here reads.

A session is a page in a browser, a `gradio_client`, or one single call over plain HTTP. For each
of its last 10,000 Gradio keeps the page's parts as that session last saw them: which choices a list
had, say, which the next event is checked against. Beside that it keeps every part's whole
configuration and last value for deep links, which are closed here (`app.CLOSED`): close to a
megabyte each for a page of this size, and everybody's conversations among it. Knows only that.
"""

from typing import Any

from gradio.blocks import BlocksConfig


class PageConfig(BlocksConfig):
    """The page's parts and events; a copy of it is a session's."""

    def __copy__(self) -> "SessionConfig":
        session = SessionConfig(self.root_block)
        session.blocks = Changes(self.blocks)
        session.fns = self.fns  # no session has events of its own: that takes `gr.render`
        session.fn_id = self.fn_id
        return session


class SessionConfig(BlocksConfig):
    """The parts and events as one session has them; says nothing about them."""

    @staticmethod
    def config_for_block(*_: Any, **__: Any) -> dict[str, Any]:
        """Nothing: Gradio asks this of a session for deep links alone, and would keep it."""
        return {}


class Changes(dict[int, Any]):
    """What a session changed, iterated alone; looked up, all else is the page's own."""

    def __init__(self, of_page: dict[int, Any]) -> None:
        super().__init__()
        self._of_page = of_page

    def __missing__(self, key: int) -> Any:
        return self._of_page[key]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self._of_page

    def get(self, key: int, default: Any = None) -> Any:
        """As that of a dict that has both."""
        try:
            return self[key]
        except KeyError:
            return default
