"""Presenter mode as the room sees it: one model, kept answers, a way in, and who waits."""

from collections.abc import Callable, Iterator
from typing import cast

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from gemma_space.app import build_app, launch_options
from gemma_space.errors import BusyError
from gemma_space.playground import Playground
from gemma_space.rehearsal import Rehearsal
from gemma_space.settings import Settings
from tests.browser.fake_playground import FakePlayground

EXAMPLES = ("What is a token?", "Tell me a story")
SETTINGS = Settings(presenter=True, presenter_title="Meet Gemma", presenter_examples=EXAMPLES)


class Stage:
    """One browser tab on the presenter's page."""

    def __init__(self, page: Page, fake: FakePlayground) -> None:
        self.page = page
        self.fake = fake
        self.box = page.locator("#message textarea")
        self.reply = page.locator("#transcript .message:not(.thought) > [data-testid=bot]").last
        self.footer = page.locator("#transcript .thought-group").last
        self.problem = page.locator("#notice .problem")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def send(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def finished(self) -> None:
        expect(self.page.locator("#message .submit-button")).to_be_visible()


@pytest.fixture(scope="module")
def server(browser: Browser) -> Iterator[tuple[FakePlayground, str]]:
    fake = FakePlayground()
    playground = cast(Playground, fake)
    rehearsal = Rehearsal(playground, SETTINGS)
    rehearsal.examples = EXAMPLES[:1]
    rehearsal.run()  # of two examples one is kept
    rehearsal.examples = EXAMPLES
    demo = build_app(playground, SETTINGS, rehearsal)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(demo))
    yield fake, url
    demo.close()


@pytest.fixture
def open_stage(
    server: tuple[FakePlayground, str], new_context: Callable[..., BrowserContext]
) -> Callable[..., Stage]:
    fake, url = server
    fake.reset()

    def open_page(**options: object) -> Stage:
        page = new_context(**options).new_page()
        page.goto(url)
        stage = Stage(page, fake)
        expect(stage.box).to_be_visible()
        expect(page.locator("#qr-code p")).to_be_attached()  # the page's events reach the server
        return stage

    return open_page


@pytest.fixture
def stage(open_stage: Callable[..., Stage]) -> Stage:
    return open_stage()


def test_an_example_is_answered_at_once_and_says_that_it_was_kept(stage: Stage) -> None:
    expect(stage.page.get_by_role("heading", name="Meet Gemma", exact=True)).to_be_visible()
    stage.page.get_by_role("button", name=EXAMPLES[0]).click()
    expect(stage.reply).to_contain_text("A short reply.")
    expect(stage.footer).to_contain_text("Cached answer")
    assert stage.fake.requests == []
    stage.button("Ask live").click()
    expect(stage.footer).to_contain_text("Ended its turn")
    expect(stage.button("Ask live")).to_be_hidden()
    (asked,) = stage.fake.requests
    assert [message.content for message in asked.messages] == [EXAMPLES[0]]
    assert asked.controls.temperature is None  # the model's own settings, not the greedy ones
    stage.button("Start over").click()
    expect(stage.page.get_by_role("button", name=EXAMPLES[1])).to_be_visible()


def test_an_example_without_an_answer_is_asked_live(stage: Stage) -> None:
    stage.page.get_by_role("button", name=EXAMPLES[1]).click()
    expect(stage.footer).to_contain_text("Ended its turn")
    assert len(stage.fake.requests) == 1


def test_a_conversation_goes_on_from_a_kept_answer(stage: Stage) -> None:
    stage.page.get_by_role("button", name=EXAMPLES[0]).click()
    expect(stage.footer).to_contain_text("Cached answer")
    stage.send("And then?")
    expect(stage.footer).to_contain_text("Ended its turn")
    asked = [message.content for message in stage.fake.requests[-1].messages]
    assert asked == [EXAMPLES[0], "A short reply.", "And then?"]


def test_who_waits_sees_their_place_and_may_leave(stage: Stage) -> None:
    stage.fake.places, stage.fake.seconds = (3,) * 200, 0.1
    stage.send("Hello")
    expect(stage.footer).to_contain_text("Waiting: 2 before you")
    stage.page.locator("#message .stop-button").click()
    stage.finished()
    expect(stage.footer).to_have_count(0)
    expect(stage.button("Start over")).to_be_visible()


def test_a_full_room_and_an_error_lose_no_text(stage: Stage) -> None:
    stage.fake.refusal = BusyError("Too many people are asking right now.", "Try again.")
    stage.send("Let me in")
    expect(stage.problem).to_contain_text("Too many people are asking right now. Try again")
    expect(stage.box).to_have_value("Let me in")
    stage.fake.refusal = None
    stage.fake.fail_after, stage.fake.words = 2, ("Two ", "words ", "and more")
    stage.box.press("Enter")
    expect(stage.problem).to_contain_text("stumbled")
    expect(stage.reply).to_contain_text("Two words")
    stage.fake.fail_after = None
    stage.button("Continue").click()
    expect(stage.footer).to_contain_text("Ended its turn")
    assert stage.fake.requests[-1].reply_prefix.startswith("Two words")


TOLD = """() => {
  let told = null;
  GemmaSpace.view.tellAddress((name, data) => { told = data; });
  return told;
}"""


def test_the_code_is_of_the_address_that_the_browser_sees(stage: Stage) -> None:
    page = stage.page
    expect(page.locator("#qr-code")).to_contain_text("this machine alone")  # a loopback address
    own = page.url
    page.goto(own + "?__theme=light&code=secret#x")
    expect(stage.box).to_be_visible()
    assert page.evaluate(TOLD) == {"address": own}


@pytest.mark.parametrize(
    ("size", "scheme"),
    [((1280, 820), "light"), ((1920, 1080), "dark"), ((390, 800), "dark")], ids=str,
)  # fmt: skip
def test_it_fits_every_screen_in_large_type(
    size: tuple[int, int], scheme: str, open_stage: Callable[..., Stage]
) -> None:
    width, height = size
    stage = open_stage(viewport={"width": width, "height": height}, color_scheme=scheme)
    stage.page.get_by_role("button", name=EXAMPLES[0]).click()
    expect(stage.footer).to_contain_text("Cached answer")
    assert stage.page.evaluate("document.documentElement.scrollWidth") == width
    for shown in (stage.box, stage.button("Ask live"), stage.reply):
        expect(shown).to_be_in_viewport(ratio=0.9)
    pixels = "(e) => parseFloat(getComputedStyle(e.querySelector('p')).fontSize)"
    assert stage.reply.evaluate(pixels) >= {390: 19, 1280: 22, 1920: 32}[width]
