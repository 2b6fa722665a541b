"""Two hundred messages of history: replies still stream and stop. Times: benchmarks.page_lag."""

import json

from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.fake_playground import FakePlayground

PARAGRAPH = "Some **bold** words and `code` and a list:\n\n- one\n- two\n\n" + "Plain text. " * 25


def test_two_hundred_messages(chat: ChatPage, fake: FakePlayground) -> None:
    history = [
        {"role": "user" if number % 2 == 0 else "assistant", "content": f"{number}: {PARAGRAPH}"}
        for number in range(200)
    ]
    chat.import_text(json.dumps(history))
    expect(chat.user_messages).to_have_count(100)
    fake.words, fake.seconds = tuple(f"w{number} " for number in range(4000)), 0.02
    chat.send("Go on")
    expect(chat.reply).to_contain_text("w50 ")
    chat.stop_button.click()
    expect(chat.footer).to_contain_text("Stopped by you")
    assert len(fake.requests[-1].messages) == 201
    chat.until(lambda: fake.events == ["started", "closed"])
    assert "w3999" not in chat.reply.inner_text()
