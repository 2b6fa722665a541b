"""The Compare tab on the demo checkpoint, its precisions and its adapter."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from gemma_space.playground import Playground
from tests.browser.chat_page import SETTLE_MS, ChatPage, settled
from tests.browser.test_looks import CONTRAST, PHONE

QUESTION = "What is a token?"
FIGURES = ("First token", "Speed", "Memory", "Prompt", "Completion")
NAMES = re.compile(r"Demo|pirate|bf16|fp32|int8|MiB|tokens/s|First token", re.IGNORECASE)


def open_compare(page: Page, length: int = 24) -> Page:
    """The tab, greedy and short."""
    page.get_by_role("tab", name="Compare").click()
    expect(page.locator("#compare-text textarea")).to_be_visible()
    fold = page.get_by_role("button", name="Settings of all columns")
    fold.click()
    settled(page.locator("#compare-settings").get_by_label("number input for Max new tokens"))
    for label, value in (("Temperature", "0"), ("Max new tokens", str(length))):
        number = page.locator("#compare-settings").get_by_label(f"number input for {label}")
        number.fill(value)
        number.press("Enter")
    fold.click()
    return page


@pytest.fixture
def page(real_chat: ChatPage) -> Page:
    return open_compare(real_chat.page)


def columns(page: Page) -> Locator:
    return page.locator(".compared")


def texts(page: Page) -> list[str]:
    return [place.inner_text() for place in page.locator(".compared-text").all()]


def run(page: Page, text: str = QUESTION) -> None:
    page.locator("#compare-text textarea").fill(text)
    page.locator("#compare-run").click()
    expect(columns(page).first).to_be_visible()
    finished(page)


def finished(page: Page) -> None:
    expect(page.locator("#compare-run")).to_be_enabled(timeout=90_000)
    expect(page.locator("#compare-places .hint")).to_have_count(0)


def choose(page: Page, column: int, title: str) -> None:
    page.locator("#compare-setups").get_by_label("Checkpoint").nth(column).click()
    page.get_by_role("option", name=title).click()


def test_two_columns_stream_and_where_they_part_is_marked(page: Page, tmp_path: Path) -> None:
    page.locator("#compare-text textarea").fill(QUESTION)
    page.locator("#compare-run").click()
    expect(columns(page).first.locator(".reason")).to_have_text("Reached the token limit")
    finished(page)
    first, second = columns(page).all()
    expect(first.locator("header")).to_contain_text("Gemma Space Demo · bf16")
    expect(second.locator("header")).to_contain_text("Demo as a pirate · bf16")
    same = re.search(r"Same as A for ([\d,]+) tokens?, then", second.inner_text())
    assert same is not None
    for column in (first, second):
        expect(column.locator("mark")).not_to_be_empty()
        for figure in FIGURES:
            expect(column.locator("dl")).to_contain_text(figure)
        expect(column.locator(".reason")).to_have_text("Reached the token limit")
    ours, theirs = texts(page)
    marked = first.locator("mark").inner_text()
    assert ours.endswith(marked)
    kept = len(ours) - len(marked)
    assert ours[:kept] == theirs[:kept]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    second.get_by_role("button", name="Copy").click()
    expect(second.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == theirs
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as Markdown").click()
    download.value.save_as(tmp_path / "comparison.md")
    assert theirs in (tmp_path / "comparison.md").read_text(encoding="utf-8")


def test_one_model_in_every_precision_and_a_follow_up(page: Page) -> None:
    page.get_by_role("button", name="Model 1 in every precision").click()
    expect(page.locator(".compare-setup")).to_have_count(4)
    page.locator(".compare-setup").nth(3).get_by_role("button", name="Remove").click()
    expect(page.locator(".compare-setup")).to_have_count(3)
    run(page)
    shown = [column.inner_text() for column in columns(page).all()]
    assert len(shown) == 3
    for name, words in zip(("fp32", "bf16", "int8"), shown, strict=True):
        assert name in words.splitlines()[1]
    memory = [re.search(r"Memory\s+([\d.]+) MiB", words) for words in shown]
    sizes = [float(found[1]) for found in memory if found]
    assert sizes[0] > sizes[1] > sizes[2]
    follow_up = page.locator("#compare-follow-up textarea")
    follow_up.fill("Tell me more.")
    follow_up.press("Enter")
    expect(page.locator(".compared-exchange")).to_have_count(6)
    finished(page)
    for column in columns(page).all():
        expect(column.locator(".compared-asked").last).to_have_text("Tell me more.")
        expect(column.locator(".compared-text")).to_have_count(2)
    prompts = page.locator(".compared-figures dd").filter(has_text=re.compile(r"^\d+ tokens")).all()
    assert int(prompts[0].inner_text().split()[0]) > 30, "the first exchange is part of it"


def test_a_blind_vote_and_what_the_votes_add_up_to(page: Page, tmp_path: Path) -> None:
    page.get_by_label("Blind").check()
    page.locator("#compare-text textarea").fill(QUESTION)
    page.locator("#compare-run").click()
    expect(page.locator(".compared-text").first).to_be_visible(timeout=90_000)
    assert not NAMES.search(page.locator("#compare-places").inner_html()), "while they write"
    finished(page)
    expect(page.locator("#compare-verdicts")).to_be_visible()
    assert not NAMES.search(page.locator("#compare-places").inner_html())
    expect(page.get_by_role("button", name="Save as JSON")).to_be_hidden()
    page.get_by_role("button", name="B is better").click()
    who = page.locator(".compared-who")
    expect(who.first).to_contain_text("Model ")
    better = "demo-pirate" if "pirate" in who.nth(1).inner_text() else "demo"
    votes = page.locator("#compare-votes")
    expect(votes.locator("tbody tr")).to_have_count(2)
    expect(votes.locator("tbody tr").first).to_contain_text(f"gemma-space/{better} bf16")
    expect(page.locator("#compare-verdicts")).to_be_hidden()
    with page.expect_download() as download:
        votes.get_by_role("button", name="Save votes as CSV").click()
    download.value.save_as(tmp_path / "votes.csv")
    with (tmp_path / "votes.csv").open(encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["model"], first["better"], first["blind"]) == (f"gemma-space/{better}", "1", "1")
    assert second["worse"] == "1"


def test_stop_ends_all_columns_and_a_refusal_is_told_in_its_own(page: Page) -> None:
    page.get_by_role("button", name="Add a column").click()
    expect(page.locator(".compare-setup")).to_have_count(3)
    name = page.locator("#compare-setups").get_by_label("Checkpoint").nth(2)
    name.fill("no such model")
    name.press("Enter")
    expect(page.locator(".compare-setup").nth(2).locator(".problem")).to_be_visible()
    settings = page.locator("#compare-settings")
    page.get_by_role("button", name="Settings of all columns").click()
    number = settings.get_by_label("number input for Max new tokens")
    number.fill("1500")
    number.press("Enter")
    settings.get_by_role("button", name="Advanced").click()
    settings.get_by_label("Ignore the end-of-turn token").check()
    page.locator("#compare-text textarea").fill(QUESTION)
    page.locator("#compare-run").click()
    expect(page.locator(".compared-text")).to_have_count(2)
    expect(columns(page).nth(2).locator(".problem")).to_contain_text("no such model")
    page.locator("#compare-stop").click()
    expect(page.locator("#compare-run")).to_be_enabled()
    expect(page.locator(".compared .reason")).to_have_text(["Stopped by you"] * 2)
    expect(page.get_by_role("button", name="is better")).to_have_count(2)


def test_columns_stack_on_a_phone_and_can_be_read_in_the_dark(
    real_server: tuple[Playground, str], new_context: Callable[..., BrowserContext]
) -> None:
    context = new_context(**PHONE, color_scheme="dark")
    chat = ChatPage(context.new_page(), real_server[1]).open()
    page = open_compare(chat.page)
    run(page, "What is a token? " + "w" * 200)
    page.get_by_role("button", name="Tie").click()
    expect(page.locator("#compare-votes tbody tr")).to_have_count(2)
    assert chat.scroll_width() == 390
    first, second = (column.bounding_box() for column in columns(page).all())
    assert first is not None
    assert second is not None
    assert second["y"] > first["y"] + first["height"]
    for part in (".compared-text mark", ".compared-parting", ".compared-who",
                 ".compared-figures dt", ".votes th span", ".compare-setup .hint"):  # fmt: skip
        assert page.evaluate(CONTRAST, part) >= 4.5, part


def test_what_is_chosen_elsewhere_stays_and_the_page_keeps_its_width(page: Page) -> None:
    choose(page, 0, "Demo as a pirate")
    run(page)
    expect(page.locator(".compared-parting")).to_contain_text("The same as A: all 24 tokens.")
    expect(page.locator("#model input")).to_have_value("Gemma Space Demo · demo")
    wide = page.locator("#tabs").bounding_box()
    page.get_by_role("tab", name="Chat").click()
    narrow = page.locator("#tabs").bounding_box()
    assert wide is not None
    assert narrow is not None
    assert narrow["width"] < wide["width"]


def test_walking_past_a_model_by_keyboard_changes_nothing(page: Page) -> None:
    setups = page.locator("#compare-setups")
    precision = setups.get_by_label("Precision").first
    precision.click()
    page.get_by_role("option", name="int8").click()
    expect(precision).to_have_value(re.compile("int8"))
    setups.get_by_label("Checkpoint").first.focus()
    page.keyboard.press("Tab")
    page.wait_for_timeout(SETTLE_MS)  # what the list says as it is left has been answered
    expect(precision).to_be_focused()
    expect(precision).to_have_value(re.compile("int8"))
