"""A Chromium, the app served in this process, and one rule for every test: a clean console.

Each test gets a fresh browser context. Whatever it did, it fails if the page logged an error,
threw one, or asked any other machine for anything.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from gemma_space.app import build_app, launch_options
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from tests.browser.chat_page import ChatPage
from tests.browser.fake_playground import FakePlayground

CHROMIUM_OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
# What Gradio's own script logs when a page goes away while one of its streams is open.
LEFT_MID_STREAM = ("AbortError: ", "Connection errored out.")
LOCAL_SCHEMES = ("data", "blob", "about")

expect.set_options(timeout=15_000)


def find_chromium() -> str | None:
    return (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    executable = find_chromium()
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail("The browser tests need Chromium; install the package chromium.")
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@contextmanager
def served(
    playground: Playground, port: int | None = None, settings: Settings | None = None
) -> Iterator[str]:
    """The whole app on `playground`, at the address this gives."""
    demo = build_app(playground, settings or Settings())
    options = launch_options(demo)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_port=port, **options)
    try:
        yield url
    finally:
        demo.close()


@pytest.fixture(scope="package")
def fake_server(browser: Browser) -> Iterator[tuple[FakePlayground, str]]:
    fake = FakePlayground()
    with served(cast(Playground, fake)) as url:
        yield fake, url


@pytest.fixture
def fake(fake_server: tuple[FakePlayground, str]) -> FakePlayground:
    """The scripted playground behind `chat`, with its usual short script."""
    playground, _ = fake_server
    playground.reset()
    return playground


@pytest.fixture(scope="package")
def real_server(browser: Browser) -> Iterator[tuple[Playground, str]]:
    playground = Playground.from_settings(Settings())
    with served(playground) as url:
        playground.warm_up()
        yield playground, url


@pytest.fixture
def tolerated() -> list[str]:
    """What a test lets the console say besides nothing."""
    return []


@pytest.fixture
def new_context(browser: Browser, tolerated: list[str]) -> Iterator[Callable[..., BrowserContext]]:
    """Contexts that are watched: what their pages did wrong fails the test."""
    wrong: list[str] = []
    contexts: list[BrowserContext] = []
    seen: list[Page] = []

    def loaded(page: Page) -> None:
        if page in seen:
            tolerated.extend(LEFT_MID_STREAM)
        seen.append(page)

    def watch(page: Page) -> None:
        page.on("load", loaded)
        page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
        page.on(
            "console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None
        )

    def check(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in LOCAL_SCHEMES and parts.hostname not in ("127.0.0.1", "localhost"):
            wrong.append(f"external request: {url}")

    def make(**options: object) -> BrowserContext:
        usual = {"viewport": {"width": 1280, "height": 820}, "locale": "en-US"}
        context = browser.new_context(**(usual | options))  # type: ignore[arg-type]
        context.on("page", watch)
        context.on("request", lambda request: check(request.url))
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert [line for line in wrong if not any(words in line for words in tolerated)] == []


@pytest.fixture
def open_chat(
    fake_server: tuple[FakePlayground, str], new_context: Callable[..., BrowserContext]
) -> Callable[..., ChatPage]:
    """Open the app on the scripted playground; options are the browser context's."""

    def open_page(**options: object) -> ChatPage:
        return ChatPage(new_context(**options).new_page(), fake_server[1]).open()

    return open_page


@pytest.fixture
def chat(fake: FakePlayground, open_chat: Callable[..., ChatPage]) -> ChatPage:
    """The app on the scripted playground, on a desktop."""
    return open_chat()


@pytest.fixture
def real_chat(
    real_server: tuple[Playground, str], new_context: Callable[..., BrowserContext]
) -> ChatPage:
    """The app on the demo checkpoint, on a desktop."""
    return ChatPage(new_context().new_page(), real_server[1]).open()
