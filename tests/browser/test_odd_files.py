"""Conversation files of any shape: read, or refused in a sentence, and the page goes on."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import expect

from gemma_space.ui import transcript
from tests.browser.chat_page import ChatPage

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=6) | st.sampled_from(
    ["user", "assistant", "model", "system", "text", "__proto__", "\ud83e",
     "gemma-space-conversation"]
)  # fmt: skip
NAMES = st.sampled_from(["role", "content", "footer", "title", "messages", "record", "type",
                         "text", "format", "version", "system_prompt", "__proto__"])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=3),
    max_leaves=6,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "model", "system"]), "content": TEXTS},
    optional={"footer": st.dictionaries(NAMES, TEXTS | JSON, max_size=4)},
)
FILES = JSON | st.lists(MESSAGE | JSON, max_size=3) | st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, max_size=3)},
    optional={"title": JSON, "system_prompt": JSON, "format": JSON, "version": JSON},
)  # fmt: skip
READ = """(texts) => texts.map((text) => {
  try {
    const read = GemmaSpace.transfer.fromJson(text);
    return JSON.stringify({messages: read.messages, title: GemmaSpace.store.titleOf(read)});
  } catch (error) {
    if (!(error instanceof GemmaSpace.transfer.ImportProblem)) throw error;
    return JSON.stringify({problem: error.message});
  }
})"""


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(files=st.lists(FILES, min_size=20, max_size=40))
def test_a_file_of_any_shape_is_a_conversation_or_a_sentence(
    chat: ChatPage, files: list[Any]
) -> None:
    for text in chat.page.evaluate(READ, [json.dumps(value) for value in files]):
        told = json.loads(text)
        if "problem" in told:
            assert told["problem"].endswith(".")
        else:
            opened = transcript.from_stored(told["messages"])
            assert len(opened) == len(told["messages"])


def test_half_a_character_in_a_file_costs_no_conversation(chat: ChatPage) -> None:
    messages = [{"role": "user", "content": "half \ud83e"}, {"role": "model", "content": "b"}]
    chat.import_text(json.dumps({"system_prompt": "\ud83e", "messages": messages}))
    expect(chat.user_messages).to_have_text("half ?")
    chat.ask("And now?")
    chat.reload()
    expect(chat.replies).to_have_count(2)
