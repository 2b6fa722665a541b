"""Whose token acts for the visitor, what it opens, and where it is never seen."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from playwright.sync_api import BrowserContext, expect

from gemma_space import hub
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from tests.browser.access_page import AccessPage
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import served
from tests.browser.fake_access import ALICE, BOB, OWN
from tests.browser.fake_library import PRIVATE
from tests.browser.fake_playground import FakePlayground
from tests.browser.models_page import ModelsPage
from tests.browser.test_looks import CONTRAST, PHONE

GATED = "fake/base"
READABLE = (
    "#sidebar .access-said", "#sidebar .access-hint", "#sidebar .access a", "#sidebar .pill",
    "#who-acts p", "#who-acts .access-wait", "#token-said .problem", "#token-said .problem a",
    "#your-access .model-note p", "#your-access .model-note a", "#forget-token",
    "#use-token .label-wrap span", ".section-title h2",
)  # fmt: skip


@pytest.fixture
def access(chat: ChatPage) -> AccessPage:
    return AccessPage(chat)


@contextmanager
def opened(
    fake: FakePlayground, new_context: Callable[..., BrowserContext], **settings: object
) -> Iterator[AccessPage]:
    """The page of a server of its own."""
    with served(cast(Playground, fake), settings=Settings(**settings)) as url:  # type: ignore[arg-type]
        access = AccessPage(ChatPage(new_context().new_page(), url).open())
        yield access
        access.page.goto("about:blank")


# --- whose token acts ---------------------------------------------------------------------------


def test_a_pasted_token_acts_everywhere_and_is_seen_nowhere(
    access: AccessPage, fake: FakePlayground
) -> None:
    expect(access.who).to_have_text("No Hugging Face token. The demo model and Gemma 4 need none.")
    expect(access.forget).to_be_hidden()
    models = ModelsPage(access.chat).open()
    expect(access.words(GATED)).to_have_text("Gated: needs a token")
    models.choose(GATED, "bf16")
    access.paste(f"  {ALICE} ")
    expect(access.who).to_have_text(
        "Using the token of alice that you pasted; this server forgets it within 8 hours."
    )
    for line in (access.line, access.dock_line):
        expect(line).to_contain_text("✓ alice may use Scripted Base.")
    expect(access.words(GATED)).to_have_text("Gated: you have access")
    expect(access.summary).to_have_text("You can use 6 of 6 models.")
    models.press("Load")
    expect(models.meter).to_contain_text("● In memory")
    models.press("Unload")
    expect(models.meter).to_contain_text("✓ Fits")
    models.press("Chat with it")
    access.page.get_by_role("textbox", name="Prompt", exact=True).fill("Once upon a time")
    expect(access.page.locator("#token-count")).to_contain_text("5 of")
    access.chat.button("Run").click()
    expect(access.page.locator("#completion textarea")).to_have_value("A short reply.")
    access.page.get_by_role("tab", name="Chat").click()
    access.chat.choose_model("Scripted Large")
    access.chat.ask("Hello")
    assert set(fake.tokens) == {
        "default_params", "max_new_tokens", "chat", "complete", "inspect"
    }  # fmt: skip
    assert set(fake.library.tokens) == {"find", "status", "fit", "load", "unload"}
    assert {*fake.tokens.values(), *fake.library.tokens.values()} == {ALICE}
    assert ALICE not in access.keeps()
    access.chat.reload()
    expect(access.who).to_contain_text("alice")  # kept by the server, for this browser
    assert ALICE not in access.keeps()


def test_forget(access: AccessPage, fake: FakePlayground) -> None:
    ModelsPage(access.chat).open().choose(GATED, "bf16")
    access.paste(ALICE)
    expect(access.words(GATED)).to_have_text("Gated: you have access")
    fake.hub.asked = []
    access.forget.click()
    expect(access.who).to_contain_text("No Hugging Face token.")
    expect(access.forget).to_be_hidden()
    expect(access.line).to_contain_text("Scripted Base is gated")
    expect(access.words(GATED)).to_have_text("Gated: needs a token")
    expect(access.summary).to_have_text("")
    assert fake.hub.asked == []
    assert fake.library.doctor.asked[-1][1] is None


def test_what_is_no_token_is_told_and_changes_nothing(
    access: AccessPage, fake: FakePlayground
) -> None:
    access.open_box()
    access.box.focus()
    expect(access.box).to_have_attribute("type", "password")
    expect(access.box).to_have_attribute("autocomplete", "new-password")
    kept = access.page.locator("#use-token").get_by_text("Kept in this server's memory only")
    expect(kept).to_contain_text("for up to 8 hours; Forget removes it.")
    expect(kept.get_by_role("link")).to_have_attribute("href", hub.new_token_url())
    expect(access.line).to_contain_text("Scripted Chat is open")
    fake.library.doctor.asked = []
    for typed, words in (
        ("no token <b>at all</b>", "This is not a Hugging Face token. Copy it again"),
        ("hf_nobodys_token", "The Hub does not accept this token"),
        ("", "This is not a Hugging Face token."),
    ):
        access.box.fill(typed)
        access.chat.button("Use it").click()
        expect(access.said.get_by_role("alert")).to_contain_text(words)
        expect(access.said.get_by_role("link")).to_have_attribute(
            "href", re.compile("/settings/tokens")
        )
        expect(access.box).to_have_value("")
        assert not typed or typed not in access.keeps()
    expect(access.who).to_contain_text("No Hugging Face token.")
    assert (fake.hub.asked, fake.library.doctor.asked) == (["hf_nobodys_token"], [])


def test_what_is_known_of_a_token(access: AccessPage, fake: FakePlayground) -> None:
    access.paste(BOB)
    expect(access.who).to_contain_text("Using the token of <b>bob</b> that you pasted")
    expect(access.who).to_contain_text("may not read gated repositories")
    expect(access.who.get_by_role("link")).to_have_attribute("href", hub.tokens_url())
    fake.hub.reachable = False
    access.paste("hf_canary_of_carol")
    expect(access.who).to_have_text(
        "Using the token that you pasted; this server forgets it within 8 hours."
    )


def test_the_hosts_own_login_is_for_this_machine(
    new_context: Callable[..., BrowserContext],
) -> None:
    fake = FakePlayground(own_token=OWN)
    with opened(fake, new_context) as access:
        expect(access.who).to_have_text(
            "Using this machine's own login (host); you are on the machine that serves this page."
        )
        expect(access.forget).to_be_hidden()
        access.chat.choose_model("Scripted Base")
        expect(access.line).to_contain_text("host may use Scripted Base.")
        ModelsPage(access.chat).open()
        expect(access.words(GATED)).to_have_text("Gated: you have access")
        assert OWN not in access.keeps()


def test_a_host_who_lends_says_so_all_the_time(new_context: Callable[..., BrowserContext]) -> None:
    fake = FakePlayground()
    fake.library.doctor.verdicts[GATED] = "ready"
    with opened(fake, new_context, access="deployer", hf_token=OWN) as access:
        note = access.page.locator("#deployer-note").get_by_role("note")
        ModelsPage(access.chat).open()
        expect(access.words(GATED)).to_have_text("Gated: you have access")  # asked by itself
        access.page.mouse.move(640, 300)
        access.page.mouse.wheel(0, 600)
        for tab in ("Models", "Prompt", "Chat"):
            expect(note).to_be_in_viewport()
            expect(note).to_contain_text("the host's own Hugging Face access")
            access.page.get_by_role("tab", name=tab).click()
        expect(note).to_be_in_viewport()
        expect(access.chat.box).to_be_in_viewport()


# --- names that are typed -----------------------------------------------------------------------


def test_a_private_name_works_for_whoever_may_see_it(
    access: AccessPage, fake: FakePlayground
) -> None:
    name = PRIVATE.repo_id
    fake.library.doctor.verdicts[name] = "repo_missing"
    models = ModelsPage(access.chat).open()
    models.type_model(name)
    expect(access.line).to_contain_text(f"The Hub shows no repository {name}")
    expect(models.sidebar).to_contain_text(f"What {name} is cannot be told without access.")
    del fake.library.doctor.verdicts[name]
    access.paste(ALICE)
    expect(models.title).to_have_text("private-gemma")
    expect(access.line).to_contain_text(f"alice may use {name}.")
    expect(access.words(name)).to_have_text("Gated: you have access")
    models.press("Chat with it")
    access.chat.ask("Hello")
    assert (fake.requests[-1].model, fake.tokens["chat"]) == (name, ALICE)
    access.forget.click()
    expect(access.line).to_contain_text(f"{name} is gated")
    expect(models.sidebar).to_contain_text(f"What {name} is cannot be told without access.")
    access.chat.send("And now?")
    expect(access.page.locator("#notice")).to_contain_text("The Hub has no such repository.")
    expect(access.chat.user_messages).to_have_text(["Hello", "And now?"])


def test_check_again_opens_what_was_refused(access: AccessPage, fake: FakePlayground) -> None:
    fake.library.doctor.verdicts[PRIVATE.repo_id] = "request_pending"
    access.paste(ALICE)
    expect(access.who).to_contain_text("alice")
    models = ModelsPage(access.chat).open()
    expect(access.words(GATED)).to_have_text("Gated: you have access")  # asked by itself
    assert ("*", ALICE, False) in fake.library.doctor.asked
    models.type_model(PRIVATE.repo_id)
    expect(access.line).to_contain_text("is waiting for review")
    del fake.library.doctor.verdicts[PRIVATE.repo_id]
    access.check_again.click()
    expect(access.page.locator("#about-model")).to_contain_text("3.58 M parameters")
    expect(access.line).to_contain_text("alice may use")


# --- small screens, colours ---------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"} | PHONE])
def test_texts_have_room_and_enough_contrast(
    options: dict[str, object], fake: FakePlayground, open_chat: Callable[..., ChatPage]
) -> None:
    access = AccessPage(open_chat(**options))
    width = access.chat.scroll_width()
    if width == 390:
        access.page.get_by_role("button", name="Toggle Sidebar").click()
    fake.library.doctor.verdicts[GATED] = "license_not_accepted"
    access.chat.choose_model("Scripted Base")
    access.paste(BOB)
    expect(access.forget).to_be_visible()
    access.paste("nonsense, of course")
    expect(access.said.get_by_role("alert")).to_be_visible()
    expect(access.line).to_contain_text("its licence is not accepted")
    found = {selector: access.page.evaluate(CONTRAST, selector) for selector in READABLE}
    assert {selector: ratio for selector, ratio in found.items() if (ratio or 0) < 4.5} == {}
    right = access.page.evaluate(
        """() => Math.max(...[...document.querySelectorAll("#your-access *, #sidebar .access *")]
             .map((one) => one.getBoundingClientRect().right))"""
    )
    assert right <= min(width, 390)
    assert access.chat.scroll_width() == width
