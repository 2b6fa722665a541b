"""A page that is behind: several states of one stream reach it together."""

import time

from playwright.sync_api import Route, expect

from tests.browser.chat_page import ChatPage
from tests.browser.fake_playground import FakePlayground
from tests.browser.test_prompt_tab import open_tab, prompt

LATE_SECONDS = 1.5


def late(route: Route) -> None:
    """The answer to a call after everything that the call gives."""
    answer = route.fetch()
    time.sleep(LATE_SECONDS)
    route.fulfill(response=answer)


def test_what_only_the_first_state_sets_is_not_lost(chat: ChatPage, fake: FakePlayground) -> None:
    fake.words, fake.seconds = ("word ",) * 4000, 0.05
    chat.send("Keep the stream open")
    expect(chat.reply).to_contain_text("word")
    open_tab(chat)
    prompt(chat).fill("Gemma Space is a playground.")
    expect(chat.page.locator("#token-count")).to_contain_text("token")
    fake.words = ("A ", "few")
    chat.page.route("**/queue/join*", late)
    chat.page.locator("#score").click()
    expect(chat.page.locator("#completion-footer")).to_contain_text("perplexity")
    expect(chat.page.get_by_role("tab", name="Probabilities")).to_have_attribute(
        "aria-selected", "true"
    )
    chat.page.unroute("**/queue/join*")
    chat.page.get_by_role("tab", name="Chat", exact=True).click()
    chat.stop_button.click()  # or the reply's end would be the next test's
    expect(chat.footer).to_contain_text("Stopped by you")
