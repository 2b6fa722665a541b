"""How values read on the page."""

import re
from dataclasses import replace

import pytest

from gemma_space.local_checkpoint import DEMO_REPO_ID
from gemma_space.reports import LoadedRow, LoadProgress, Status
from gemma_space.types import Generation
from gemma_space.ui import present, present_runs, transcript
from tests.browser.fake_library import checkpoint

MEGABYTE = 1 << 20
ROW = checkpoint("google/gemma-x", "Gemma X", gated=True, context_length=8192)


def generation(**fields: object) -> Generation:
    usual = {
        "text": "Hi", "prompt_tokens": 1200, "completion_tokens": 7, "cached_tokens": 0,
        "dropped_messages": 0, "seed": 3, "ttft_seconds": 0.123, "tokens_per_second": 41.26,
        "model": "google/gemma-x", "revision": "main", "precision": "bf16",
    }  # fmt: skip
    return Generation(**(usual | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "words"),
    [(512, "512"), (3_580_000, "3.58 M"), (268_098_176, "268 M"), (2_614_341_888, "2.61 B")],
)
def test_counts(count: int, words: str) -> None:
    assert present.format_count(count) == words


@pytest.mark.parametrize(
    ("progress", "words", "fraction"),
    [
        (LoadProgress(phase="access"), "Asking for access to Gemma X…", None),
        (LoadProgress(phase="download"), "Downloading Gemma X…", None),
        (
            LoadProgress(phase="load", done_bytes=7 * MEGABYTE, total_bytes=14 * MEGABYTE),
            "Loading Gemma X… 7.0 of 14.0 MiB",
            0.5,
        ),
        (
            LoadProgress(phase="load", done_bytes=512 << 10, total_bytes=8 * MEGABYTE),
            "Loading Gemma X… 512 KiB of 8.0 MiB",
            0.0625,
        ),
        (LoadProgress(phase="ready"), "Gemma X is ready.", None),
    ],
)
def test_a_load_in_words(progress: LoadProgress, words: str, fraction: float | None) -> None:
    assert present.load_words(progress, "Gemma X") == words
    assert present.load_fraction(progress) == fraction
    assert words in present.load_bar(progress, "Gemma X")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "about 1 s left"), (4.2, "about 5 s left"), (38.0, "about 40 s left"),
        (89.0, "about 90 s left"), (100.0, "about 2 min left"), (3000.0, "about 50 min left"),
        (7300.0, "about 2 h left"),
    ],
)  # fmt: skip
def test_the_time_left_is_told_roughly(seconds: float, words: str) -> None:
    assert present.time_left(seconds) == words
    step = LoadProgress(phase="download", done_bytes=1, total_bytes=2, seconds_left=seconds)
    assert present.load_words(step, "X").endswith(f", {words}")


def test_nothing_is_said_of_the_time_left_before_it_is_known() -> None:
    assert "left" not in present.load_words(
        LoadProgress(phase="load", done_bytes=1, total_bytes=2), "X"
    )


def test_the_rate_and_what_else_goes_on() -> None:
    step = LoadProgress(
        phase="download", done_bytes=1200 * MEGABYTE, total_bytes=5000 * MEGABYTE,
        bytes_per_second=45.1 * MEGABYTE, seconds_left=100,
    )  # fmt: skip
    words = "Downloading X… 1.2 of 4.9 GiB, 45.1 MiB/s, about 2 min left"
    assert present.load_words(step, "X") == words
    waiting = replace(step, note="The connection broke; attempt 2 of 6 in 4 s")
    words = "Downloading X… 1.2 of 4.9 GiB. The connection broke; attempt 2 of 6 in 4 s"
    assert present.load_words(waiting, "X") == words
    begun = LoadProgress(phase="download", note="The Hub asks to wait; going on in 3 s")
    words = "Downloading X… The Hub asks to wait; going on in 3 s"
    assert present.load_words(begun, "X") == words


def test_more_bytes_than_announced_is_a_full_bar() -> None:
    assert present.load_fraction(LoadProgress(phase="load", done_bytes=9, total_bytes=8)) == 1.0


def test_marks_in_the_model_list() -> None:
    assert present.choice_label(ROW) == "Gemma X · gated"
    assert present.choice_label(checkpoint("a/b", "Gemma 3 1B Base", variant="base")) == (
        "Gemma 3 1B Base"
    )
    assert present.choice_label(checkpoint("a/b", "Odd", variant="base")) == "Odd · base"
    assert present.choice_label(checkpoint(DEMO_REPO_ID, "Demo")) == "Demo · demo"


def test_the_note_says_what_base_means() -> None:
    note = present.model_note(checkpoint("a/b", "T", variant="base", gated=True, note="<i>x</i>"))
    for words in ("3.58 M parameters", "2K tokens", "Gemma Terms of Use", "not trained to chat",
                  "&lt;i&gt;x&lt;/i&gt;"):  # fmt: skip
        assert words in note


