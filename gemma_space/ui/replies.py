"""What the Chat tab's events do: every way to ask for a reply, and the reply itself.

An asking event only prepares the conversation, which is what the chat component shows; what it
leaves unanswered, the one streaming handler answers. The server keeps nothing: each change is
handed to the browser (`conversations`).
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from gemma_space.errors import InvalidRequestError
from gemma_space.pacing import Every, paced
from gemma_space.reports import LoadProgress
from gemma_space.ui import present, provenance, transcript
from gemma_space.ui.chat_widgets import ChatTab, may_think
from gemma_space.ui.conversations import Conversations
from gemma_space.ui.events import Updates, Values, listen
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.transcript import Footer, Turn
from gemma_space.use_cases import UseCases

STATE_SECONDS = 0.1
# Every state lays the whole conversation out again, in the browser and on the server.
LONG_STATE_SECONDS = 0.2
LONG_MESSAGES = 100
KEEP_SECONDS = 2.0  # what a reply says in less is lost with a server that dies
NOT_BEGUN = Turn(role="assistant", text="")
EMPTY_EDIT = "A message cannot be empty. Undo takes the whole exchange back."


@dataclass(frozen=True)
class Replies:
    """The handlers, with what they work on."""

    tab: ChatTab
    playground: UseCases
    panel: ModelPanel
    kept: Conversations

    def turns_of(self, values: Values) -> list[Turn]:
        """The conversation on screen."""
        return transcript.read(values[self.tab.chatbot])

    def turns_at_rest(self, values: Values) -> list[Turn]:
        """The conversation on screen, once no reply is on its way.

        Raises:
            InvalidRequestError: one is; what was typed stays where it is.
        """
        turns = self.turns_of(values)
        if transcript.is_pending(turns):
            raise InvalidRequestError("A reply is on its way.", "Stop it first, or wait for it.")
        return turns

    def ask(self, values: Values, turns: Sequence[Turn], begun: Turn = NOT_BEGUN) -> Updates:
        """Have these turns answered; the answer goes on from `begun`."""
        asked = [*turns, replace(begun, footer=present.waiting())]
        return {**self.tab.asked(asked), **self.kept.save(values, asked, replying=True)}

    def so_far(self, values: Values, turns: Sequence[Turn]) -> Updates:
        """Keep what there is of the reply that is being written."""
        return self.kept.save(values, turns, replying=True, since=len(turns) - 1)

    def at_rest(self, values: Values, turns: Sequence[Turn]) -> Updates:
        """Show and keep a conversation with nothing to answer."""
        return {**self.tab.at_rest(turns), **self.kept.save(values, turns, replying=False)}

    def on_send(self, values: Values) -> Updates:
        """Ask what was typed."""
        turns, text = self.turns_at_rest(values), values[self.tab.box] or ""
        if not text.strip():
            raise InvalidRequestError("The message is empty.", "Write something to send.")
        asked = self.ask(values, [*turns, Turn(role="user", text=text)])
        return {**asked, self.tab.box: gr.update(value="", submit_btn=False, stop_btn=True)}

    def on_example(self, values: Values, event: gr.SelectData) -> Updates:
        """Begin with an example."""
        return self.ask(values, [Turn(role="user", text=event.value["text"])])

    def on_retry(self, values: Values, event: gr.RetryData) -> Updates:
        """Ask again what the last reply answered."""
        turns = self.turns_at_rest(values)
        return self.ask(values, turns[: self.turn_at(values, event.index) + 1])

    def on_edit(self, values: Values, event: gr.EditData) -> Updates:
        """Ask an edited question anew, with what followed dropped; keep an edited reply."""
        # The component holds the new text already. It tells of a reply's notes as well.
        turns, at = self.turns_at_rest(values), self.turn_at(values, event.index)
        if transcript.is_note(values[self.tab.chatbot], event.index):
            return {self.tab.notice: gr.update()}
        if not turns[at].text.strip():
            turns[at] = replace(turns[at], text=transcript.unescape(str(event.previous_value)))
            problem = present.problem(EMPTY_EDIT)
            return {**self.at_rest(values, turns), self.tab.notice: problem}
        if turns[at].role == "user":
            return self.ask(values, turns[: at + 1])
        turns[at] = transcript.edited(turns[at])
        return {**self.at_rest(values, turns), **self.tab.xray.closed()}

    def on_undo(self, values: Values, event: gr.UndoData) -> Updates:
        """Take the last exchange back, the question into the box unless something is there."""
        turns, at = self.turns_at_rest(values), self.turn_at(values, event.index)
        draft = values[self.tab.box] or turns[at].text
        box = gr.update(value=draft, submit_btn=True, stop_btn=False)
        return {**self.at_rest(values, turns[:at]), self.tab.box: box, **self.tab.xray.closed()}

    def on_go_on(self, values: Values) -> Updates:
        """Continue the last reply."""
        turns = self.turns_at_rest(values)
        return self.ask(values, turns[:-1], turns[-1])

    def on_again(self, values: Values) -> Updates:
        """Ask once more what has no reply, or none but thoughts."""
        turns = self.turns_at_rest(values)
        said = turns[:-1] if turns and turns[-1].role == "assistant" else turns
        return self.ask(values, said)

    def turn_at(self, values: Values, index: int | tuple[int, int]) -> int:
        """Which turn an event of the component is about."""
        at = index if isinstance(index, int) else index[0]
        return transcript.turn_index(values[self.tab.chatbot], at)

    async def on_reply(self, values: Values) -> AsyncGenerator[Updates]:
        """Write the reply that was asked for, state by state."""
        turns = self.turns_of(values)
        if not turns or turns[-1].footer != present.waiting():
            yield {self.tab.notice: gr.update()}  # yielding nothing would empty the outputs
            return
        request, token = self.tab.read(values, self.panel), values.token
        # A typed name may mean a question to the Hub.
        row = await asyncio.to_thread(self.playground.library.find, request.model, token)
        if not may_think(row):
            request = replace(request, thinking=None)
        asked, replied = turns[:-1], turns[-1]
        record, keeping = None, Every(KEEP_SECONDS)
        seconds = LONG_STATE_SECONDS if len(turns) > LONG_MESSAGES else STATE_SECONDS
        chat = paced(lambda: self.playground.chat(request, token), seconds)
        async with aclosing(chat) as steps:
            async for step in steps:
                if isinstance(step, LoadProgress):
                    words = present.load_words(step, row.title)
                    replied = replace(turns[-1], footer=Footer(title=words, pending=True))
                    yield {self.tab.chatbot: transcript.show([*asked, replied])}
                else:
                    record = record or provenance.record(request, step)
                    replied = transcript.gone_on(turns[-1], present.reply(step), record)
                    used = step.prompt_tokens + step.completion_tokens
                    meter = present.context_meter(used, row.context_length)
                    yield {
                        self.tab.chatbot: transcript.show([*asked, replied]),
                        self.tab.meter: meter,
                        **self.tab.sampling.used_seed(step.seed),
                        **(self.so_far(values, [*asked, replied]) if keeping.due() else {}),
                    }
        yield self.at_rest(values, [*asked, replied])

    def failed(self, text: str, values: Values) -> Updates:
        """An error keeps every word said so far, with the reason and a way on."""
        turns = transcript.settle(self.turns_of(values), present.FAILED)
        return {**self.at_rest(values, turns), self.tab.notice: present.problem(text)}

    def on_over(self, values: Values) -> Updates:
        """Settle a reply that did not end by itself: stopped, or refused before it began."""
        turns = self.turns_of(values)
        if not transcript.is_pending(turns):  # what is shown may be newer by now: leave it
            return {self.tab.notice: gr.update()}
        return self.at_rest(values, transcript.settle(turns, present.STOPPED))

    def opened(self, turns: Sequence[Turn]) -> Updates:
        """What a conversation just opened shows besides its turns."""
        return {**self.tab.at_rest(turns), self.tab.meter: "", **self.tab.xray.closed()}

    def wire(self) -> list[Any]:
        """Listen to every event that asks for a reply, ends one or opens a conversation.

        Returns:
            the events that reply.
        """
        outputs = [*self.opened([]), *self.kept.outputs()]
        context = {self.tab.chatbot, self.tab.box, *self.kept.inputs()}
        askings: list[tuple[Any, Any]] = [
            (self.tab.box.submit, self.on_send), (self.tab.chatbot.example_select, self.on_example),
            (self.tab.chatbot.retry, self.on_retry), (self.tab.chatbot.edit, self.on_edit),
            (self.tab.go_on.click, self.on_go_on), (self.tab.again.click, self.on_again),
        ]  # fmt: skip
        replies = []
        for trigger, handler in askings:
            # An edited reply is told of message by message, and its text need not be the first.
            mode = "multiple" if handler == self.on_edit else None
            asked = listen([trigger], handler, context, outputs, trigger_mode=mode, asks=True)
            replying = listen(
                [asked.success],
                self.on_reply,
                {*context, *self.tab.inputs(self.panel)},
                [*outputs, *self.tab.sampling.used_outputs()],
                on_error=self.failed,
                generates=True,
            )
            # Follows success, error and Stop alike; only Stop leaves something to be settled.
            listen([replying.then], self.on_over, context, outputs)
            replies.append(replying)
        listen([self.tab.box.stop], None, cancels=replies)
        listen([self.tab.chatbot.undo], self.on_undo, context, outputs)
        self.kept.listen_for_opening(self.tab.system, self.opened, list(self.opened([])))
        return replies
