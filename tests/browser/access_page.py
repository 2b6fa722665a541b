"""Access as a person meets it: the line about a model, the sidebar's part about who acts."""

import contextlib

from playwright.sync_api import Locator, expect

from tests.browser.chat_page import ChatPage


class AccessPage:
    """What the page of `chat` says about access."""

    def __init__(self, chat: ChatPage) -> None:
        self.chat = chat
        self.page = chat.page

    # --- what there is

    @property
    def line(self) -> Locator:
        return self.page.locator("#sidebar .access")

    @property
    def dock_line(self) -> Locator:
        return self.page.locator("#models-dock .access")

    @property
    def check_again(self) -> Locator:
        return self.line.get_by_role("button")

    @property
    def who(self) -> Locator:
        return self.page.locator("#who-acts")

    @property
    def box(self) -> Locator:
        return self.page.get_by_label("Hugging Face token")

    @property
    def said(self) -> Locator:
        return self.page.locator("#token-said")

    @property
    def forget(self) -> Locator:
        return self.page.get_by_role("button", name="Forget", exact=True)

    @property
    def summary(self) -> Locator:
        return self.page.locator("#access-summary")

    def words(self, repo_id: str) -> Locator:
        """A model's access in the list."""
        return self.page.locator(f'#model-list [data-model="{repo_id}"] [data-access]')

    # --- what people do

    def open_box(self) -> None:
        """Open the fold if it is closed; a click may meet it while what is above it grows."""
        fold = self.page.get_by_role("button", name="Use a token")
        for _ in range(3):
            if self.box.is_visible():
                return
            fold.click()
            with contextlib.suppress(AssertionError):
                expect(self.box).to_be_visible(timeout=3000)
        expect(self.box).to_be_visible()

    def paste(self, token: str) -> None:
        """Type a token and press Enter; the box is empty at once."""
        self.open_box()
        self.box.fill(token)
        self.box.press("Enter")
        expect(self.box).to_have_value("")

    def keeps(self) -> str:
        """Everything that the browser holds of the page: its text, its fields, its storage."""
        return self.page.evaluate(
            """() => JSON.stringify([
              document.documentElement.outerHTML, document.cookie, location.href,
              Object.entries(localStorage), Object.entries(sessionStorage), history.state,
              [...document.querySelectorAll('input, textarea')].map((field) => field.value),
              window.gradio_config ?? null,
            ])"""
        )
