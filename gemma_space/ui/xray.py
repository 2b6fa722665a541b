"""The panel that shows what the model was given for a reply, and the way from there to a run.

Knows how a reply is chosen and what travels to the Prompt tab. The server keeps nothing: the
prompt is rendered again from the turns before the reply, and the record kept with the reply
says whether that is the same. How it reads is in `xray_view`.
"""

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gemma_space.errors import InvalidRequestError
from gemma_space.types import ChatRequest
from gemma_space.ui import present, provenance, transcript
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.scripted import scripted
from gemma_space.ui.transcript import Turn
from gemma_space.ui.xray_view import Xray, view
from gemma_space.use_cases import UseCases

NO_REPLY = "There is no such reply any more."


class PromptTarget(Protocol):
    """Where a prompt can be taken to be run as it is."""

    def components(self) -> list[Block]:
        """What `show` sets."""
        ...

    def show(self, text: str, ids: tuple[int, ...], model: str) -> Updates:
        """Have these ids of a model run next; `text` is how they read."""
        ...


@dataclass(frozen=True)
class XrayPanel:
    """The panel's components.

    Attributes:
        links: unseen; `select` fires when the link in a reply's note is followed.
        carried: unseen; what is shown, for `to_prompt`.
    """

    column: gr.Column
    shown: gr.HTML
    to_prompt: gr.Button
    close: gr.Button
    links: gr.HTML
    carried: gr.Textbox

    @classmethod
    def build(cls) -> "XrayPanel":
        """Lay it out, closed."""
        with gr.Column(visible=False, elem_id="xray") as column:
            shown = gr.HTML(
                "", apply_default_css=False,
                js_on_load="GemmaSpace.xray.shown(element); "
                "watch('value', () => GemmaSpace.xray.shown(element));",
            )  # fmt: skip
            with gr.Row(elem_id="xray-buttons"):
                to_prompt = gr.Button(
                    "Open in the Prompt tab", size="sm", min_width=160, visible=False
                )
                close = gr.Button("Close", size="sm", min_width=80, elem_id="xray-close")
        links = scripted("GemmaSpace.xray.follow(trigger);")
        carried = gr.Textbox("", visible="hidden")
        return cls(column, shown, to_prompt, close, links, carried)

    def closed(self) -> Updates:
        """The panel out of the way, as whenever the conversation goes on."""
        return {self.column: gr.update(visible=False)}

    def open(self, html: str, carried: str = "") -> Updates:
        """The panel with this in it; `carried` is what can be taken to the Prompt tab."""
        return {
            self.column: gr.update(visible=True), self.shown: html, self.carried: carried,
            self.to_prompt: gr.update(visible=bool(carried)),
        }  # fmt: skip

    def wire(
        self,
        playground: UseCases,
        conversation: gr.Chatbot,
        opener: gr.Button,
        asking: Callable[[Values], ChatRequest],
        inputs: Set[Component],
        *,
        carries: bool,
    ) -> None:
        """Open for the last reply from `opener`, and for any other from the link in its note.

        Args:
            asking: what would be asked now; `inputs` is what it needs.
            carries: whether what is shown can be taken somewhere.
        """

        def show(values: Values, at: int | None) -> Updates:
            turns = transcript.read(values[conversation])
            xray = look(playground, turns, at, asking(values), values.token)
            rendered = xray.rendered
            found = {"text": rendered.prompt, "ids": rendered.token_ids, "model": xray.model}
            return self.open(view(xray), json.dumps(found) if carries else "")

        def on_last(values: Values) -> Updates:
            return show(values, None)

        def on_link(values: Values, event: gr.EventData) -> Updates:
            data = event._data
            return show(values, data.get("turn") if isinstance(data, Mapping) else -1)

        def failed(text: str, *_: Any) -> Updates:
            return self.open(present.problem(text))

        outputs = list(self.open(""))
        needs = {conversation, *inputs}
        listen([opener.click], on_last, needs, outputs, on_error=failed)
        listen([self.links.select], on_link, needs, outputs, on_error=failed)
        listen([self.close.click], self.closed, outputs=list(self.closed()),
               js="() => GemmaSpace.xray.closed()")  # fmt: skip

    def wire_target(self, target: PromptTarget, tabs: gr.Tabs) -> None:
        """Take what is shown to the Prompt tab, id by id."""

        def on_take(values: Values) -> Updates:
            taken = json.loads(values[self.carried])
            shown = target.show(taken["text"], tuple(taken["ids"]), taken["model"])
            return {**shown, tabs: gr.Tabs(selected="prompt")}

        listen([self.to_prompt.click], on_take, {self.carried}, [*target.components(), tabs])


def look(
    playground: UseCases, turns: list[Turn], at: object, now: ChatRequest, token: str | None
) -> Xray:
    """Render what the model was given for the reply `turns[at]`; None is the last reply.

    Args:
        now: what would be asked today, in place of what was not kept.

    Raises:
        GemmaSpaceError: there is no such reply, or its model cannot be asked any more.
    """
    replies = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    at = replies[-1] if at is None and replies else at
    if at not in replies or not isinstance(at, int):
        raise InvalidRequestError(NO_REPLY, "Choose another one.")
    reply, asked = turns[at], transcript.messages(turns[:at])
    kept = reply.footer.record if reply.footer else None
    listed = {now.model, *(row.repo_id for row in playground.library.choices())}
    if kept is not None and kept.model not in listed:
        # An imported conversation must not decide what this visitor's token is used for.
        raise InvalidRequestError(
            f"This reply is {kept.model[:100]}'s, which is not in the list here.",
            "Choose that model in the sidebar first.",
        )
    if kept is None:
        request = replace(now, messages=asked, reply_prefix="")
    else:
        limit = playground.max_new_tokens(kept.model, token)
        request = provenance.asked_again(kept, asked, reply.text, now, limit)
    rendered = playground.given(request, token)
    return Xray(
        number=replies.index(at) + 1,
        replies=len(replies),
        reply=reply.text,
        kept=kept,
        model=request.model,
        rendered=rendered,
        pieces=playground.pieces(rendered.token_ids, request.model, token),
    )
