"""What the Hub says of each model, beside the model: below the name, below the list, in it."""

import re
import threading

import pytest
from playwright.sync_api import expect

from gemma_space import hub
from gemma_space.errors import AccessDeniedError
from gemma_space.reports import Verdict
from tests.browser.access_page import AccessPage
from tests.browser.chat_page import ChatPage
from tests.browser.fake_access import ALICE
from tests.browser.fake_playground import FakePlayground
from tests.browser.models_page import ModelsPage

GATED = "fake/base"
PAGE = hub.repo_url(GATED)
# Of the gated model, by verdict: a part of the sentence, the link, the words in the list.
VERDICTS: tuple[tuple[Verdict, str, str, str], ...] = (
    ("ready", "✓ This account may use Scripted Base.", "", "Gated: you have access"),
    ("no_token", "✕ Scripted Base is gated", PAGE, "Gated: needs a token"),
    ("token_invalid", "✕ The Hub does not accept this token", hub.new_token_url(),
     "Token not accepted"),
    ("license_not_accepted", "its licence is not accepted yet", PAGE,
     "Gated: licence not accepted"),
    ("request_pending", "is waiting for review", PAGE, "Gated: waiting for review"),
    ("request_rejected", "was rejected", PAGE, "Gated: request rejected"),
    ("token_lacks_gated_scope", "may not read gated repositories", hub.tokens_url(),
     "Gated: token may not read gated models"),
    ("repo_missing", "✕ The Hub shows no repository fake/base", "", "Not found"),
    ("rate_limited", "! The Hub answers no more questions", "", "Hub busy"),
    ("hub_unreachable", "! The Hub cannot be reached", "", "Hub not reached"),
)  # fmt: skip


@pytest.fixture
def access(chat: ChatPage) -> AccessPage:
    return AccessPage(chat)


# --- the line about a model ---------------------------------------------------------------------


def test_each_verdict_in_words_with_its_link(access: AccessPage, fake: FakePlayground) -> None:
    """In the sidebar, below the list and in it; each comes with Check again."""
    models = ModelsPage(access.chat).open()
    models.choose(GATED, "bf16")
    for verdict, sentence, url, words in VERDICTS:
        fake.library.doctor.verdicts[GATED] = verdict
        access.check_again.click()
        for line in (access.line, access.dock_line):
            expect(line.get_by_role("status")).to_contain_text(sentence)
            expect(line.get_by_role("button", name="Check again")).to_be_visible()
            expect(line.get_by_role("link")).to_have_count(int(bool(url)))
        expect(access.words(GATED)).to_have_text(words)
        if not url:
            continue
        link = access.line.get_by_role("link")
        expect(link).to_have_text(url.partition("://")[2].partition("?")[0])
        for one in (link, access.words(GATED).get_by_role("link")):
            expect(one).to_have_attribute("href", url)
            expect(one).to_have_attribute("target", "_blank")
            expect(one).to_have_attribute("rel", "noopener")
    assert [fresh for name, _, fresh in fake.library.doctor.asked if name == GATED] == [
        False, *[True] * len(VERDICTS)
    ]  # fmt: skip


def test_check_again_asks_anew_and_waits_in_its_place(
    access: AccessPage, fake: FakePlayground
) -> None:
    access.chat.choose_model("Scripted Base")
    expect(access.line).to_contain_text("Scripted Base is gated")
    held = fake.library.doctor.held[GATED] = threading.Event()
    before = access.line.bounding_box()
    access.check_again.click()
    expect(access.check_again).to_have_text("Asking the Hub…")
    expect(access.check_again).to_be_focused()
    access.check_again.click(force=True)  # once is enough
    assert access.line.bounding_box() == before
    fake.library.doctor.verdicts[GATED] = "request_pending"
    held.set()
    expect(access.line).to_contain_text("waiting for review")
    expect(access.check_again).to_have_text("Check again")
    expect(access.check_again).to_be_focused()
    assert [fresh for name, _, fresh in fake.library.doctor.asked if name == GATED] == [False, True]


