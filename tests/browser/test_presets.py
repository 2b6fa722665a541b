"""The generation settings: presets, saved ones, marks on what was changed, the last seed."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.chat_page import ChatPage, settled
from tests.browser.fake_playground import FakePlayground

PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True}
PREFIX = "gemma-space:preset:"
TEAM = "Model team's recommendation"


class Settings:
    """The settings of the Prompt tab, as a person uses them."""

    def __init__(self, chat: ChatPage) -> None:
        self.chat, self.page = chat, chat.page
        self.root = self.page.locator("#prompt-settings")

    def open(self) -> "Settings":
        self.page.get_by_role("tab", name="Prompt").click()
        self.root.get_by_role("button", name="Generation settings").click()
        expect(self.select).to_be_visible()
        settled(self.number("Temperature"))
        return self

    @property
    def select(self) -> Locator:
        return self.root.get_by_label("Preset")

    @property
    def line(self) -> Locator:
        return self.root.get_by_role("status")

    @property
    def seed(self) -> Locator:
        return self.root.get_by_label("Seed")

    def number(self, label: str) -> Locator:
        return self.root.get_by_label(f"number input for {label}")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def control(self, name: str) -> Locator:
        return self.root.locator(f".control-{name}")

    def shows(self, preset: str) -> None:
        expect(self.select.locator("option:checked")).to_have_text(preset)

    def choose(self, preset: str) -> None:
        self.select.select_option(label=preset)

    def set(self, label: str, value: str) -> None:
        self.number(label).fill(value)
        self.number(label).press("Tab")

    def save(self, name: str) -> None:
        self.button("Save as…").click()
        self.root.get_by_label("Name", exact=True).fill(name)
        self.root.get_by_label("Name", exact=True).press("Enter")

    def names(self) -> list[str]:
        return self.select.locator("option").all_inner_texts()[1:]  # without Custom


@pytest.fixture
def settings(chat: ChatPage) -> Settings:
    return Settings(chat).open()


@pytest.fixture
def opened(fake: FakePlayground, open_chat: Callable[..., ChatPage]) -> Callable[..., Settings]:
    """Open the settings in a browser whose storage holds `kept` already."""

    def open_with(kept: dict[str, str], **options: object) -> Settings:
        chat = open_chat(**options)
        chat.page.evaluate(
            "(kept) => Object.entries(kept).forEach(([k, v]) => localStorage.setItem(k, v))",
            {PREFIX + name: text for name, text in kept.items()},
        )
        return Settings(chat).open()  # nothing has looked there before

    return open_with


def test_a_preset_sets_the_sampling_and_nothing_else(
    settings: Settings, fake: FakePlayground
) -> None:
    settings.shows(TEAM)
    settings.set("Max new tokens", "99")
    settings.seed.fill("5")
    settings.choose("Creative")
    expect(settings.number("Temperature")).to_have_value("1.3")
    expect(settings.line).to_contain_text("min-p")
    settings.shows("Creative")
    settings.chat.button("Run").click()
    expect(settings.page.locator("#completion textarea")).to_have_value("A short reply.")
    used = fake.completions[-1].controls
    assert (used.temperature, used.min_p, used.top_p, used.top_k) == (1.3, 0.1, 1.0, 0)
    assert (used.max_new_tokens, used.seed, used.stop) == (99, 5, ())
    settings.choose("Precise")
    expect(settings.number("Temperature")).to_have_value("0")
    settings.choose(TEAM)
    expect(settings.number("Temperature")).to_have_value("1")


def test_a_moved_control_is_marked_and_makes_the_preset_custom(settings: Settings) -> None:
    expect(settings.root.locator("[data-changed]")).to_have_count(0)
    settings.set("Temperature", "0.4")
    settings.shows("Custom")
    expect(settings.control("temperature")).to_have_attribute("data-changed", "")
    expect(settings.control("top_p")).not_to_have_attribute("data-changed", "")
    settings.seed.fill("3")
    expect(settings.control("seed")).to_have_attribute("data-changed", "")
    settings.set("Temperature", "1")
    settings.shows(TEAM)
    expect(settings.control("temperature")).not_to_have_attribute("data-changed", "")
    settings.button("Back to the model's defaults").click()
    expect(settings.root.locator("[data-changed]")).to_have_count(0)


def test_what_is_folded_away_is_marked_too(settings: Settings) -> None:
    settings.choose("Creative")
    fold = settings.root.locator(".advanced .label-wrap > span").first
    expect(fold).to_have_attribute("data-changed", "1 changed")
    settings.root.get_by_role("button", name="Advanced").click()
    expect(settings.control("min_p")).to_have_attribute("data-changed", "")
    settings.root.get_by_label("Stop strings").fill("END")
    settings.root.get_by_label("Ignore the end-of-turn token").check()
    expect(fold).to_have_attribute("data-changed", "3 changed")


def test_another_model_brings_its_own_recommendation(settings: Settings) -> None:
    settings.choose("Creative")
    settings.chat.choose_model("Scripted Base")
    expect(settings.number("Temperature")).to_have_value("0")
    settings.shows(TEAM)
    expect(settings.control("temperature")).to_contain_text("default 0.")
    expect(settings.root.locator("[data-changed]")).to_have_count(0)


def test_a_saved_preset_survives_a_reload_and_is_in_both_tabs(settings: Settings) -> None:
    settings.set("Temperature", "0.4")
    settings.save("  Mine   <b>&  ")
    expect(settings.line).to_have_text("Saved “Mine <b>&” in this browser.")
    settings.shows("Mine <b>&")
    settings.chat.reload()
    settings.page.get_by_role("tab", name="Chat").click()
    settings.chat.open_settings()
    there = settings.page.locator("#settings")
    there.get_by_label("Preset").select_option(label="Mine <b>&")
    expect(there.get_by_label("number input for Temperature")).to_have_value("0.4")
    settings.open()
    assert settings.names()[-1] == "Mine <b>&"
    settings.shows(TEAM)


def test_a_saved_preset_can_be_replaced_and_deleted(settings: Settings) -> None:
    settings.set("Temperature", "0.4")
    settings.save("Mine")
    expect(settings.button("Delete")).to_be_enabled()
    settings.set("Temperature", "0.6")
    settings.shows("Custom")
    settings.button("Save as…").click()
    expect(settings.root.get_by_label("Name", exact=True)).to_have_value("Mine")
    settings.button("Replace").click()
    settings.shows("Mine")
    settings.button("Delete").click()
    expect(settings.root.get_by_text("Delete “Mine”?")).to_be_visible()
    settings.button("Keep").click()
    settings.button("Delete").click()
    settings.button("Delete").click()
    expect(settings.line).to_have_text("Deleted “Mine”.")
    settings.shows("Custom")
    expect(settings.button("Delete")).to_be_disabled()
    assert "Mine" not in settings.names()
    expect(settings.number("Temperature")).to_have_value("0.6")


def test_a_name_is_needed_and_built_in_ones_are_taken(settings: Settings) -> None:
    settings.save("   ")
    expect(settings.line).to_have_text("Give the preset a name first.")
    name = settings.root.get_by_label("Name", exact=True)
    name.fill("Precise")
    name.press("Enter")
    expect(settings.line).to_have_text("“Precise” is built in. Choose another name.")
    name.press("Escape")
    expect(settings.select).to_be_focused()
    settings.save("n" * 99)
    settings.shows("n" * 60)


def test_fifty_are_kept(opened: Callable[..., Settings]) -> None:
    text = json.dumps({"version": 1, "values": {"top_k": 9}})
    settings = opened({f"P{n:02}": text for n in range(50)})
    settings.save("One more")
    expect(settings.line).to_have_text("At most 50 presets are kept. Delete one first.")
    assert len(settings.names()) == 54


def test_damaged_entries_are_left_out(opened: Callable[..., Settings]) -> None:
    odd = ["", "{", "null", "5", "[]", '"x"', "{}", '{"values": null}', '{"values": []}',
           '{"values": {"top_k": "9"}}', '{"values": {"top_k": 9, "min_p": null}}',
           '{"values": {"top_k": 1e999}}', '{"values": {"seed": 7}}']  # fmt: skip
    kept = {f"Bad {at}": text for at, text in enumerate(odd)}
    good = json.dumps({"values": {"top_k": 9, "max_new_tokens": 1, "seed": 3, "__proto__": 1}})
    settings = opened({**kept, "Good": good, "n" * 61: good, " ": good})
    assert settings.names() == [TEAM, "Precise", "Balanced", "Creative", "Good"]
    settings.choose("Good")
    expect(settings.number("Top-k")).to_have_value("9")
    expect(settings.number("Max new tokens")).to_have_value("512")
    expect(settings.seed).to_have_value("")
    assert settings.page.evaluate(f"localStorage.getItem('{PREFIX}Bad 1')") == "{"


def test_a_saved_value_out_of_range_becomes_the_nearest(opened: Callable[..., Settings]) -> None:
    values = {"top_k": 5000, "temperature": 0.5}
    settings = opened({"Far": json.dumps({"values": values})})
    settings.choose("Far")
    expect(settings.line).to_have_text("Out of range, so set to the nearest value: Top-k.")
    expect(settings.number("Top-k")).to_have_value("1000")
    settings.shows("Custom")


def test_the_last_seed_can_be_pinned_and_let_go(settings: Settings, fake: FakePlayground) -> None:
    expect(settings.button("Pin the last seed")).to_be_disabled()
    settings.chat.button("Run").click()
    settings.button("Pin seed 7").click()
    expect(settings.seed).to_have_value("7")
    settings.chat.button("Run").click()
    settings.chat.until(lambda: len(fake.completions) == 2)
    expect(settings.chat.button("Run")).to_be_enabled()
    assert [request.controls.seed for request in fake.completions] == [None, 7]
    settings.button("Random").click()
    expect(settings.seed).to_have_value("")


def test_the_chat_offers_its_seed_too(chat: ChatPage) -> None:
    chat.ask("Hello")
    chat.open_settings()
    chat.button("Pin seed 7").click()
    expect(chat.page.locator("#settings").get_by_label("Seed")).to_have_value("7")


def below(settings: Settings, control: Locator) -> float:
    """How far down in the settings a control is, wherever the page is scrolled to."""
    there, top = control.bounding_box(), settings.root.bounding_box()
    assert there is not None
    assert top is not None
    return there["y"] - top["y"]


def test_on_a_phone_nothing_moves_or_overflows(opened: Callable[..., Settings]) -> None:
    values = json.dumps({"values": {"top_k": 9}})
    settings = opened({"n" * 60: values}, **PHONE)
    page, slider = settings.page, settings.control("temperature")
    before = below(settings, slider)
    for preset in settings.names():
        settings.choose(preset)
        settings.shows(preset)
        assert below(settings, slider) == before
    settings.button("Save as…").click()
    assert below(settings, slider) == before
    settings.root.get_by_label("Name", exact=True).press("Escape")
    settings.root.get_by_role("button", name="Advanced").click()
    expect(settings.root.get_by_label("Ignore the end-of-turn token")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_by_keyboard(settings: Settings) -> None:
    settings.select.focus()
    settings.page.keyboard.press("ArrowDown")
    settings.shows("Precise")
    expect(settings.number("Temperature")).to_have_value("0")
    expect(settings.select).to_be_focused()
    settings.page.keyboard.press("Tab")
    settings.page.keyboard.press("Enter")
    settings.page.keyboard.type("Typed")
    settings.page.keyboard.press("Tab")
    settings.page.keyboard.press("Enter")
    settings.shows("Typed")
    expect(settings.select).to_be_focused()
