"""Conversations kept by the browser: the list in the sidebar, opening and saving.

Knows what travels between the page's handlers and `assets/js/`: the browser names a conversation
and hands it over when it is opened; handlers hand it back whenever it changed. The server keeps
nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gemma_space.ui import transcript
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.scripted import for_script, heard, scripted
from gemma_space.ui.transcript import Turn

MAX_ID = 100


class Conversations:
    """The sidebar's list and the two unseen components through which conversations pass."""

    def __init__(self) -> None:
        gr.HTML("<h2>Conversations</h2>", elem_classes="section-title")
        self._list = scripted(
            "GemmaSpace.conversations.mount(element, trigger);", elem_id="conversations"
        )
        self._open_id = gr.Textbox(visible="hidden", elem_id="open-conversation")
        self._outbox = heard("GemmaSpace.conversations.keep(props.value)")

    def inputs(self) -> set[Component]:
        """What `save` reads."""
        return {self._open_id}

    def outputs(self) -> list[Block]:
        """What `save` sets."""
        return [self._outbox, self._open_id]

    def save(
        self, values: Values, turns: Sequence[Turn], *, replying: bool, since: int = 0
    ) -> Updates:
        """Have the browser keep these turns as the conversation that is open.

        `replying` says whether a reply to them is on its way; the first `since` turns are those
        that it keeps already. The stamp makes each hand-over a change, so that the browser hears
        of it even when nothing else differs.
        """
        kept = {
            "id": values[self._open_id],
            "since": since,
            "messages": transcript.to_stored(turns[since:]),
            "replying": replying,
            "stamp": time.time_ns() // 1000,  # a number that JavaScript holds exactly
        }
        return {
            self._outbox: for_script(kept),
            # What is shown and whose it is arrive together, whatever was opened meanwhile.
            self._open_id: values[self._open_id],
        }

    def listen_for_opening(
        self,
        system: gr.Textbox,
        opened: Callable[[Sequence[Turn]], Updates],
        opened_outputs: Sequence[Block],
    ) -> None:
        """Show what is opened in the list. The list has stopped a reply on its way before."""

        def on_open(event: gr.EventData) -> Updates:
            conversation = _read(event._data)
            turns = transcript.from_stored(conversation["messages"])
            return {
                system: conversation["system_prompt"],
                self._open_id: conversation["id"],
                **opened(turns),
            }

        listen([self._list.select], on_open, outputs=[system, self._open_id, *opened_outputs])
        listen([system.change], None, {system}, js="(t) => GemmaSpace.conversations.system(t)")


def _read(data: object) -> dict[str, Any]:
    """A conversation handed over by the browser; whatever is missing or odd is empty."""
    given = data if isinstance(data, Mapping) else {}
    identity, system = given.get("id"), given.get("system_prompt")
    return {
        "id": identity[:MAX_ID] if isinstance(identity, str) else "",
        "system_prompt": transcript.sendable(system) if isinstance(system, str) else "",
        "messages": given.get("messages", []),
    }
