"""The Chat tab: a conversation with an instruct model.

Puts widgets, replies and kept conversations together, and follows the chosen model.
"""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from gemma_space.playground import Playground
from gemma_space.ui.chat_widgets import ChatTab
from gemma_space.ui.conversations import Conversations
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.replies import Replies


def build(
    playground: Playground, panel: ModelPanel, kept: Conversations, tabs: gr.Tabs,
    examples: Sequence[str],
) -> list[Any]:  # fmt: skip
    """Lay out the tab and wire it to the playground and to what the browser keeps.

    Returns:
        the events that use models.
    """
    tab = ChatTab.build(playground, examples)
    _wire_settings(tab, playground, panel, tabs)
    return Replies(tab, playground, panel, kept).wire()


def _wire_settings(tab: ChatTab, playground: Playground, panel: ModelPanel, tabs: gr.Tabs) -> None:
    def on_model(values: Values) -> Updates:
        model, token = values[panel.chosen], values.token
        row = playground.library.find(model, token)
        return {
            **tab.sampling.show(
                playground.default_params(model, token), playground.max_new_tokens(model, token)
            ),
            tab.base_warning: gr.update(visible=row.variant == "base"),
        }

    listen([panel.chosen.change, tab.reset.click], on_model, {panel.chosen},
           [*tab.sampling.outputs(), tab.base_warning])  # fmt: skip
    listen([tab.to_prompt.click], lambda: {tabs: gr.Tabs(selected="prompt")}, outputs=[tabs])