def test_a_slow_answer_never_stands_beside_a_newer_choice(
    access: AccessPage, fake: FakePlayground
) -> None:
    expect(access.line).to_contain_text("✓ Scripted Chat is open: no token is needed.")
    expect(access.line.get_by_role("status")).to_be_visible()
    expect(access.check_again).to_have_count(0)  # nothing there that may change
    held = fake.library.doctor.held[GATED] = threading.Event()
    access.chat.choose_model("Scripted Base")
    expect(access.line).to_have_text("Asking the Hub…")
    expect(access.page.locator("#sidebar .fit")).to_contain_text("38.8 MiB")  # nothing else waits
    access.chat.choose_model("Scripted Large")
    expect(access.page.locator("#about-model")).to_contain_text("Larger than most.")
    expect(access.line).to_contain_text("Scripted Large is open")
    seen = access.page.evaluate_handle(
        """() => {
          const seen = [], place = document.querySelector("#sidebar .access-line");
          const look = () => seen.push(place.textContent);
          new MutationObserver(look).observe(place, { childList: true, subtree: true });
          return seen;
        }"""
    )
    models = ModelsPage(access.chat).open()
    fake.library.doctor.verdicts[GATED] = "license_not_accepted"
    held.set()
    expect(access.words(GATED)).to_have_text("Gated: licence not accepted")
    expect(access.line).to_contain_text("Scripted Large is open")
    expect(access.dock_line).to_contain_text("Scripted Large is open")
    assert not [text for text in seen.json_value() if "Base" in text]
    models.choose(GATED, "int8")  # what was told meanwhile is known
    expect(access.line).to_contain_text("its licence is not accepted")
    assert [name for name, *_ in fake.library.doctor.asked].count(GATED) == 1


def test_a_refused_reply_keeps_every_word_and_the_line_follows(
    access: AccessPage, fake: FakePlayground
) -> None:
    access.paste(ALICE)
    access.chat.choose_model("Scripted Base")
    expect(access.line).to_contain_text("alice may use Scripted Base.")
    access.chat.ask("Hello")
    fake.refusal = AccessDeniedError("<b>alice</b> lost it.", f"Accept it at {PAGE}, then go on.")
    fake.library.doctor.verdicts[GATED] = "license_not_accepted"
    access.chat.ask("And now?")
    notice = access.page.locator("#notice")
    expect(notice).to_contain_text("<b>alice</b> lost it. Accept it at ")
    expect(notice.get_by_role("link")).to_have_attribute("href", PAGE)
    expect(access.chat.user_messages).to_have_text(["Hello", "And now?"])
    expect(access.chat.reply).to_have_text("A short reply.")
    expect(access.line).to_contain_text("its licence is not accepted yet")
    said = ["Hello", "A short reply.", "And now?"]
    access.chat.until(lambda: [m["content"] for m in access.chat.stored()[0]["messages"]] == said)
    access.chat.reload()
    expect(access.chat.user_messages).to_have_text(["Hello", "And now?"])
    fake.refusal = None
    access.chat.button("Try again").click()
    expect(access.chat.replies).to_have_count(2)


def test_a_load_says_its_rate_and_what_else_goes_on(
    access: AccessPage, fake: FakePlayground
) -> None:
    access.chat.choose_model("Scripted Base")
    fake.library.load_steps = 100
    access.chat.button("Load").click()
    progress = access.page.locator("#sidebar .load")
    expect(progress).to_have_text(re.compile(r"of 8\.0 MiB, 2\.5 MiB/s, about 40 s left"))
    fake.library.note = "The connection broke; attempt 2 of 6 in 4 s"
    expect(progress).to_have_text(
        re.compile(r"of 8\.0 MiB\. The connection broke; attempt 2 of 6 in 4 s$")
    )
    access.chat.button("Cancel").click()
    expect(progress).to_have_count(0)


# --- the list -----------------------------------------------------------------------------------


def test_the_list_is_asked_about_on_demand_and_stays_where_it_is(
    access: AccessPage, fake: FakePlayground
) -> None:
    models = ModelsPage(access.chat).open()
    assert "*" not in [name for name, *_ in fake.library.doctor.asked]  # without a token
    models.page.get_by_label("Search").fill("base")
    expect(models.rows).to_have_count(1)
    held = fake.library.doctor.held["*"] = threading.Event()
    fake.library.doctor.verdicts = {GATED: "license_not_accepted", "fake/large": "hub_unreachable"}
    models.cell(GATED, "int8").focus()
    access.chat.button("Check access").click()
    expect(access.summary).to_have_text("Asking the Hub about every model…")
    held.set()
    expect(access.words(GATED)).to_have_text("Gated: licence not accepted")
    expect(access.summary).to_have_text("You can use 4 of 6 models.")
    assert models.titles() == ["Scripted Base"]
    assert fake.library.doctor.asked[-1] == ("*", None, True)
    models.page.get_by_label("Search").fill("")
    expect(access.words("fake/large")).to_have_text("Hub not reached")
    expect(access.words("fake/chat")).to_have_text("Open")
    models.page.get_by_label("32K", exact=True).check()  # drawn anew, with what was told
    expect(models.cell("fake/large", "int8")).to_have_attribute("title", re.compile("of 32K"))
    expect(access.words(GATED)).to_have_text("Gated: licence not accepted")
    keyboard = models.page.keyboard  # the whole list is one stop of the Tab key, links and all
    models.cell(GATED, "int4").focus()
    for key in ("ArrowLeft",) * 5:
        keyboard.press(key)
    expect(access.words(GATED).get_by_role("link")).to_be_focused()
