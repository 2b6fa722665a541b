"""The Chat tab: a conversation with an instruct model.

Puts widgets, replies and kept conversations together, and follows the chosen model.
"""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from gemma_space import chat
from gemma_space.catalog import Checkpoint
from gemma_space.types import ChatRequest
from gemma_space.ui.chat_widgets import ChatTab, may_think
from gemma_space.ui.conversations import Conversations
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.replies import Replies
from gemma_space.ui.xray import PromptTarget
from gemma_space.use_cases import UseCases


def build(
    playground: UseCases, panel: ModelPanel, kept: Conversations, tabs: gr.Tabs,
    examples: Sequence[str], prompt: PromptTarget | None = None,
) -> list[Any]:  # fmt: skip
    """Lay out the tab and wire it to the playground and to what the browser keeps.

    Args:
        prompt: where a reply's prompt can be taken to be run; None where there is no such place.

    Returns:
        the events that use models.
    """
    tab = ChatTab.build(playground, examples)
    _wire_settings(tab, playground, panel, tabs)
    _wire_xray(tab, playground, panel, tabs, prompt)
    return Replies(tab, playground, panel, kept).wire()


def _wire_settings(tab: ChatTab, playground: UseCases, panel: ModelPanel, tabs: gr.Tabs) -> None:
    def on_model(values: Values) -> Updates:
        model, token = values[panel.chosen], values.token
        row = playground.library.find(model, token)
        return {
            **tab.sampling.show(
                playground.default_params(model, token),
                playground.max_new_tokens(model, token),
                without=playground.library.unfollowed(row),
            ),
            tab.base_warning: gr.update(visible=row.variant == "base"),
            tab.thinking: gr.update(visible=_thinks(playground, row, token), value=False),
        }

    outputs = [*tab.sampling.outputs(), tab.base_warning, tab.thinking]
    listen([panel.chosen.change, tab.reset.click], on_model, {panel.chosen}, outputs)
    if playground.library.is_remote:  # what a server can do is not known when the page is built
        listen([], on_model, {panel.chosen}, outputs)
    tab.sampling.wire()
    listen([tab.to_prompt.click], lambda: {tabs: gr.Tabs(selected="prompt")}, outputs=[tabs])


def _thinks(playground: UseCases, row: Checkpoint, token: str | None) -> bool:
    """Whether thinking can be switched on. Files that are not here are not fetched to know it."""
    if not may_think(row) or not row.is_local:
        return may_think(row)
    return chat.takes_thinking(playground.library.tokenizer(row, token))


def _wire_xray(
    tab: ChatTab, playground: UseCases, panel: ModelPanel, tabs: gr.Tabs,
    prompt: PromptTarget | None,
) -> None:  # fmt: skip
    def asking(values: Values) -> ChatRequest:
        return tab.read(values, panel)

    tab.xray.wire(
        playground, tab.chatbot, tab.given, asking, tab.inputs(panel), carries=prompt is not None
    )
    if prompt is not None:
        tab.xray.wire_target(prompt, tabs)
