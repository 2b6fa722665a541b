"""What a run of the Prompt tab leaves: branches, a list of runs, scores, files, links.

On the demo checkpoint, greedy, so that what comes is known to come again.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from gemma_space import share_link
from gemma_space.playground import Playground
from gemma_space.types import Controls
from tests.browser.chat_page import ChatPage, settled
from tests.browser.test_looks import CONTRAST
from tests.browser.test_prompt_tab import completion, footer, open_tab, prompt

QUESTION = "<start_of_turn>user\nWhat is a token?<end_of_turn>\n<start_of_turn>model\n"
ENDED = re.compile("Ended its turn|Reached the token limit")


@pytest.fixture
def tab(real_chat: ChatPage) -> ChatPage:
    open_tab(real_chat)
    settings = real_chat.page.locator("#prompt-settings")
    real_chat.page.get_by_role("button", name="Generation settings").click()
    settled(settings.get_by_label("number input for Max new tokens"))
    fill(settings, "Temperature", "0")
    fill(settings, "Max new tokens", "24")
    return real_chat


def fill(settings: Locator, label: str, value: str) -> None:
    number = settings.get_by_label(f"number input for {label}")
    number.fill(value)
    number.press("Enter")


def run(tab: ChatPage, text: str = QUESTION) -> str:
    prompt(tab).fill(text)
    tab.page.locator("#run").click()
    return finished(tab)


def finished(tab: ChatPage) -> str:
    expect(tab.page.locator("#run")).to_be_enabled(timeout=60_000)
    expect(footer(tab)).to_contain_text(ENDED)
    return completion(tab).input_value()


def result_tab(tab: ChatPage, name: str) -> None:
    tab.page.locator("#result-tabs").get_by_role("tab", name=name).click()


def runs_of(tab: ChatPage) -> Locator:
    return tab.page.locator("#runs").get_by_role("radio")


def test_another_token_becomes_a_branch_and_the_first_run_stays(tab: ChatPage) -> None:
    first = run(tab)
    result_tab(tab, "Probabilities")
    tokens = tab.page.locator("#probabilities [role=option]")
    expect(tokens.first).to_be_visible()
    tokens.nth(3).click()
    others = tab.page.locator("#likeliest")
    wanted = others.locator("button").first
    expect(wanted).to_have_text("Continue from here")
    wanted.click()
    result_tab(tab, "Text")
    expect(completion(tab)).not_to_have_value(first)
    branch = finished(tab)
    assert branch != first
    assert branch[:2] == first[:2], "it begins as the other did"
    expect(footer(tab)).to_contain_text("19 prompt + ")
    expect(runs_of(tab)).to_have_count(2)
    runs_of(tab).first.check()
    expect(completion(tab)).to_have_value(first)
    runs_of(tab).nth(1).check()
    expect(completion(tab)).to_have_value(branch)
    tab.page.locator("#undo-run").click()
    expect(completion(tab)).to_have_value(first)
    expect(tab.page.locator("#runs")).to_be_hidden()


def test_undo_brings_the_prompt_back_too(tab: ChatPage) -> None:
    first = run(tab)
    run(tab, "Gemma Space is")
    expect(runs_of(tab)).to_have_count(2)  # what the first one left looks finished too
    tab.page.locator("#undo-run").click()
    expect(completion(tab)).to_have_value(first)
    expect(prompt(tab)).to_have_value(QUESTION)
    tab.page.locator("#undo-run").click()
    expect(completion(tab)).to_have_value("")
    expect(tab.page.locator("#undo-run")).to_be_disabled()
    expect(prompt(tab)).to_have_value(QUESTION)


def test_a_run_that_was_stopped_is_kept_as_far_as_it_came(tab: ChatPage) -> None:
    settings = tab.page.locator("#prompt-settings")
    fill(settings, "Max new tokens", "1500")
    settings.get_by_role("button", name="Advanced").click()
    settings.get_by_label("Ignore the end-of-turn token").check()
    prompt(tab).fill(QUESTION)
    tab.page.locator("#run").click()
    expect(completion(tab)).not_to_have_value("")
    tab.page.locator("#stop").click()
    expect(footer(tab)).to_contain_text("Stopped by you")
    expect(settings.get_by_role("button", name=re.compile(r"Pin seed \d+"))).to_be_enabled()
    text = completion(tab).input_value()
    result_tab(tab, "Probabilities")
    expect(tab.page.locator("#probabilities [role=option]").first).to_be_visible()
    assert text


def test_a_score_tells_perplexity_and_offers_no_branch(tab: ChatPage) -> None:
    prompt(tab).fill("Gemma Space is a playground.")
    tab.page.locator("#score").click()
    expect(footer(tab)).to_contain_text("perplexity")
    expect(tab.page.locator("#run")).to_be_enabled()
    tokens = tab.page.locator("#probabilities [role=option]")
    expect(tokens.first).to_be_visible()
    tokens.nth(2).click()
    expect(tab.page.locator("#likeliest")).to_contain_text("entropy")
    expect(tab.page.locator("#likeliest button")).to_have_count(0)


def test_after_a_score_the_run_can_be_returned_to(tab: ChatPage) -> None:
    first = run(tab)
    expect(tab.page.locator("#runs")).to_be_hidden()
    tab.page.locator("#score").click()
    expect(footer(tab)).to_contain_text("perplexity")
    expect(tab.page.locator("#run")).to_be_enabled()  # its last state would undo a choice
    expect(runs_of(tab)).to_have_count(1)
    expect(runs_of(tab).first).not_to_be_checked()
    runs_of(tab).first.check()
    expect(completion(tab)).to_have_value(first)
    expect(footer(tab)).to_contain_text(ENDED)
    expect(tab.page.locator("#undo-run")).to_be_enabled()


def test_a_branch_by_keyboard_leaves_the_focus_in_the_result(tab: ChatPage) -> None:
    run(tab)
    result_tab(tab, "Probabilities")
    tab.page.locator("#probabilities [role=option]").nth(3).click()
    tab.page.locator("#likeliest button").first.press("Enter")
    expect(tab.page.locator("#result-tabs [role=tab]").first).to_be_focused()
    finished(tab)


def test_the_prompts_tokens_and_what_may_be_wrong_are_told(tab: ChatPage) -> None:
    prompt(tab).fill("What is <bos> a token?")
    count = tab.page.locator("#token-count")
    expect(count.locator(".advice")).to_contain_text("<bos> inside the prompt")
    tab.page.get_by_role("button", name="Tokens of the prompt").click()
    expect(tab.page.locator("#prompt-tokens")).to_contain_text("<bos>")
    expect(tab.page.locator("#fill-middle")).to_be_hidden()
    prompt(tab).fill("What is a token?")
    tab.page.locator("#insert-turn").click()
    expect(prompt(tab)).to_have_value(QUESTION)
    expect(count.locator(".advice")).to_have_count(0)


def test_the_meter_follows_the_token_limit_however_it_is_set(tab: ChatPage) -> None:
    prompt(tab).fill("Hello")
    count, settings = tab.page.locator("#token-count"), tab.page.locator("#prompt-settings")
    fill(settings, "Max new tokens", "2047")
    expect(count).to_contain_text("only 1 fit beside the 2,047 kept")
    settings.get_by_role("button", name="Back to the model's defaults").click()
    expect(count).not_to_contain_text("fit beside")


def test_code_says_what_the_run_used(tab: ChatPage) -> None:
    run(tab)
    tab.page.get_by_role("button", name="Code for this run").click()
    code = tab.page.locator("#run-code .cm-content")
    expect(code).to_contain_text("What is a token?")
    tab.page.locator("#run-code").get_by_label("gradio_client").check()
    expect(code).to_contain_text("max_new_tokens=24")
    tab.page.locator("#run-code").get_by_label("curl").check()
    expect(code).to_contain_text("/gradio_api/call")
    expect(code).to_contain_text(tab.page.url.split("?")[0].rstrip("/"))


def saved_capsule(tab: ChatPage, folder: Path) -> Path:
    tab.page.get_by_role("button", name="Replay capsule").click()
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Save this run as a capsule").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def open_capsule(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a capsule…").click()
    chooser.value.set_files(path)


def other_page(
    real_server: tuple[Playground, str], new_context: Callable[..., BrowserContext]
) -> ChatPage:
    other = open_tab(ChatPage(new_context().new_page(), real_server[1]).open())
    other.page.get_by_role("button", name="Replay capsule").click()
    return other


@pytest.mark.parametrize("tampered", [False, True])
def test_a_capsule_is_replayed_by_somebody_else(
    tab: ChatPage, tmp_path: Path, real_server: tuple[Playground, str],
    new_context: Callable[..., BrowserContext], tampered: bool,
) -> None:  # fmt: skip
    text = run(tab)
    path = saved_capsule(tab, tmp_path)
    if tampered:
        capsule = json.loads(path.read_text())
        capsule["output"]["ids"][3] += 1
        path.write_text(json.dumps(capsule))
    other = other_page(real_server, new_context)
    open_capsule(other.page, path)
    expect(prompt(other)).to_have_value(QUESTION)
    expect(other.page.locator("#replay")).to_be_visible()
    assert other.page.evaluate(CONTRAST, "#replay") >= 4.5
    other.page.locator("#replay").click()
    told = other.page.locator("#capsule-told")
    wanted = "The first token that differs is number 4" if tampered else "Identical"
    expect(told).to_contain_text(wanted, timeout=60_000)
    expect(completion(other)).to_have_value(text)
    settings = other.page.locator("#prompt-settings")
    other.page.get_by_role("button", name="Generation settings").click()
    expect(settings.get_by_label("number input for Max new tokens")).to_have_value("24")


def test_a_file_that_is_no_capsule_changes_nothing(tab: ChatPage, tmp_path: Path) -> None:
    prompt(tab).fill("Keep this.")
    path = tmp_path / "no.json"
    path.write_text('{"format": "else"}')
    tab.page.get_by_role("button", name="Replay capsule").click()
    open_capsule(tab.page, path)
    expect(tab.page.locator("#capsule-told .problem")).to_be_visible()
    expect(prompt(tab)).to_have_value("Keep this.")
    expect(tab.page.locator("#replay")).to_be_hidden()


def test_a_link_opens_the_tab_as_it_was(
    real_server: tuple[Playground, str], new_context: Callable[..., BrowserContext]
) -> None:
    playground, url = real_server
    fragment = share_link.encode(
        share_link.SharedPrompt(
            prompt="Read <b>this</b>\n", model=playground.default_model, add_bos=False,
            controls=Controls(max_new_tokens=33, seed=7, stop=("END",)),
        )
    )  # fmt: skip
    page = new_context().new_page()
    page.goto(url + fragment)
    chat = ChatPage(page, url)
    expect(prompt(chat)).to_have_value("Read <b>this</b>\n")
    expect(page.get_by_label("Add BOS")).not_to_be_checked()
    assert "run=" not in page.url
    page.get_by_role("button", name="Generation settings").click()
    settings = page.locator("#prompt-settings")
    expect(settings.get_by_label("number input for Max new tokens")).to_have_value("33")
    expect(settings.get_by_label("Seed")).to_have_value("7")


def test_a_link_to_a_model_that_is_not_listed_keeps_yours(
    real_server: tuple[Playground, str], new_context: Callable[..., BrowserContext]
) -> None:
    shared = share_link.SharedPrompt(prompt="Hello there", model="somebody/else")
    page = new_context().new_page()
    page.goto(real_server[1] + share_link.encode(shared))
    chat = ChatPage(page, real_server[1])
    expect(prompt(chat)).to_have_value("Hello there")
    told = page.locator("#link-told .problem")
    expect(told).to_contain_text("somebody/else")
    expect(told).to_be_in_viewport()
    page.locator("#run").click()
    expect(told).to_have_count(0)


def test_a_link_is_copied(tab: ChatPage) -> None:
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    prompt(tab).fill("Share me")
    tab.page.get_by_role("button", name="Copy a link to this prompt").click()
    expect(tab.page.locator("#link-status")).to_contain_text("Link copied")
    link = tab.page.evaluate("navigator.clipboard.readText()")
    shared = share_link.read(link.partition("#run=")[2])
    assert shared.prompt == "Share me"
    assert shared.controls.temperature == 0
    assert shared.controls.top_k is None, "what is the default anyway is left out"


def test_two_pages_do_not_see_each_others_runs(
    tab: ChatPage, real_server: tuple[Playground, str], new_context: Callable[..., BrowserContext]
) -> None:
    first = run(tab)
    other = other_page(real_server, new_context)
    prompt(other).fill("Gemma Space is")
    other.page.locator("#run").click()
    finished(other)
    expect(other.page.locator("#runs")).to_be_hidden()
    run(tab, "Gemma Space is")
    expect(runs_of(tab)).to_have_count(2)
    runs_of(tab).first.check()
    expect(completion(tab)).to_have_value(first)


def test_a_replys_own_tokens_are_taken_over(real_chat: ChatPage) -> None:
    """What a visitor typed like a control token stays text: read anew it would be another."""
    real_chat.ask("What is <end_of_turn> here?")
    page = real_chat.page
    given = page.get_by_role("button", name="What the model was given")
    expect(given).to_be_visible(timeout=60_000)
    counted = re.search(r"(\d+) prompt", real_chat.footer.inner_text())
    assert counted is not None
    given.click()
    page.get_by_role("button", name="Open in the Prompt tab").click()
    expect(prompt(real_chat)).to_have_value(re.compile("<end_of_turn> here"))
    count = page.locator("#token-count")
    expect(count).to_contain_text(f"{counted[1]} of 2,048 tokens")
    expect(count).to_contain_text("the exact tokens that were taken over")
    page.locator("#run").click()
    finished(real_chat)
    expect(footer(real_chat)).to_contain_text(f"{counted[1]} prompt")
    prompt(real_chat).press("End")
    prompt(real_chat).type(" ")
    expect(count).not_to_contain_text("taken over")
    expect(count).not_to_contain_text(f"{counted[1]} of 2,048 tokens")
