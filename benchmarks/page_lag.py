"""How far the page stays behind the server while a reply streams, and how soon Stop reacts.

`python -m benchmarks.page_lag` serves the page on a playground with scripted replies (50 words a
second), fills the conversation with 0, 50 and 200 messages, and notes in the browser when each
last word is shown. Needs Chromium. The clock is one and the same machine's.
"""

import json
import shutil
import statistics
import time
from typing import cast

from playwright.sync_api import Page, sync_playwright

from gemma_space.app import build_app, launch_options
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from tests.browser.chat_page import ChatPage
from tests.browser.fake_playground import FakePlayground

HISTORIES = (0, 50, 200)
WORDS = 400
PARAGRAPH = "Some **bold** words and `code` and a list:\n\n- one\n- two\n\n" + "Plain text. " * 25
WATCH = """() => {
  window.shownAt = {};
  const note = () => {
    const texts = document.querySelectorAll("#transcript .message:not(.thought) > [data-testid=bot]");
    const last = [...texts].at(-1)?.textContent.trim().split(" ").at(-1);
    if (last?.startsWith("w") && !(last in window.shownAt)) window.shownAt[last] = Date.now() / 1000;
  };
  new MutationObserver(note).observe(document.querySelector("#transcript"),
    {childList: true, subtree: true, characterData: true});
}"""  # noqa: E501


def measure(page: Page, url: str, fake: FakePlayground, history: int) -> None:
    """One conversation of `history` messages: stream a while, press Stop, print both times."""
    chat = ChatPage(page, url).open()
    if history:
        roles = ("user", "assistant")
        messages = [{"role": roles[n % 2], "content": f"{n}: {PARAGRAPH}"} for n in range(history)]
        chat.import_text(json.dumps(messages))
        page.wait_for_timeout(2000)
    fake.words, fake.seconds = tuple(f"w{number} " for number in range(WORDS)), 0.02
    fake.spoken_at.clear()
    page.evaluate(WATCH)
    chat.send("Go on")
    page.wait_for_timeout(6000)
    started = time.perf_counter()
    chat.stop_button.click()
    chat.send_button.wait_for()
    stopped = time.perf_counter() - started
    shown = page.evaluate("window.shownAt")
    lags = sorted(at - fake.spoken_at[int(word[1:])] for word, at in shown.items())
    print(
        f"{history:4} messages: lag median {statistics.median(lags):.2f} s, worst {lags[-1]:.2f} s "
        f"over {len(lags)} states; Stop {stopped:.2f} s"
    )


def main() -> None:
    """Measure each history in a fresh browser context."""
    fake = FakePlayground()
    demo = build_app(cast(Playground, fake), Settings())
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(demo))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for history in HISTORIES:
            measure(browser.new_context().new_page(), url, fake, history)
        browser.close()
    demo.close()


if __name__ == "__main__":
    main()