def test_stats_of_a_reply() -> None:
    assert present.stats(generation()) == [
        "1,200 prompt + 7 new tokens", "first after 0.12 s", "41.3 tokens/s",
    ]  # fmt: skip
    early = generation(ttft_seconds=None, tokens_per_second=None, cached_tokens=1000)
    assert present.stats(early) == ["1,200 prompt (1,000 cached) + 7 new tokens"]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("stop", "Ended its turn"), ("length", "Reached the token limit"),
        ("stop_string", "Met a stop string"), ("cancelled", "Stopped by you"),
    ],
)  # fmt: skip
def test_why_it_stopped(reason: str, words: str) -> None:
    turn = present.reply(generation(finish_reason=reason, notes=("N.",)))
    assert turn.footer is not None
    assert (turn.footer.title, turn.footer.pending) == (words, False)
    assert turn.footer.log == "1,200 prompt + 7 new tokens · first after 0.12 s · 41.3 tokens/s"
    assert turn.footer.detail == "N.\n\ngoogle/gemma-x · bf16 · seed 3"
    assert words in present_runs.completion_footer(generation(finish_reason=reason))


@pytest.mark.parametrize(
    ("reason", "cut"),
    [("stop", False), ("stop_string", False), ("length", True), ("cancelled", True)],
)
def test_only_a_reply_cut_short_can_be_continued(reason: str, cut: bool) -> None:
    footer = present.reply(generation(finish_reason=reason)).footer
    assert footer is not None
    assert present.was_cut(footer) is cut


def test_a_reply_on_its_way_has_no_reason() -> None:
    footer = present.reply(generation()).footer
    assert footer == transcript.Footer(
        title="Writing…",
        log="1,200 prompt + 7 new tokens · first after 0.12 s · 41.3 tokens/s",
        pending=True,
    )


def test_a_settled_footer_names_a_reason() -> None:
    live = present_runs.completion_footer(generation())
    assert "Stopped by you" not in live
    assert "Stopped by you" in present_runs.settled_footer(live)
    finished = present_runs.completion_footer(generation(finish_reason="stop"))
    assert present_runs.settled_footer(finished) == finished
    loading = present.load_bar(LoadProgress(phase="load"), "X")
    assert "Stopped before the first token." in present_runs.settled_footer(loading)
    assert present_runs.settled_footer(None) == ""
    broken = present_runs.completion_footer(generation(finish_reason="cancelled"), failed=True)
    assert "Broken off by an error" in broken
    assert present_runs.settled_footer(present.problem("Bad.")) == present.problem("Bad.")


def test_status_names_machine_and_models() -> None:
    row = LoadedRow(repo_id="a<b", precision="bf16", revision="main", nbytes=8 * MEGABYTE,
                    leases=0, idle_seconds=0.0)  # fmt: skip
    status = Status(device="CPU", memory_total_bytes=24 << 30, memory_free_bytes=9 << 30,
                    budget_bytes=1, loaded=(row,), queue=2)  # fmt: skip
    words = re.sub("<[^>]+>", "", present.status_lines(status, {}))
    assert words == "a&lt;b bf16 · 8.0 MiBCPU · 9.0 GiB of 24.0 GiB free · 2 running or waiting"
    assert "<b>Title</b>" in present.status_lines(status, {"a<b": "Title"})


def test_the_token_meter_warns_when_the_completion_has_no_room() -> None:
    assert "nearly-full" not in present_runs.token_meter(1536, 2048, 512)
    tight = present_runs.token_meter(1537, 2048, 512)
    assert "nearly-full" in tight
    assert "only 1,536 fit beside the 512 kept" in tight


def test_addresses_become_links_that_show_where_they_lead() -> None:
    html = present.linked("At https://hf.co/a/b, then <b>try</b> (http://x.y/z?a=1&b=2).")
    new = 'target="_blank" rel="noopener"'
    assert html == (
        f'At <a href="https://hf.co/a/b" {new}>hf.co/a/b</a>, then &lt;b&gt;try&lt;/b&gt; '
        f'(<a href="http://x.y/z?a=1&amp;b=2" {new}>x.y/z</a>).'
    )
    assert html in present.problem("At https://hf.co/a/b, then <b>try</b> (http://x.y/z?a=1&b=2).")


@pytest.mark.parametrize(
    "text", ["javascript:alert(1)", 'https://"onclick=x', "ftp://a.b", "https://"]
)
def test_nothing_else_becomes_a_link(text: str) -> None:
    assert "<a " not in present.linked(text)


def test_text_from_outside_is_escaped() -> None:
    assert "<b>" not in present.problem("<b>")
    assert "<b>" not in present.load_bar(LoadProgress(phase="load"), "<b>")
    assert "<x>" not in present_runs.completion_footer(generation(notes=("<x>",)))


def test_the_context_meter_warns_when_the_window_is_nearly_full() -> None:
    assert "1,000 of 2,048 tokens of context" in present.context_meter(1000, 2048)
    assert "nearly-full" not in present.context_meter(1000, 2048)
    assert "nearly-full" in present.context_meter(1900, 2048)


def test_who_waits_reads_how_many_come_before() -> None:
    assert present.queue_words(1) == "Waiting: you are next…"
    assert present.queue_words(4) == "Waiting: 3 before you…"
    waiting = present.reply(replace(generation(), finish_reason=None, text="", place=4))
    assert waiting.footer is not None
    assert (waiting.footer.title, waiting.footer.pending) == ("Waiting: 3 before you…", True)
