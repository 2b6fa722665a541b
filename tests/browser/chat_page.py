"""The page as a person uses it: what to click, what to read, what to wait for."""

import json
from typing import Any

from playwright.sync_api import Locator, Page, expect

SETTLE_MS = 300


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
        # A field takes its first value a moment after it appears, over what a robot typed by then.
        self.page.wait_for_timeout(SETTLE_MS)

    def choose_model(self, title: str) -> None:
        self.page.get_by_role("combobox", name="Checkpoint").click()
        self.page.get_by_role("option", name=title).click()

    def import_text(self, text: str) -> None:
        self.page.get_by_label("Conversation file").set_input_files(
            {"name": "file.json", "mimeType": "application/json", "buffer": text.encode()}
        )

    def scroll_width(self) -> int:
        return self.page.evaluate("document.documentElement.scrollWidth")
