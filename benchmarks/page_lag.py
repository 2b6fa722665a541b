"""How far the page stays behind the server while a reply streams, and how soon Stop reacts.

`python -m benchmarks.page_lag` serves two pages with the same scripted replies (50 words a
second): this app's, and the stock `gr.ChatInterface` of most Gemma Spaces. Each conversation has
0, 50 or 200 messages; the browser notes when each last word is shown. Needs Chromium. The clock
is one and the same machine's.
"""

import json
import shutil
import statistics
import time
from collections.abc import Iterator
from typing import Any, cast

from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks import stock_space
from benchmarks.figure import Figure, Pair, figures_of, main
from gemma_space.app import build_app, launch_options
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import CHROMIUM_OPTIONS
from tests.browser.fake_playground import FakePlayground

HISTORIES = (0, 50, 200)
WORDS = tuple(f"w{number} " for number in range(400))
WORD_SECONDS = 0.02
STREAM_SECONDS = 6
PARAGRAPH = "Some **bold** words and `code` and a list:\n\n- one\n- two\n\n" + "Plain text. " * 25
OURS = "#transcript .message:not(.thought) > [data-testid=bot]"
STOCK = "[data-testid=bot]"
WATCH = """(replies) => {
  window.shownAt = {};
  const note = () => {
    const texts = document.querySelectorAll(replies);
    const last = [...texts].at(-1)?.textContent.trim().split(" ").at(-1);
    if (/^w\\d+$/.test(last) && !(last in window.shownAt)) window.shownAt[last] = Date.now() / 1000;
  };
  new MutationObserver(note).observe(document.body,
    {childList: true, subtree: true, characterData: true});
}"""


def messages(count: int) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": f"{n}: {PARAGRAPH}"} for n in range(count)]


def lags(page: Page, spoken_at: list[float]) -> list[float]:
    """Seconds from when a word was said to when the page showed it as its last, in order."""
    shown = page.evaluate("window.shownAt")
    return sorted(at - spoken_at[int(word[1:])] for word, at in shown.items())


def ours(page: Page, url: str, fake: FakePlayground, history: int) -> tuple[list[float], float]:
    """The lags, and the seconds that Stop took."""
    chat = ChatPage(page, url).open()
    if history:
        chat.import_text(json.dumps(messages(history)))
        expect(chat.user_messages).to_have_count(history // 2)
    fake.words, fake.seconds = WORDS, WORD_SECONDS
    fake.spoken_at.clear()
    page.evaluate(WATCH, OURS)
    chat.send("Go on")
    page.wait_for_timeout(STREAM_SECONDS * 1000)
    started = time.perf_counter()
    chat.stop_button.click()
    chat.send_button.wait_for()
    return lags(page, fake.spoken_at), time.perf_counter() - started


def stock(page: Page, history: int) -> list[float]:
    """The same of the stock page; it is served for this alone."""
    spoken_at: list[float] = []

    def respond(message: str, history: list[Any]) -> Iterator[str]:
        text = ""
        for word in WORDS[: int(STREAM_SECONDS / WORD_SECONDS)]:
            text += word
            spoken_at.append(time.time())
            yield text
            time.sleep(WORD_SECONDS)

    demo = stock_space.chat_page(respond, messages(history))
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
    try:
        page.goto(url)
        expect(page.get_by_test_id("user")).to_have_count(history // 2)
        page.evaluate(WATCH, STOCK)
        page.locator("textarea").fill("Go on")
        page.locator("textarea").press("Enter")
        page.wait_for_timeout(STREAM_SECONDS * 1000)
        return lags(page, spoken_at)
    finally:
        demo.close()


def measured(browser: Browser, url: str, fake: FakePlayground, history: int) -> Iterator[Pair]:
    """One conversation of `history` messages, each in a fresh browser context."""
    said = f"page behind the server, {history} messages of history"
    theirs = stock(browser.new_context().new_page(), history)
    mine, stopped = ours(browser.new_context().new_page(), url, fake, history)
    yield Pair(name=said, unit="s", ours=statistics.median(mine), baseline=stock_space.NAME,
               theirs=statistics.median(theirs))  # fmt: skip
    yield Pair(name=f"the worst of it, {history} messages", unit="s", ours=mine[-1],
               baseline=stock_space.NAME, theirs=theirs[-1])  # fmt: skip
    yield Pair(name=f"until Stop has stopped, {history} messages", unit="s", ours=stopped)


def figures(pairs: int, quick: bool) -> list[Figure]:
    """Both pages in turn, history by history."""
    fake = FakePlayground()
    demo = build_app(cast(Playground, fake), Settings())
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(demo))
    found: list[Pair] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
        )
        for _ in range(pairs):
            for history in HISTORIES[:1] if quick else HISTORIES:
                found += measured(browser, url, fake, history)
        browser.close()
    demo.close()
    return figures_of(found)


if __name__ == "__main__":
    main(__doc__, figures, pairs=3)
