"""The Models tab and the sidebar's model part as a person uses them."""

from playwright.sync_api import Locator, expect

from tests.browser.chat_page import ChatPage


class ModelsPage:
    """The Models tab of a page that is open."""

    def __init__(self, chat: ChatPage) -> None:
        self.chat = chat
        self.page = chat.page

    def open(self) -> "ModelsPage":
        self.page.get_by_role("tab", name="Models").click()
        expect(self.rows.first).to_be_visible()
        expect(self.meter).to_be_visible()
        return self

    # --- what there is

    @property
    def rows(self) -> Locator:
        return self.page.locator("#model-list .model:visible")

    @property
    def dock(self) -> Locator:
        return self.page.locator("#models-dock")

    @property
    def title(self) -> Locator:
        return self.dock.get_by_role("heading")

    @property
    def meter(self) -> Locator:
        return self.dock.locator(".fit")

    @property
    def sidebar(self) -> Locator:
        return self.page.locator("#sidebar")

    @property
    def model(self) -> Locator:
        return self.page.get_by_role("combobox", name="Checkpoint")

    @property
    def precision(self) -> Locator:
        return self.page.get_by_role("combobox", name="Precision")

    @property
    def another(self) -> Locator:
        return self.page.get_by_label("Another Gemma")

    def row(self, repo_id: str) -> Locator:
        return self.page.locator(f'#model-list .model[data-model="{repo_id}"]')

    def cell(self, repo_id: str, precision: str) -> Locator:
        return self.row(repo_id).locator(f"button[data-precision={precision}]")

    def titles(self) -> list[str]:
        return self.rows.locator(".model-title").all_inner_texts()

    # --- what people do

    def choose(self, repo_id: str, precision: str) -> None:
        self.cell(repo_id, precision).click()
        expect(self.cell(repo_id, precision)).to_have_attribute("aria-pressed", "true")

    def press(self, name: str) -> None:
        """Press a button below the list."""
        self.dock.get_by_role("button", name=name, exact=True).click()

    def type_model(self, name: str) -> None:
        """Type a name into the sidebar's list of checkpoints."""
        self.model.fill(name)
        self.model.press("Enter")
