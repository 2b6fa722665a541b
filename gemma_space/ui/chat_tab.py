"""The Chat tab: a conversation with an instruct model.

Knows the way from a click to a reply. The conversation is what the chat component shows; the
browser keeps it between visits (`conversations`), the server keeps nothing. An asking event only
prepares the conversation; what it leaves unanswered, the one streaming handler answers.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from gemma_space.errors import InvalidRequestError
from gemma_space.pacing import paced
from gemma_space.playground import Playground
from gemma_space.types import ChatRequest, LoadProgress, Precision
from gemma_space.ui import present, transcript
from gemma_space.ui.controls import SamplingControls
from gemma_space.ui.conversations import Conversations
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.transcript import Footer, Turn

STATE_SECONDS = 0.1
# Every state lays the whole conversation out again, in the browser and on the server.
LONG_STATE_SECONDS = 0.2
LONG_MESSAGES = 100
LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
    {"left": "$", "right": "$", "display": False},
]
WELCOME = "## What would you like to try?\n\nType below, or begin with one of these."
EMPTY_EDIT = "A message cannot be empty. Undo takes the whole exchange back."
BASE_WARNING = (
    "<p><b>This is a base model.</b> It continues text and was not trained to chat. Choose an "
    "instruct model, or give it a text to continue.</p>"
)


@dataclass(frozen=True)
class ChatTab:
    """The tab's components."""

    base_warning: gr.Row
    to_prompt: gr.Button
    chatbot: gr.Chatbot
    notice: gr.HTML
    again: gr.Button
    go_on: gr.Button
    box: gr.Textbox
    meter: gr.HTML
    system: gr.Textbox
    sampling: SamplingControls
    reset: gr.Button

    @classmethod
    def build(cls, playground: Playground, examples: Sequence[str]) -> "ChatTab":
        """Lay the tab out: the transcript, and below it what stays in sight."""
        model = playground.default_model
        is_base = present.is_base(playground.choices(), model)
        with gr.Row(visible=is_base, elem_classes="base-warning") as base_warning:
            gr.HTML(BASE_WARNING)
            to_prompt = gr.Button("Open the Prompt tab", size="sm", min_width=120)
        chatbot = gr.Chatbot(
            show_label=False, label="Conversation", elem_id="transcript", height=None,
            editable="all", buttons=["copy"], latex_delimiters=LATEX, placeholder=WELCOME,
            examples=[{"text": text} for text in examples], allow_file_downloads=False,
        )  # fmt: skip
        with gr.Column(elem_id="dock"):
            notice = gr.HTML("", elem_id="notice")
            with gr.Row(elem_id="next-steps"):
                again = gr.Button("Try again", size="sm", min_width=80, visible=False)
                go_on = gr.Button("Continue", size="sm", min_width=80, visible=False)
            box = gr.Textbox(
                show_label=False, label="Message", placeholder="Message Gemma", lines=1,
                max_lines=8, submit_btn=True, stop_btn=False, elem_id="message", autofocus=True,
            )  # fmt: skip
            meter = gr.HTML("", elem_id="context-meter")
            with gr.Accordion(
                "System prompt and generation settings", open=False, elem_id="settings"
            ):
                system = gr.Textbox(
                    label="System prompt", lines=2, max_lines=8, elem_id="system-prompt",
                    placeholder="How the model should behave in this conversation",
                )  # fmt: skip
                sampling = SamplingControls.build(
                    playground.default_params(model), playground.max_new_tokens(model)
                )
                reset = gr.Button("Back to the model's defaults", size="sm", min_width=120)
        return cls(base_warning, to_prompt, chatbot, notice, again, go_on, box, meter, system,
                   sampling, reset)  # fmt: skip

    def read(self, values: Values, panel: ModelPanel) -> ChatRequest:
        """What is to be answered, with the model and the controls as they stand."""
        turns, prefix = transcript.split_open_reply(transcript.read(values[self.chatbot]))
        return ChatRequest(
            messages=transcript.messages(turns),
            model=values[panel.model],
            precision=Precision(values[panel.precision]),
            system_prompt=values[self.system] or "",
            controls=self.sampling.read(values),
            reply_prefix=prefix,
        )

    def inputs(self, panel: ModelPanel) -> set[Component]:
        """What `read` needs."""
        return {
            self.chatbot, self.system, panel.model, panel.precision, *self.sampling.inputs(),
        }  # fmt: skip

    def asked(self, turns: Sequence[Turn]) -> Updates:
        """The conversation with something to answer; nothing left of an earlier problem."""
        return {
            self.chatbot: transcript.show(turns), self.notice: "",
            self.again: gr.update(visible=False), self.go_on: gr.update(visible=False),
        }  # fmt: skip

    def at_rest(self, turns: Sequence[Turn]) -> Updates:
        """The buttons for a conversation in which no reply is on its way."""
        cut = bool(turns) and turns[-1].footer is not None and present.was_cut(turns[-1].footer)
        asking = bool(turns) and turns[-1].role == "user"
        return {
            self.box: gr.update(submit_btn=True, stop_btn=False),
            self.again: gr.update(visible=asking), self.go_on: gr.update(visible=cut),
        }  # fmt: skip


