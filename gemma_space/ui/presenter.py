"""The page of presenter mode: one model, a title, examples and a way in for the audience.

Knows its layout and what its few events do. A conversation is in the page alone: neither the
server nor the browser keeps it.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from html import escape

import gradio as gr

from gemma_space.errors import InvalidRequestError
from gemma_space.pacing import paced
from gemma_space.rehearsal import Rehearsal
from gemma_space.reports import LoadProgress
from gemma_space.settings import Settings
from gemma_space.types import ChatRequest, Generation
from gemma_space.ui import present, qr_code, transcript
from gemma_space.ui.about import terms_notice
from gemma_space.ui.chat_widgets import LATEX
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.page import DEPLOYER_NOTE
from gemma_space.ui.scripted import scripted
from gemma_space.ui.transcript import Footer, Turn
from gemma_space.use_cases import UseCases

STATE_SECONDS = 0.1
WELCOME = "Ask anything, or begin with one of these."
CACHED = "Cached answer"
HOW_CACHED = (
    "This answer was written once on this server, by this model, choosing the likeliest token each "
    "time. “Ask live” has it written again, with the model's own settings."
)


@dataclass(frozen=True)
class Stage:
    """The components, and what they work on."""

    playground: UseCases
    rehearsal: Rehearsal
    chatbot: gr.Chatbot
    notice: gr.HTML
    live: gr.Button
    go_on: gr.Button
    anew: gr.Button
    box: gr.Textbox

    # --- how it looks

    def asked(self, turns: Sequence[Turn]) -> Updates:
        """A conversation whose last turn waits for its answer."""
        waiting = Turn(role="assistant", text="", footer=present.waiting())
        return self._asked([*turns, waiting])

    def _asked(self, turns: Sequence[Turn]) -> Updates:
        hidden = {button: gr.update(visible=False) for button in self._buttons()}
        stoppable = gr.update(value="", submit_btn=False, stop_btn=True)
        return {
            self.chatbot: transcript.show(turns),
            self.notice: "",
            self.box: stoppable,
            **hidden,
        }

    def at_rest(self, turns: Sequence[Turn]) -> Updates:
        """A conversation with no answer on its way."""
        footer = turns[-1].footer if turns else None
        cached = footer is not None and footer.title == CACHED
        cut = footer is not None and bool(turns[-1].text) and present.was_cut(footer)
        return {
            self.chatbot: transcript.show(turns), self.notice: "",
            self.live: gr.update(visible=cached), self.go_on: gr.update(visible=cut),
            self.anew: gr.update(visible=bool(turns)),
            self.box: gr.update(submit_btn=True, stop_btn=False),
        }  # fmt: skip

    def _buttons(self) -> tuple[gr.Button, ...]:
        return self.live, self.go_on, self.anew

    # --- what happens

    def turns(self, values: Values) -> list[Turn]:
        return transcript.read(values[self.chatbot])

    def on_send(self, values: Values) -> Updates:
        """Ask what was typed."""
        turns, text = self.turns(values), values[self.box] or ""
        if transcript.is_pending(turns):
            raise InvalidRequestError("A reply is on its way.", "Stop it first, or wait for it.")
        if not text.strip():
            raise InvalidRequestError("The message is empty.", "Write something to send.")
        return self.asked([*turns, Turn(role="user", text=text)])

    def on_example(self, values: Values, event: gr.SelectData) -> Updates:
        """Show an example's kept answer at once; ask it where there is none yet."""
        text = event.value["text"]
        question, kept = Turn(role="user", text=text), self.rehearsal.answer(text)
        return self.at_rest([question, cached(kept)]) if kept else self.asked([question])

    def on_live(self, values: Values) -> Updates:
        """Ask once more what a kept answer answered."""
        return self.asked(self.turns(values)[:-1])

    def on_go_on(self, values: Values) -> Updates:
        """Continue the last answer."""
        turns = self.turns(values)
        return self._asked([*turns[:-1], replace(turns[-1], footer=present.waiting())])

    def on_anew(self) -> Updates:
        """Begin again, with the examples."""
        return {**self.at_rest([]), self.box: gr.update(value="", submit_btn=True, stop_btn=False)}

    async def on_reply(self, values: Values) -> AsyncGenerator[Updates]:
        """Write the answer that was asked for, state by state."""
        turns = self.turns(values)
        if not turns or turns[-1].footer != present.waiting():
            yield {self.notice: gr.update()}  # yielding nothing would empty the outputs
            return
        asked, replied = turns[:-1], turns[-1]
        answer = paced(lambda: self.playground.chat(self.read(turns)), STATE_SECONDS)
        async with aclosing(answer) as steps:
            async for step in steps:
                replied = self.shown(step, turns[-1])
                yield {self.chatbot: transcript.show([*asked, replied])}
        yield self.at_rest([*asked, replied])

    def read(self, turns: Sequence[Turn]) -> ChatRequest:
        """The conversation, for the one model with its own settings."""
        said, prefix = transcript.split_pending(turns)
        return ChatRequest(
            messages=transcript.messages(said), model=self.playground.default_model,
            reply_prefix=prefix,
        )  # fmt: skip

    def shown(self, step: LoadProgress | Generation, begun: Turn) -> Turn:
        """The answer as it is by now."""
        if isinstance(step, Generation):
            return transcript.gone_on(begun, present.reply(step), None)
        words = present.load_words(step, "the model")
        return replace(begun, footer=Footer(title=words, pending=True))

    def failed(self, text: str, values: Values) -> Updates:
        """An error keeps every word said so far, with the reason; a question stays to be sent."""
        turns = transcript.settle(self.turns(values), present.FAILED)
        unanswered = turns.pop().text if turns and turns[-1].role == "user" else ""
        box = gr.update(value=unanswered, submit_btn=True, stop_btn=False)
        return {**self.at_rest(turns), self.box: box, self.notice: present.problem(text)}

    def on_over(self, values: Values) -> Updates:
        """Settle an answer that was stopped."""
        turns = self.turns(values)
        if not transcript.is_pending(turns):
            return {self.notice: gr.update()}
        return self.at_rest(transcript.settle(turns, present.STOPPED))

    def wire(self) -> None:
        """Listen to every event that asks for an answer or ends one."""
        outputs, context = [*self.at_rest([])], {self.chatbot, self.box}
        replies = []
        for trigger, handler in (
            (self.box.submit, self.on_send), (self.chatbot.example_select, self.on_example),
            (self.live.click, self.on_live), (self.go_on.click, self.on_go_on),
        ):  # fmt: skip
            # An example whose answer is kept asks nothing.
            asks = handler != self.on_example
            asked = listen([trigger], handler, context, outputs, asks=asks)
            # It waits where its place is known, and not in Gradio's queue.
            replying = listen(
                [asked.success], self.on_reply, context, outputs, on_error=self.failed,
                counts=True,
            )  # fmt: skip
            listen([replying.then], self.on_over, context, outputs)
            replies.append(replying)
        listen([self.box.stop], None, cancels=replies)
        listen([self.anew.click], self.on_anew, outputs=outputs)


