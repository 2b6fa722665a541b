"""The page as a person uses it: what to click, what to read, what to wait for."""

import json
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

SETTLE_MS = 300
PATIENCE_SECONDS = 60
TWO_FRAMES = """() => new Promise((done) => {
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)));
})"""


def settled(field: Locator) -> None:
    """Wait until a field that has just appeared may be filled.

    Gradio gives it its first value a frame later, over what a robot has typed by then.
    """
    expect(field).to_be_visible()
    field.page.evaluate(TWO_FRAMES)


def until(page: Page, happens: Callable[[], object]) -> None:
    """Wait for something that the page does not show."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not happens():
        assert time.monotonic() < end, "it never happened"
        page.wait_for_timeout(20)


class ChatPage:
    """One browser tab on the app."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def open(self) -> "ChatPage":
        self.page.goto(self.url)
        return self.ready()

    def reload(self) -> "ChatPage":
        self.page.reload()
        return self.ready()

    def ready(self) -> "ChatPage":
        expect(self.box).to_be_visible()
        expect(self.page.get_by_role("log")).to_be_visible()
        # Nothing is overwritten any more once the conversation has been opened.
        opened = self.page.locator("#open-conversation").locator("textarea, input")
        expect(opened).not_to_have_value("")
        # The status arrives through the queue: from here on events reach the server.
        expect(self.page.locator(".status-card .machine")).to_be_attached()
        return self

    # --- what there is

    @property
    def box(self) -> Locator:
        return self.page.locator("#message textarea")

    @property
    def send_button(self) -> Locator:
        return self.page.locator("#message .submit-button")

    @property
    def stop_button(self) -> Locator:
        return self.page.locator("#message .stop-button")

    @property
    def user_messages(self) -> Locator:
        return self.page.get_by_test_id("user")

    @property
    def replies(self) -> Locator:
        return self.page.locator("#transcript .message:not(.thought) > [data-testid=bot]")

    @property
    def reply(self) -> Locator:
        return self.replies.last

    @property
    def footer(self) -> Locator:
        return self.page.locator("#transcript .thought-group").last

    @property
    def conversations(self) -> Locator:
        return self.page.get_by_role("list", name="Conversations").get_by_role("listitem")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def until(self, happens: Callable[[], object]) -> None:
        """Wait for something that the page does not show."""
        until(self.page, happens)

    def stored(self) -> list[dict[str, Any]]:
        """What the browser keeps, newest first."""
        return json.loads(self.page.evaluate("JSON.stringify(GemmaSpace.store.list())"))

    # --- what people do

    def send(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def ask(self, text: str) -> None:
        """Send and wait for the reply's end."""
        before = self.user_messages.count()
        self.send(text)
        expect(self.user_messages).to_have_count(before + 1)
        self.finished()

    def begin_a_long_reply(self, text: str, tokens: int = 1900) -> None:
        """Send, and wait for the first of so many tokens; the demo has room for the usual number.

        One that is over sooner might be over before a page on a busy machine has shown it begun.
        """
        self.open_settings()
        settings = self.page.locator("#settings")
        settings.get_by_role("button", name="Advanced").click()
        settings.get_by_label("Ignore the end-of-turn token").check()
        number = settings.get_by_label("number input for Max new tokens")
        number.fill(str(tokens))
        number.press("Enter")
        for control in ("ignore_eos", "max_new_tokens"):
            expect(settings.locator(f".control-{control}[data-changed]")).to_be_attached()
        self.send(text)
        expect(self.footer).to_contain_text("Writing…")

    def finished(self) -> None:
        """Wait until no reply is on its way."""
        expect(self.send_button).to_be_visible(timeout=60_000)
        expect(self.page.locator(".conversation.busy")).to_have_count(0)

    def press_on_reply(self, button: str) -> None:
        """Press one of the small buttons of the last reply."""
        self.page.locator("#transcript").get_by_label(button, exact=True).last.click()

    def edit(self, index: int, text: str) -> None:
        """Edit the message `index`, questions and replies counted together."""
        transcript = self.page.locator("#transcript")
        transcript.get_by_label("Edit", exact=True).nth(index).click()
        transcript.locator("textarea").first.fill(text)
        transcript.get_by_label("Submit", exact=True).click()

    def open_settings(self) -> None:
        self.page.get_by_role("button", name="System prompt and generation settings").click()
        settled(self.page.locator("#settings").get_by_label("number input for Max new tokens"))

    def choose_model(self, title: str) -> None:
        self.page.get_by_role("combobox", name="Checkpoint").click()
        self.page.get_by_role("option", name=title).click()

    def import_text(self, text: str) -> None:
        self.page.get_by_label("Conversation file").set_input_files(
            {"name": "file.json", "mimeType": "application/json", "buffer": text.encode()}
        )

    def scroll_width(self) -> int:
        return self.page.evaluate("document.documentElement.scrollWidth")
