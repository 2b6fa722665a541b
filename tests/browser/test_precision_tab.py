"""The Precision tab on the demo checkpoint: measured, stopped, saved, and read on a phone."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from gemma_space import prompt_set
from gemma_space.playground import Playground
from tests.browser.chat_page import ChatPage, settled, until
from tests.browser.fake_playground import FakePlayground
from tests.browser.test_about import FILLS
from tests.browser.test_looks import CONTRAST, PHONE

SHORT = "Gemma is a family of open models.\n\nA token is a piece of text."
LONG = "\n\n".join([SHORT] * 30)
READABLE = (
    ".verdict", ".figure-told", ".bars-key li", ".measure figcaption", ".measure figcaption b",
    ".numbers caption", ".numbers th", ".numbers td", ".downloads a", ".worst .before",
    ".worst mark", ".worst code", ".precision-report summary", ".precision-report dd",
)  # fmt: skip


def open_tab(chat: ChatPage) -> Page:
    chat.page.get_by_role("tab", name="Precision").click()
    expect(measure(chat.page)).to_be_visible()
    return chat.page


def measure(page: Page) -> Locator:
    return page.locator("#measure")


def texts(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Texts")


def unfold(page: Page) -> None:
    page.get_by_role("button", name="The texts").click()
    settled(texts(page))


def ready(page: Page, text: str = SHORT) -> None:
    unfold(page)
    texts(page).fill(text)
    page.get_by_label("int8", exact=True).last.uncheck()


def result(page: Page) -> Locator:
    return page.locator(".precision-report")


def test_it_is_measured_and_saved(
    real_chat: ChatPage, tmp_path: Path, real_server: tuple[Playground, str]
) -> None:
    page = open_tab(real_chat)
    ready(page)
    measure(page).click()
    expect(measure(page)).to_be_disabled()
    expect(page.locator("#report-progress [role=status]")).to_be_visible()
    expect(result(page)).to_contain_text(re.compile(r"Against bf16, int4 loses \w+"),
                                         timeout=90_000)  # fmt: skip
    expect(measure(page)).to_be_enabled()
    expect(page.locator("#report-progress")).not_to_contain_text("…")
    expect(result(page).get_by_role("img")).to_have_count(5)
    for kind in ("CSV", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("link", name=f"Download as {kind}").click()
        assert download.value.suggested_filename == f"gemma-space-demo-precision.{kind.lower()}"
        download.value.save_as(tmp_path / kind)
    lines = list(csv.DictReader((tmp_path / "CSV").read_text().splitlines()))
    told = json.loads((tmp_path / "JSON").read_text())
    assert [line["precision"] for line in lines] == ["bf16", "int4"]
    assert told["verdict"] == page.locator(".verdict").inner_text()
    row = result(page).get_by_role("row", name=re.compile("Mean KL")).get_by_role("cell")
    shown = row.last.inner_text().partition(" ")[0]
    assert float(shown) == pytest.approx(float(lines[1]["mean_kl_nats"]), rel=0.01)
    result(page).get_by_text("Where int4 strays most").click()
    expect(result(page).get_by_role("table").nth(1).get_by_role("row")).to_have_count(11)
    expect(page.locator(".status-card")).to_contain_text("int4")  # the sidebar knows


def test_cancel_stops_it_and_frees_everything(
    real_chat: ChatPage, real_server: tuple[Playground, str]
) -> None:
    page = open_tab(real_chat)
    ready(page, LONG)
    measure(page).click()
    progress = page.locator("#report-progress")
    expect(progress).to_contain_text(re.compile(r"text \d+ of 60"), timeout=60_000)
    page.locator("#cancel-report").click()
    expect(progress).to_contain_text("Stopped.")
    expect(measure(page)).to_be_enabled()
    expect(page.locator("#cancel-report")).to_be_disabled()
    library = real_server[0].library
    until(page, lambda: not any(row.leases for row in library.status().loaded))
    until(page, lambda: library.status().queue == 0)


@pytest.mark.parametrize("options", [{}, {**PHONE, "color_scheme": "dark"}],
                         ids=["desktop", "dark-phone"])  # fmt: skip
def test_it_can_be_read(
    options: dict[str, object], real_server: tuple[Playground, str],
    new_context: Callable[..., BrowserContext],
) -> None:  # fmt: skip
    page = open_tab(ChatPage(new_context(**options).new_page(), real_server[1]).open())
    ready(page)
    measure(page).click()
    expect(page.locator(".verdict")).to_be_visible(timeout=90_000)
    for fold in result(page).locator("summary").all():
        fold.click()
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert result(page).evaluate("one => one.scrollWidth - one.clientWidth") == 0
    found = {selector: page.evaluate(CONTRAST, selector) for selector in READABLE}
    assert None not in found.values()
    found |= {one: page.evaluate(FILLS, f".measure {one}") for one in (".bar-name", ".bar-value")}
    assert {selector: ratio for selector, ratio in found.items() if ratio < 4.5} == {}
    edge = result(page).evaluate("one => one.getBoundingClientRect().right")
    for value in page.locator(".measure .bar-value").all():
        box = value.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= edge + 0.5


# --- what is asked for --------------------------------------------------------------------------


def put(page: Page, name: str, data: bytes) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a text file…").click()
    file = {"name": name, "mimeType": "text/plain", "buffer": data}
    chooser.value.set_files([file])  # type: ignore[list-item]


def test_files(chat: ChatPage, fake: FakePlayground) -> None:
    page = open_tab(chat)
    unfold(page)
    first = prompt_set.shipped()
    expect(texts(page)).to_have_value(first)
    put(page, "<mine>.txt", "\ufeffone\r\n\r\nzwei, größer\r\n".encode())
    expect(page.locator("#opened-texts")).to_contain_text("2 texts from <mine>.txt.")
    expect(texts(page)).to_have_value(re.compile("^one\\s+zwei, größer\\s*$"))
    for name, data, words in (
        ("empty.txt", b" \n\n", "There are no texts to measure with."),
        ("image.png", b"\x89PNG\r\n\x1a\n\xff", "This file is no text in UTF-8."),
        ("binary.txt", b"a\x00b", "it holds control characters"),
        ("large.txt", b"x" * 400_001, "larger than 400 KB"),
        ("long.txt", b"x" * 100_001, "100,001 characters"),
    ):
        put(page, name, data)
        expect(page.locator("#report-texts")).to_contain_text(words)
        expect(texts(page)).to_have_value(re.compile("zwei"))
    page.get_by_role("button", name="Back to the first texts").click()
    expect(texts(page)).to_have_value(first)


def test_a_file_is_dropped(chat: ChatPage, fake: FakePlayground) -> None:
    page = open_tab(chat)
    unfold(page)
    transfer = page.evaluate_handle(
        """() => { const data = new DataTransfer();
        data.items.add(new File(["dropped\\n\\nhere"], "a.txt")); return data; }"""
    )
    texts(page).dispatch_event("drop", {"dataTransfer": transfer})
    expect(texts(page)).to_have_value("dropped\n\nhere")
    expect(page.locator("#opened-texts")).to_contain_text("2 texts from a.txt.")


def test_what_is_offered_follows_the_model(chat: ChatPage, fake: FakePlayground) -> None:
    page = open_tab(chat)
    compared = page.locator("#report-candidates")
    expect(compared.get_by_label("int4")).to_be_checked()
    expect(compared.get_by_label("bf16")).to_have_count(0)
    page.locator("#report-reference").get_by_label("int8").check()
    expect(compared.get_by_label("bf16")).to_be_visible()
    expect(compared.get_by_label("int8")).to_have_count(0)
    expect(compared.get_by_label("int4")).to_be_checked()
    chat.choose_model("Scripted Eight")
    expect(page.get_by_text("quantized", exact=False).last).to_be_visible()
    expect(measure(page)).to_be_disabled()
    chat.choose_model("Scripted Large")
    expect(measure(page)).to_be_enabled()
    expect(compared.get_by_label("int4")).to_be_checked()


def test_what_goes_wrong_is_said_in_its_place(chat: ChatPage, fake: FakePlayground) -> None:
    page = open_tab(chat)
    unfold(page)
    texts(page).fill("")
    measure(page).click()
    expect(page.locator("#report-progress").get_by_role("alert")).to_contain_text(
        "There are no texts to measure with."
    )
    expect(measure(page)).to_be_enabled()
