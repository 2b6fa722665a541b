"""The README's pictures and a Space's, taken anew: `python -m tests.browser.pictures [NAME ...]`.

Serves the page on the demo checkpoint, with a Hub that knows no visitor, drives each tab in
Chromium and writes assets/screenshots/ and assets/thumbnail.png. Greedy replies and a fixed size,
so that a picture changes only when the page does; but figures about time and memory are this
machine's. Not a test.
"""

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from gemma_space.access import Access
from gemma_space.app import build_app, launch_options
from gemma_space.hub import Answer
from gemma_space.link_card import PICTURE
from gemma_space.playground import Playground
from gemma_space.rehearsal import Rehearsal
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from tests.browser.chat_page import SETTLE_MS, ChatPage
from tests.browser.conftest import CHROMIUM_OPTIONS, find_chromium, served
from tests.browser.models_page import ModelsPage
from tests.browser.test_looks import PHONE

ROOT = Path(__file__).resolve().parents[2]
DESKTOP = {"viewport": {"width": 1280, "height": 820}}
DARK = {"color_scheme": "dark"}
# 1200 by 630 pixels, in which everything is a little larger than on a screen.
THUMBNAIL = {"viewport": {"width": 1000, "height": 525}, "device_scale_factor": 1.2}
MOST_BYTES = 300_000
PATIENCE_MS = 240_000
QUESTION = "What is a token?"
RAW = f"<start_of_turn>user\n{QUESTION}<end_of_turn>\n<start_of_turn>model\n"
CARD_OF = "google/gemma-2-9b-it"
PRESENTER = Settings(
    presenter=True, presenter_title="Meet Gemma",
    presenter_examples=(QUESTION, "What is Gemma?", "Write me a poem about Machine Learning."),
)  # fmt: skip


# --- what is to be seen -------------------------------------------------------------------------


def greedy(page: Page, place: str, fold: str) -> None:
    """Have a tab's replies always be the same."""
    button = page.get_by_role("button", name=fold)
    button.click()
    page.wait_for_timeout(SETTLE_MS)
    number = page.locator(place).get_by_label("number input for Temperature")
    number.fill("0")
    number.press("Enter")
    page.locator(place).get_by_label("Seed").fill("7")
    button.click()


def chat(page: Page, url: str, *questions: str) -> ChatPage:
    """A conversation."""
    shown = ChatPage(page, url).open()
    greedy(page, "#settings", "System prompt and generation settings")
    for question in questions or ("What is Gemma?", "How do I get access to Gemma 2?"):
        shown.ask(question)
    expect(shown.footer).to_contain_text("tokens/s")
    return shown


def phone(page: Page, url: str) -> None:
    chat(page, url, "How do I get access to Gemma 2?")


def simple(page: Page, url: str) -> None:
    shown = chat(page, url, "What is Gemma?", "Can I use this on my laptop?")
    shown.button("Simple").click()


def xray(page: Page, url: str) -> None:
    shown = chat(page, url, "What is gating?")
    shown.button("What the model was given").click()
    expect(page.locator("#xray")).to_contain_text("tokens that produced this reply")


def prompt(page: Page, url: str) -> None:
    """The completion, coloured; its least likely token pressed."""
    ChatPage(page, url).open()
    page.get_by_role("tab", name="Prompt").click()
    box = page.get_by_role("textbox", name="Prompt", exact=True)
    expect(box).to_be_visible()
    greedy(page, "#prompt-settings", "Generation settings")
    box.fill(RAW)
    page.locator("#run").click()
    expect(page.locator("#completion-footer")).to_contain_text("Ended its turn")
    page.locator("#result-tabs").get_by_role("tab", name="Probabilities").click()
    tokens = page.locator("#probabilities [role=option]")
    expect(tokens.first).to_be_visible()
    tokens.nth(least_likely(page)).click()
    expect(page.locator("#likeliest")).to_contain_text("entropy")
    page.locator("#run").evaluate("one => one.scrollIntoView()")
    page.mouse.wheel(0, -150)