def build(
    playground: Playground, panel: ModelPanel, kept: Conversations, tabs: gr.Tabs,
    examples: Sequence[str],
) -> None:  # fmt: skip
    """Lay out the tab and wire it to the playground and to what the browser keeps."""
    tab = ChatTab.build(playground, examples)
    _wire_replies(tab, playground, panel, kept)
    _wire_settings(tab, playground, panel, tabs)


def _wire_replies(
    tab: ChatTab, playground: Playground, panel: ModelPanel, kept: Conversations
) -> None:
    titles = {row.repo_id: row.title for row in playground.choices()}
    limits = {row.repo_id: row.context_length for row in playground.choices()}

    def turns_of(values: Values) -> list[Turn]:
        return transcript.read(values[tab.chatbot])

    def turns_at_rest(values: Values) -> list[Turn]:
        turns = turns_of(values)
        if turns and turns[-1].footer is not None and turns[-1].footer.pending:
            raise InvalidRequestError("A reply is on its way.", "Stop it first, or wait for it.")
        return turns

    def ask(values: Values, turns: Sequence[Turn]) -> Updates:
        return {**tab.asked(turns), **kept.save(values, turns, replying=True)}

    def on_send(values: Values) -> Updates:
        turns, text = turns_at_rest(values), values[tab.box] or ""
        if not text.strip():
            raise InvalidRequestError("The message is empty.", "Write something to send.")
        return {**ask(values, [*turns, Turn(role="user", text=text)]), tab.box: ""}

    def on_example(values: Values, event: gr.SelectData) -> Updates:
        return ask(values, [Turn(role="user", text=event.value["text"])])

    def on_retry(values: Values, event: gr.RetryData) -> Updates:
        turns = turns_at_rest(values)
        return ask(values, turns[: turn_at(values, event.index) + 1])

    def on_edit(values: Values, event: gr.EditData) -> Updates:
        # The component holds the new text already, and tells of a reply's footer as well.
        turns, at = turns_at_rest(values), turn_at(values, event.index)
        if not turns[at].text.strip():
            turns[at] = replace(turns[at], text=transcript.unescape(str(event.previous_value)))
            return {tab.chatbot: transcript.show(turns), tab.notice: present.problem(EMPTY_EDIT)}
        return ask(values, turns if turns[at].role == "assistant" else turns[: at + 1])

    def on_undo(values: Values, event: gr.UndoData) -> Updates:
        turns, at = turns_at_rest(values), turn_at(values, event.index)
        rest = turns[:at]
        return {
            **tab.asked(rest), **tab.at_rest(rest), tab.box: gr.update(value=turns[at].text),
            **kept.save(values, rest, replying=False),
        }  # fmt: skip

    def on_go_on(values: Values) -> Updates:
        return ask(values, transcript.reopen(turns_at_rest(values)))

    def on_again(values: Values) -> Updates:
        return ask(values, turns_at_rest(values))

    def turn_at(values: Values, index: int | tuple[int, int]) -> int:
        at = index if isinstance(index, int) else index[0]
        return transcript.turn_index(values[tab.chatbot], at)

    async def on_reply(values: Values) -> AsyncGenerator[Updates]:
        turns = turns_of(values)
        if not transcript.is_unanswered(turns):
            yield {tab.notice: gr.update()}  # a stream that yields nothing would empty its outputs
            return
        request = tab.read(values, panel)
        asked, before = transcript.split_open_reply(turns)
        waiting = Turn(role="assistant", text=before, footer=present.waiting())
        yield {
            tab.chatbot: transcript.show([*asked, waiting]),
            tab.box: gr.update(submit_btn=False, stop_btn=True),
        }
        seconds = LONG_STATE_SECONDS if len(turns) > LONG_MESSAGES else STATE_SECONDS
        async with aclosing(paced(lambda: playground.chat(request), seconds)) as steps:
            async for step in steps:
                if isinstance(step, LoadProgress):
                    footer = Footer(title=present.load_words(step, titles[request.model]),
                                    pending=True)  # fmt: skip
                    yield {tab.chatbot: transcript.show([*asked, replace(waiting, footer=footer)])}
                else:
                    used = step.prompt_tokens + step.completion_tokens
                    meter = present.context_meter(used, limits[request.model])
                    yield {tab.chatbot: transcript.show([*asked, present.reply(step)]),
                           tab.meter: meter}  # fmt: skip

    def failed(text: str, values: Values) -> Updates:
        turns, before = transcript.split_open_reply(turns_of(values))
        if before:
            footer = Footer(title=present.STOPPED)
            turns = [*turns, Turn(role="assistant", text=before, footer=footer)]
        return {tab.chatbot: transcript.show(turns), tab.notice: present.problem(text)}

    def on_over(values: Values) -> Updates:
        turns = transcript.settle(turns_of(values), present.STOPPED)
        return {
            tab.chatbot: transcript.show(turns), **tab.at_rest(turns),
            **kept.save(values, turns, replying=False), **panel.show_status(),
        }  # fmt: skip

    asked_outputs = [*tab.asked([]), tab.box, *kept.outputs()]
    over_outputs = [tab.chatbot, tab.box, tab.again, tab.go_on, panel.status, *kept.outputs()]
    context = {tab.chatbot, tab.system, *kept.inputs()}
    askings: list[tuple[Any, Any]] = [
        (tab.box.submit, on_send), (tab.chatbot.example_select, on_example),
        (tab.chatbot.retry, on_retry), (tab.chatbot.edit, on_edit),
        (tab.go_on.click, on_go_on), (tab.again.click, on_again),
    ]  # fmt: skip
    replies = []
    for trigger, handler in askings:
        asked = listen([trigger], handler, {*context, tab.box}, asked_outputs)
        replying = listen(
            [asked.success], on_reply, tab.inputs(panel),
            [tab.chatbot, tab.box, tab.meter, tab.notice], on_error=failed,
        )  # fmt: skip
        # Follows success, error and Stop alike: what the page shows is what is kept.
        listen([replying.then], on_over, context, over_outputs)
        replies.append(replying)
    listen([tab.box.stop], None, cancels=replies)
    listen([tab.chatbot.undo], on_undo, {*context, tab.box}, [*asked_outputs, tab.again, tab.go_on])

    def opened(turns: Sequence[Turn]) -> Updates:
        return {**tab.at_rest(turns), tab.notice: "", tab.meter: ""}

    kept.listen_for_opening(
        tab.chatbot, tab.system, opened, [tab.box, tab.again, tab.go_on, tab.notice, tab.meter]
    )


def _wire_settings(tab: ChatTab, playground: Playground, panel: ModelPanel, tabs: gr.Tabs) -> None:
    def on_model(values: Values) -> Updates:
        model = values[panel.model]
        return {
            **tab.sampling.show(playground.default_params(model), playground.max_new_tokens(model)),
            tab.base_warning: gr.update(visible=present.is_base(playground.choices(), model)),
        }

    listen([panel.model.change, tab.reset.click], on_model, {panel.model},
           [*tab.sampling.outputs(), tab.base_warning])  # fmt: skip
    listen([tab.to_prompt.click], lambda: {tabs: gr.Tabs(selected="prompt")}, outputs=[tabs])
