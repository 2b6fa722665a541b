"""Gradio's Blocks as this app needs them.

Knows what Gradio sends a page to build itself from and to change itself by. Does not know what is
on the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.data_classes import BlocksConfigDict
from starlette.middleware import Middleware
from starlette.routing import Route

from gemma_space.admission import Admission
from gemma_space.sessions import PageConfig
from gemma_space.waiting_line import WaitingLine

Edits = Sequence[tuple[str, Sequence[str | int], Any]]


@dataclass(frozen=True)
class Beside:
    """What is served beside the page.

    Attributes:
        admission: of the requests of all ways in.
        mcp_server: whether the endpoints are tools too.
        finish_seconds: what replies have to finish once the server is told to stop.
    """

    admission: Admission
    routes: list[Route]
    middleware: list[Middleware]
    mcp_server: bool
    finish_seconds: float


class Space(gr.Blocks):
    """The page, and what is served beside it."""

    beside: Beside

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.default_config = PageConfig(self)

    def wait_in(self, line: WaitingLine) -> None:
        """Have events wait there, in place of the queue that Gradio made."""
        self.max_threads = line.max_thread_count
        self._queue = line

    def get_config_file(self) -> BlocksConfigDict:
        """What browsers build the page from: without the endpoints' parameters, for which Gradio
        has them mount a part each."""
        config = super().get_config_file()
        unseen = {part["id"] for part in config["components"] if part["type"] == "api"}
        for part in config["components"]:  # `gradio_client` looks them up here
            if part["id"] in unseen:
                part["props"]["visible"] = False
        layout = cast(dict[str, Any], config.get("layout"))
        layout["children"] = [part for part in layout["children"] if part["id"] not in unseen]
        return config

    def validate_inputs(self, block_fn: BlockFunction, inputs: list[Any]) -> None:
        """Refuse too few values in words; Gradio's own error has them all printed."""
        if len(inputs) < len(block_fn.inputs):
            raise gr.Error(
                f"This takes {len(block_fn.inputs)} values, and {len(inputs)} came.",
                print_exception=False,
            )

    def handle_streaming_diffs(
        self, block_fn: BlockFunction, data: list[Any], session_hash: str | None, run: str | None,
        final: bool, simple_format: bool = False,
    ) -> list[Any]:  # fmt: skip
        """What changed since the state before, for each output: edits, as Gradio finds them.

        A browser edits the state before in place, also one that a busy page has not shown yet. What
        that one alone sets would be lost (a button that ends a run would stay out of reach), so an
        output that sets other properties than before is sent whole.
        """
        whole = list(data)
        begins = run not in self.pending_diff_streams.get(session_hash or "", {})
        sent = super().handle_streaming_diffs(
            block_fn, data, session_hash, run, final, simple_format
        )
        if begins or final or simple_format:
            return sent  # states, not edits
        pairs = zip(sent, whole, strict=True)
        return [[("replace", [], state)] if _drops(edits) else edits for edits, state in pairs]


def _drops(edits: Edits) -> bool:
    """Whether a property that the state before set is not set any more."""
    return any(action == "delete" and len(path) == 1 for action, path, _ in edits)
