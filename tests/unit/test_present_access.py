"""How access and accounts read."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import get_args

import pytest

from gemma_space import hub
from gemma_space.hub import Account, Answer
from gemma_space.reports import AccessReport, Verdict
from gemma_space.ui import present_access
from gemma_space.verdicts import in_words
from gemma_space.visitors import Source
from tests.browser.fake_library import checkpoint

ROW = checkpoint("google/gemma-x", "Gemma X", gated=True)


def told(verdict: Verdict) -> AccessReport:
    return in_words(Answer(verdict), ROW.repo_id, "<b>X</b>", "main", "<i>eve</i>")


def words(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", " ", html))).strip()


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_every_verdict_has_a_line_and_words(verdict: Verdict) -> None:
    report = told(verdict)
    line = present_access.line(report)
    assert "<b>X" not in line
    assert "<i>" not in line
    assert report.message in words(line)
    assert line.count("<a ") == (1 if report.url and not report.granted else 0)
    assert ("data-check" in line) == (verdict != "open") == present_access.may_change(report)
    short = present_access.words(report)
    assert bool(short) == (verdict != "open")
    assert ("<a " in short) == (bool(report.url) and not report.granted)


def test_a_page_that_no_hint_names_is_named() -> None:
    line = present_access.line(told("request_rejected"))
    assert f'See <a href="{hub.repo_url(ROW.repo_id)}"' in line


def test_what_is_known_without_asking(tmp_path: Path) -> None:
    assert words(present_access.unasked(replace(ROW, path=tmp_path), False)) == "On this machine"
    assert words(present_access.unasked(replace(ROW, gated=False), True)) == "Open"
    assert words(present_access.unasked(ROW, True)) == "Gated"
    needs = present_access.unasked(ROW, False)
    assert words(needs) == "Gated: needs a token"
    assert hub.repo_url(ROW.repo_id) in needs


@pytest.mark.parametrize(
    ("source", "account", "sentence"),
    [
        ("signed_in", Account("ready", "al<ice"), "Signed in as al<ice."),
        ("signed_in", Account("hub_unreachable"), "Signed in with Hugging Face."),
        ("pasted", Account("ready", "alice"),
         "Using the token of alice that you pasted; this server forgets it within 8 hours."),
        ("own_machine", Account("ready", "alice"),
         "Using this machine's own login (alice); you are on the machine that serves this page."),
        ("own_machine", Account("rate_limited"),
         "Using this machine's own login; you are on the machine that serves this page."),
        ("none", Account("no_token"),
         "No Hugging Face token. The demo model and Gemma 4 need none."),
    ],
)  # fmt: skip
def test_who_acts(source: Source, account: Account, sentence: str) -> None:
    html = present_access.who(source, account)
    assert words(html) == sentence
    assert "<ice" not in html


def test_what_is_wrong_with_a_token() -> None:
    revoked = present_access.who("pasted", Account("token_invalid"))
    assert "The Hub does not accept this token" in words(revoked)
    assert "/settings/tokens/new" in revoked
    fine = present_access.who("pasted", Account("ready", "bob", reads_gated=False))
    assert "may not read gated repositories" in words(fine)
    assert f'href="{hub.tokens_url()}"' in fine
    assert "gated" not in present_access.who("pasted", Account("ready", "bob", reads_gated=None))


def test_the_summary_counts() -> None:
    reports = {"a": told("open"), "b": told("ready"), "c": told("no_token")}
    assert present_access.summary(reports) == "You can use 2 of 3 models."
