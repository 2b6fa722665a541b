"""Simple and Expert: one switch, kept in the browser, that hides and never loses."""

from collections.abc import Callable, Iterator
from typing import cast

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, expect

from gemma_space.playground import Playground
from gemma_space.settings import Settings
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.browser.fake_playground import FakePlayground

APPLIES = "getComputedStyle(document.querySelector('#dock'), '::after').content"


@pytest.fixture(scope="module")
def space_url(browser: Browser) -> Iterator[str]:
    """The same page where a Space serves it."""
    with served(cast(Playground, FakePlayground()), settings=Settings(space_id="a/b")) as url:
        yield url


def details(chat: ChatPage) -> tuple[Locator, ...]:
    """What only Expert shows, all of it there after a reply."""
    page = chat.page
    return (
        page.get_by_role("tab", name="Models"),
        page.get_by_role("button", name="System prompt and generation settings"),
        page.get_by_role("button", name="What the model was given"),
        page.locator("#precision"), page.locator(".status-card"), page.locator(".fit-meter").first,
        page.get_by_role("button", name="Export JSON"),
    )  # fmt: skip


def chat_and_model(chat: ChatPage) -> tuple[Locator, ...]:
    page = chat.page
    return (
        chat.box, chat.reply, page.get_by_role("combobox", name="Checkpoint"),
        chat.button("New conversation"), chat.conversations.first,
    )  # fmt: skip


def test_simple_shows_chat_and_the_model_and_loses_nothing(
    fake: FakePlayground, chat: ChatPage
) -> None:
    chat.ask("Hello")
    chat.open_settings()
    chat.page.locator("#system-prompt textarea").fill("Be brief.")
    chat.box.fill("Half a sentence")
    for shown in (*details(chat), *chat_and_model(chat)):
        expect(shown).to_be_visible()
    chat.button("Simple").click()
    for hidden in details(chat):
        expect(hidden).to_be_hidden()
    for shown in chat_and_model(chat):
        expect(shown).to_be_visible()
    expect(chat.box).to_have_value("Half a sentence")
    expect(chat.footer).to_contain_text("Ended its turn")
    assert "still apply" in chat.page.evaluate(APPLIES)
    chat.box.press("Enter")
    expect(chat.user_messages).to_have_count(2)
    chat.finished()
    assert fake.requests[-1].system_prompt == "Be brief."
    chat.button("Expert").click()
    for shown in details(chat):
        expect(shown).to_be_visible()
    expect(chat.page.locator("#system-prompt textarea")).to_have_value("Be brief.")
    expect(chat.user_messages).to_have_count(2)


def test_the_choice_is_kept_and_other_tabs_of_the_browser_follow(
    fake: FakePlayground, chat: ChatPage
) -> None:
    expect(chat.button("Expert")).to_have_attribute("aria-pressed", "true")
    other = ChatPage(chat.page.context.new_page(), chat.url).open()
    chat.button("Simple").click()
    expect(other.button("Simple")).to_have_attribute("aria-pressed", "true")
    expect(other.page.get_by_role("tab", name="Prompt")).to_be_hidden()
    chat.page.reload()
    expect(chat.box).to_be_visible()
    expect(chat.button("Simple")).to_have_attribute("aria-pressed", "true")
    expect(chat.page.get_by_role("tab", name="Prompt")).to_be_hidden()
    assert "still apply" not in chat.page.evaluate(APPLIES)


def test_the_switch_leaves_another_tab_and_a_run_in_it_goes_on(
    fake: FakePlayground, chat: ChatPage
) -> None:
    chat.page.get_by_role("tab", name="Prompt").click()
    prompt = chat.page.get_by_role("textbox", name="Prompt", exact=True)
    prompt.fill("Once upon a time")
    chat.button("Simple").click()
    expect(chat.box).to_be_visible()
    expect(prompt).to_be_hidden()
    chat.button("Expert").click()
    chat.page.get_by_role("tab", name="Prompt").click()
    expect(prompt).to_have_value("Once upon a time")


def test_what_leads_to_another_tab_shows_the_way_back(fake: FakePlayground, chat: ChatPage) -> None:
    chat.button("Simple").click()
    chat.choose_model("Scripted Base")
    chat.button("Open the Prompt tab").click()
    expect(chat.page.get_by_role("textbox", name="Prompt", exact=True)).to_be_visible()
    chat.page.get_by_role("tab", name="Chat").click()
    expect(chat.box).to_be_visible()
    expect(chat.page.get_by_role("tab", name="Prompt")).to_be_hidden()


def test_a_space_begins_simple(space_url: str, new_context: Callable[..., BrowserContext]) -> None:
    page = new_context().new_page()
    page.goto(space_url)
    expect(page.locator("#message textarea")).to_be_visible()
    expect(page.get_by_role("tab", name="Prompt")).to_be_hidden()
    page.get_by_role("button", name="Expert").click()
    expect(page.get_by_role("tab", name="Prompt")).to_be_visible()
    page.reload()
    expect(page.get_by_role("tab", name="Prompt")).to_be_visible()


@pytest.mark.parametrize("view", ["Simple", "Expert"])
def test_the_switch_fits_a_phone(
    view: str, fake: FakePlayground, open_chat: Callable[..., ChatPage]
) -> None:
    chat = open_chat(viewport={"width": 390, "height": 800})
    chat.button(view).click()
    assert chat.scroll_width() == 390
    expect(chat.button(view)).to_be_in_viewport(ratio=1)
    expect(chat.page.locator("#theme-toggle button")).to_be_in_viewport(ratio=1)
    expect(chat.box).to_be_in_viewport()