def least_likely(page: Page) -> int:
    """Which token of the completion was the furthest from certain."""
    labels = page.locator("#probabilities [role=option]").evaluate_all(
        "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    shares = [float(re.findall(r"([\d.]+) %", label)[-1]) for label in labels]
    return shares.index(min(shares))


def compare(page: Page, url: str) -> None:
    """The demo, as itself and as a pirate."""
    ChatPage(page, url).open()
    page.get_by_role("tab", name="Compare").click()
    expect(page.locator("#compare-text textarea")).to_be_visible()
    greedy(page, "#compare-settings", "Settings of all columns")
    page.locator("#compare-text textarea").fill("Which precision should I choose?")
    page.locator("#compare-run").click()
    expect(page.locator(".compared").first).to_be_visible()
    expect(page.locator("#compare-run")).to_be_enabled(timeout=PATIENCE_MS)
    expect(page.locator("#compare-places .hint")).to_have_count(0)
    page.locator("#compare-text").evaluate("one => one.scrollIntoView()")


def precision(page: Page, url: str) -> None:
    """A finished report of every precision, over the texts that ship."""
    ChatPage(page, url).open()
    page.get_by_role("tab", name="Precision").click()
    page.locator("#measure").click()
    expect(page.locator(".precision-report")).to_contain_text(re.compile(r"Against \w+, "))
    expect(page.locator(".precision-report")).to_contain_text("int4")
    expect(page.locator("#report-progress")).not_to_contain_text("…")
    page.locator(".precision-report").evaluate("one => one.scrollIntoView()")


def models(page: Page, url: str) -> None:
    shown = ModelsPage(ChatPage(page, url).open()).open()
    expect(shown.row(CARD_OF)).to_be_attached()


def card(page: Page, url: str) -> None:
    """What a model's own card says, with its benchmarks."""
    shown = ModelsPage(ChatPage(page, url).open()).open()
    page.get_by_label("Search").fill("gemma 2 9b instruct")
    shown.choose(CARD_OF, "int4")
    page.get_by_role("button", name="About this model").click()
    expect(page.locator(".about-card")).to_be_visible()
    page.locator(".about-card summary").first.click()


def presenter(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("#qr-code p")).to_be_attached()
    page.get_by_role("button", name=QUESTION).click()
    expect(page.locator("#transcript .thought-group").last).to_contain_text("Cached answer")


def space(page: Page, url: str) -> None:
    """What is seen small, beside a link."""
    chat(page, url, "What is Gemma?")
    page.get_by_role("log").evaluate("one => { one.scrollTop = 0; }")
    page.evaluate("window.scrollTo(0, 0)")


FILES = {"thumbnail": PICTURE}
Shot = tuple[Callable[[Page, str], object], dict[str, Any]]
PICTURES: dict[str, Shot] = {
    "chat-light": (chat, DESKTOP),
    "chat-dark": (chat, DESKTOP | DARK),
    "chat-phone": (phone, dict(PHONE)),
    "simple-light": (simple, DESKTOP),
    "xray-light": (xray, {"viewport": {"width": 1280, "height": 900}}),
    "prompt-light": (prompt, DESKTOP),
    "compare-light": (compare, DESKTOP),
    "precision-light": (precision, DESKTOP),
    "models-light": (models, DESKTOP),
    "card-light": (card, DESKTOP),
    "presenter-light": (presenter, DESKTOP),
    "thumbnail": (space, THUMBNAIL),
}


# --- how it is taken ----------------------------------------------------------------------------


def unknown(*_: object) -> Answer:
    """What the Hub says of a gated model to somebody without a token."""
    return Answer("no_token")


@contextmanager
def page_and_stage() -> Iterator[tuple[str, str]]:
    """The addresses of the playground and of the presenter's page, the model warm."""
    settings = Settings(own_login=False)
    playground = Playground(served_checkpoints(()), Access(probe=unknown), settings)
    rehearsal = Rehearsal(playground, PRESENTER)
    rehearsal.run()
    stage = build_app(playground, PRESENTER, rehearsal)
    _, stage_url, _ = stage.launch(prevent_thread_lock=True, quiet=True, **launch_options(stage))
    with served(playground, settings=settings) as url:
        yield url, stage_url
    stage.close()


def take(browser: Browser, name: str, url: str) -> None:
    """One picture, in a browser of its own."""
    drive, options = PICTURES[name]
    chosen: Any = options | {"locale": "en-US"}
    context = browser.new_context(**chosen)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    drive(page, url)
    page.evaluate("document.activeElement?.blur()")
    page.mouse.move(0, 0)
    page.wait_for_timeout(2 * SETTLE_MS)  # what glides has arrived
    file = ROOT / FILES.get(name, f"assets/screenshots/{name}.png")
    page.screenshot(path=file, animations="disabled", scale="device")
    context.close()
    size = file.stat().st_size
    print(
        f"{file.name}: {size / 1000:.0f} kB{' - too large' if size > MOST_BYTES else ''}",
        flush=True,
    )


def main() -> None:
    """Take all pictures, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(PICTURES))
    expect.set_options(timeout=PATIENCE_MS)
    names = parser.parse_args().names or list(PICTURES)
    with page_and_stage() as (url, stage_url), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_OPTIONS)
        for name in names:
            take(browser, name, stage_url if name.startswith("presenter") else url)
        browser.close()


if __name__ == "__main__":
    main()
