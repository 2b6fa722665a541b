"""The page where another server generates: it works as ever, and says what cannot be had."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from gemma_space.settings import Settings
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.stand_in_server import EVERYTHING, StandInServer, standing_in
from tests.unit.test_remote import playground_on

LACKING = EVERYTHING - {"min_p", "logprobs"}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[StandInServer, StandInServer]]:
    listed = [{"id": "my-gemma", "root": "gemma-space/demo"}]
    one, other = (StandInServer(models=listed, follows=LACKING, words=12) for _ in range(2))
    with standing_in(one), standing_in(other):
        yield one, other


@pytest.fixture(scope="module")
def url(browser: Browser, servers: tuple[StandInServer, StandInServer]) -> Iterator[str]:
    playground = playground_on(*servers)
    settings = Settings(engine_url=tuple(server.url for server in servers))
    with served(playground, settings=settings) as address:
        yield address


@pytest.fixture
def page(url: str, new_context: Callable[..., BrowserContext]) -> ChatPage:
    return ChatPage(new_context().new_page(), url).open()


def test_a_chat_and_what_is_not_available(page: ChatPage) -> None:
    page.ask("Hello")
    expect(page.footer).to_contain_text("Ended its turn")
    expect(page.footer).to_contain_text("+ 12 new tokens")
    card = page.page.locator("#sidebar .fit")
    expect(card).to_contain_text("Ready")
    card.get_by_text("Not available here").click()
    expect(card.get_by_text("min_p: the server did not follow it")).to_be_visible()
    expect(page.page.locator(".status-card")).to_contain_text("2 of 2 servers answering")
    page.open_settings()
    page.page.locator("#settings").get_by_role("button", name="Advanced").click()
    min_p = page.page.locator("#settings .control-min_p")
    expect(min_p).to_contain_text("Not available")
    expect(min_p.locator("input").first).to_be_disabled()
    expect(page.page.locator("#settings .control-typical_p input").first).to_be_enabled()


def test_a_raw_prompt_and_what_is_not_available(page: ChatPage) -> None:
    page.page.get_by_role("tab", name="Prompt").click()
    page.page.locator("#prompt textarea").fill("Once")
    page.button("Run").click()
    footer = page.page.locator("#completion-footer")
    expect(footer).to_contain_text("Ended its turn")
    expect(footer).to_contain_text("as served")
    expect(footer).to_contain_text("The server gives no probabilities")
    page.button("Score the prompt").click()
    expect(footer).to_contain_text("can only be scored where the weights are")
    page.page.get_by_role("button", name="Replay capsule").click()
    page.button("Save this run as a capsule").click()
    expect(page.page.locator("#capsule-told")).to_contain_text("does not tell its token ids")


def test_the_xray_is_the_checkpoints_own_template(page: ChatPage) -> None:
    page.ask("Hello")
    page.button("What the model was given").click()
    expect(page.page.locator("#xray")).to_contain_text("The server applies its own template")


def test_a_server_that_dies_leaves_what_it_wrote(
    page: ChatPage, servers: tuple[StandInServer, StandInServer]
) -> None:
    page.ask("Hello")
    page.ask("Hello again")  # both have been asked once
    for server in servers:
        server.breaks_after = 4
    page.ask("And now?")
    expect(page.page.locator("#notice")).to_contain_text("server")
    expect(page.footer).to_contain_text("Broken off by an error")
    expect(page.reply).not_to_be_empty()
    for server in servers:
        server.breaks_after = None
    page.button("Try again").or_(page.button("Continue")).first.click()
    page.finished()
    expect(page.footer).to_contain_text("Ended its turn")
