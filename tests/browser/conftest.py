"""A Chromium, the app served in this process, and one rule for every test: a clean console.

Each test gets browser contexts in which nothing is left of an earlier one but the files that the
servers sent. Whatever it did, it fails if the page logged an error, threw one, or asked any other
machine for anything.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

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

expect.set_options(timeout=30_000)


def find_chromium() -> str | None:
    return (
        shutil.which("chromium-headless-shell")
        or shutil.which("chromium")
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


class KeptContext:
    """A browser context that one test after the other uses: most of a page's first second is spent
    on fetching and compiling scripts, which are in its cache afterwards."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self._origins: set[str] = set()
        context.on("request", lambda request: self._origins.add(origin(request.url)))

    def empty(self) -> None:
        """Leave no page, no cookie, no permission and nothing that a page has stored."""
        for page in self.context.pages:
            page.close()
        self.context.clear_cookies()
        self.context.clear_permissions()
        blank = self.context.new_page()
        devtools = self.context.new_cdp_session(blank)
        for each in self._origins:
            told = {"origin": each, "storageTypes": "all"}
            devtools.send("Storage.clearDataForOrigin", told)
        self._origins.clear()
        blank.close()


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Watch:
    """What the pages of one test did wrong."""

    def __init__(self, tolerated: list[str]) -> None:
        self.wrong: list[str] = []
        self._tolerated = tolerated
        self._seen: list[Page] = []

    def page(self, page: Page) -> None:
        page.on("load", self._loaded)
        page.on("pageerror", lambda error: self.wrong.append(f"page error: {error}"))
        page.on("console", self._said)

    def request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in LOCAL_SCHEMES and parts.hostname not in ("127.0.0.1", "localhost"):
            self.wrong.append(f"external request: {request.url}")

    def _loaded(self, page: Page) -> None:
        if page in self._seen:
            self._tolerated.extend(LEFT_MID_STREAM)
        self._seen.append(page)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.wrong.append(f"console: {message.text}")


@pytest.fixture(scope="package")
def kept_contexts(browser: Browser) -> dict[str, list[KeptContext]]:
    """Those that no test uses at the moment, by their options."""
    return {}


@pytest.fixture
def new_context(
    browser: Browser, kept_contexts: dict[str, list[KeptContext]], tolerated: list[str]
) -> Iterator[Callable[..., BrowserContext]]:
    """Contexts that are watched: what their pages did wrong fails the test."""
    watch = Watch(tolerated)
    used: list[tuple[str, KeptContext]] = []

    def make(**options: object) -> BrowserContext:
        chosen = {"viewport": {"width": 1280, "height": 820}, "locale": "en-US"} | options
        there = kept_contexts.setdefault(repr(sorted(chosen.items())), [])
        kept = there.pop() if there else KeptContext(browser.new_context(**chosen))  # type: ignore[arg-type]
        used.append((repr(sorted(chosen.items())), kept))
        kept.context.on("page", watch.page)
        kept.context.on("request", watch.request)
        return kept.context

    yield make
    for options, kept in used:
        if "permissions" in options:  # they end with the test that needs them
            kept.context.close()
            continue
        kept.empty()
        kept.context.remove_listener("page", watch.page)
        kept.context.remove_listener("request", watch.request)
        kept_contexts[options].append(kept)
    assert [line for line in watch.wrong if not any(words in line for words in tolerated)] == []


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
