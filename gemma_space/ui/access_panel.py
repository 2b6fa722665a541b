"""The sidebar's part about the visitor: whose token acts, signing in, pasting one, forgetting it.

Knows the components and what happens on a click. A pasted token passes through one event and
comes back in none; `visitors` keeps it. What it may read is told by `access_lines`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.context import Context

from gemma_space.ui import present, present_access
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.visitors import Visitors

SIGN_IN = "Sign in with Hugging Face"
SIGN_OUT = "Sign out"


@dataclass(frozen=True)
class AccessPanel:
    """The components, with whom they ask.

    Attributes:
        changed: holds another text whenever another token acts; unseen.
        sign_in: only on a Space whose visitors can sign in.
    """

    visitors: Visitors
    who: gr.HTML
    sign_in: gr.LoginButton | None
    forget: gr.Button
    box: gr.Textbox
    use: gr.Button
    said: gr.HTML
    changed: gr.Textbox

    @classmethod
    def build(cls, visitors: Visitors, signs_in: bool) -> "AccessPanel":
        """Lay out who acts, and below it the ways to change that."""
        gr.HTML("<h2>Your access</h2>", elem_classes="section-title")
        with gr.Column(elem_id="your-access"):
            who = gr.HTML(present_access.LOOKING, elem_id="who-acts")
            sign_in = _sign_in() if signs_in else None
            forget = gr.Button(
                "Forget", size="sm", min_width=80, visible=False, elem_id="forget-token"
            )
            with gr.Accordion("Use a token", open=False, elem_id="use-token"):
                box = gr.Textbox(
                    type="password", label="Hugging Face token", placeholder="hf_…", max_lines=1,
                    elem_id="token",
                    html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
                )  # fmt: skip
                use = gr.Button("Use it", size="sm", min_width=80, elem_id="use-token-button")
                said = gr.HTML("", elem_id="token-said")
                gr.HTML(present_access.how_kept(), elem_classes="model-note")
        changed = gr.Textbox(visible="hidden")
        return cls(visitors, who, sign_in, forget, box, use, said, changed)

    def show(self, values: Values) -> Updates:
        """Who acts. The Hub may be asked for a name."""
        source = self.visitors.source(values.visitor)
        account = self.visitors.account(values.visitor)
        updates: Updates = {
            self.who: present_access.who(source, account),
            self.forget: gr.update(visible=source == "pasted"),
        }
        if self.sign_in is not None:
            # Gradio's script signs in while the button has its first words, and out otherwise.
            text = SIGN_OUT if values.visitor.signed_in else SIGN_IN
            updates[self.sign_in] = gr.update(value=text)
        return updates

    async def on_use(self, values: Values) -> AsyncGenerator[Updates]:
        """Keep what was pasted, if the Hub knows it; the box is empty before anybody is asked."""
        yield {self.box: "", self.said: present_access.LOOKING}
        await asyncio.to_thread(self.visitors.paste, values.visitor, values[self.box] or "")
        yield {self.said: "", **await asyncio.to_thread(self._changed, values)}

    def refused(self, text: str, _values: Values) -> Updates:
        """No token, or not a good one; the one before it still acts."""
        return {self.box: "", self.said: present.problem(text)}

    def on_forget(self, values: Values) -> Updates:
        """Drop the pasted token."""
        self.visitors.forget(values.visitor)
        return {self.said: "", **self._changed(values)}

    def _changed(self, values: Values) -> Updates:
        return {**self.show(values), self.changed: str(time.time_ns())}

    def wire(self) -> None:
        """Listen to the panel's own components, and say who acts once the page is up."""
        shown: list[Any] = [self.who, self.forget, *([self.sign_in] if self.sign_in else [])]
        listen([self.use.click, self.box.submit], self.on_use, {self.box},
               [self.box, self.said, self.changed, *shown], on_error=self.refused)  # fmt: skip
        listen([self.forget.click], self.on_forget, {self.changed},
               [self.said, self.changed, *shown])  # fmt: skip
        listen([self.changed.change], None, js="() => GemmaSpace.access.forget()")
        listen([], self.show, {self.changed}, shown)


def _sign_in() -> gr.LoginButton:
    """Gradio's button without Gradio's public events; whoever shows it says which words it has."""
    button = gr.LoginButton(SIGN_IN, size="sm", min_width=80, elem_id="sign-in")
    button.load_event_to_attach = None
    if Context.root_block is not None:
        for event in Context.root_block.fns.values():
            if any(source == button._id for source, _ in event.targets):
                event.api_visibility = "private"
    return button