def cached(kept: Generation) -> Turn:
    """A kept answer, labelled as such."""
    log = f"{kept.completion_tokens:,} tokens"
    footer = Footer(title=CACHED, log=log, detail=HOW_CACHED)
    return Turn(role="assistant", text=kept.text, footer=footer)


def build(playground: UseCases, settings: Settings, rehearsal: Rehearsal) -> None:
    """Build the page inside the `gr.Blocks` at hand."""
    row = playground.library.find(playground.default_model)
    title = escape(settings.presenter_title or f"Ask {row.title}")
    model = "" if row.title in title else f"<p>{escape(row.title)}</p>"
    with gr.Column(elem_id="presenter"):
        with gr.Row(elem_id="presenter-head"):
            gr.HTML(f"<h1>{title}</h1>{model}", elem_id="presenter-title", apply_default_css=False)
            scripted("GemmaSpace.mountThemeToggle(element);", elem_id="theme-toggle")
        code = gr.HTML("", elem_id="qr-code", apply_default_css=False)
        chatbot = gr.Chatbot(
            show_label=False, label="Conversation", elem_id="transcript", height=None,
            buttons=[], latex_delimiters=LATEX, placeholder=f"## {WELCOME}",
            examples=[{"text": text} for text in rehearsal.examples], allow_file_downloads=False,
        )  # fmt: skip
        with gr.Column(elem_id="dock"):
            notice = gr.HTML("", elem_id="notice")
            with gr.Row(elem_id="next-steps"):
                live = gr.Button("Ask live", size="sm", min_width=80, visible=False)
                go_on = gr.Button("Continue", size="sm", min_width=80, visible=False)
                anew = gr.Button("Start over", size="sm", min_width=80, visible=False)
            box = gr.Textbox(
                show_label=False, label="Message", placeholder="Message Gemma", lines=1,
                max_lines=4, submit_btn=True, stop_btn=False, elem_id="message", autofocus=True,
            )  # fmt: skip
    if settings.access == "deployer":
        gr.HTML(DEPLOYER_NOTE, elem_id="deployer-note")
        gr.HTML(terms_notice((row,)), elem_id="terms-notice")
    stage = Stage(playground, rehearsal, chatbot, notice, live, go_on, anew, box)
    stage.wire()
    address = scripted("GemmaSpace.view.tellAddress(trigger);", visible="hidden")

    def on_address(event: gr.EventData) -> Updates:
        return {code: qr_code.shown(event._data)}

    listen([address.select], on_address, outputs=[code])
