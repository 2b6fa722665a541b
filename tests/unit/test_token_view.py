"""How tokens, their probabilities and their alternatives read, and what a click says."""

import math
import re
from html import unescape

import pytest

from gemma_space.types import Alternative, ScoredPiece, TokenPiece
from gemma_space.ui import token_text, token_view
from gemma_space.ui.token_view import Pick, read_pick

HOSTILE = (
    "<script>alert(1)</script>",
    '"',
    "&amp;",
    "</span></b></div>",
    "'",
    "<img/src=x>",
    "${x}",
)
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


def scored(
    text: str, share: float = 0.5, entropy: float = 1.9, top: tuple[Alternative, ...] = ()
) -> ScoredPiece:
    return ScoredPiece(id=7, text=text, logprob=_log(share), entropy=entropy, top=top)


def _log(share: float) -> float:
    return math.log(share) if share else -math.inf


def top(*shares: float) -> tuple[Alternative, ...]:
    """Alternatives with the ids 0, 1, 2, …"""
    return tuple(Alternative(id=i, text=f"t{i}", logprob=_log(s)) for i, s in enumerate(shares))


def options(html: str) -> list[str]:
    return re.findall(r"<b role=option.*?</b>", html, re.DOTALL)


def names(html: str) -> list[str]:
    return [unescape(name) for name in re.findall(r'role=option[^>]* aria-label="([^"]*)"', html)]


def text_of(html: str) -> str:
    return unescape(re.sub("<[^>]+>", "", html))


# --- the text of a token ------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_no_token_becomes_markup(text: str) -> None:
    piece = scored(text, top=(Alternative(id=1, text=text, logprob=-1.0),))
    tags = {
        token_view.token_list([piece], title=text): "section|p|b|span|ol|li|i",
        token_view.probability_view([piece], label=text): "div|p|span|b|button|ul|li",
        token_view.alternatives(piece, 0): "div|p|b|code|span|table|thead|tbody|tr|th|td|button",
    }
    for html, known in tags.items():
        assert set(re.findall(r"</?([^\s>]+)", html)) <= set(known.split("|"))
        assert text in unescape(html)
        assert html.count('"') % 2 == 0
    assert text_of(options(token_view.probability_view([piece]))[0]) == text


@pytest.mark.parametrize("char", ZERO_WIDTH + BIDI + "\u00a0\u3000\u2028\r\x00\x1b\u3164\ufe0f")
def test_what_cannot_be_seen_is_there_by_its_name(char: str) -> None:
    for html in (token_text.marked(char), token_text.running(f"a{char}b".replace("\ufe0f", ""))):
        assert char not in html
    assert token_text.marked(char).startswith(f'<abbr title="U+{ord(char):04X}')
    assert text_of(token_text.marked(char)) in token_text.spoken(char)
    assert char not in token_text.spoken(char)


def test_scripts_and_new_characters_stay_as_they_are() -> None:
    for text in ("né", "日本語", "नमस्ते", "مرحبا", "❤️", "\U0001fae8", "·", "▁", "␣"):
        assert (
            token_text.marked(text) == token_text.running(text) == token_text.spoken(text) == text
        )
    assert token_text.marked("\u0301") == "◌\u0301"


def test_blanks_are_marked_and_copied_as_they_are() -> None:
    assert token_text.marked(" a b") == "<u> </u>a<u> </u>b"
    assert token_text.running(" a b") == " a b"
    assert token_text.running("    ") == "<u> </u>" * 4
    assert text_of(token_text.running("}\n\t ")) == "}\n\t "
    assert token_text.running("\n\t") == "<u class=n>\n</u><u class=t>\t</u>"
    said = {" the": "␣the", "    ": "4 spaces", "\n": "newline", "\n\n\t": "2 newlines, tab",
            "": "no text", "<0x7B>": "byte 0x7B (“{”)", "<0xE2>": "byte 0xE2"}  # fmt: skip
    assert {text: token_text.spoken(text) for text in said} == said


def test_control_tokens_are_told_from_markup() -> None:
    control = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<unused42>",
               "<|turn>", "<turn|>", '<|"|>', "<|fim_prefix|>", "<image_soft_token>")  # fmt: skip
    text = ("<table>", "</b>", "<h1>", "<", "<b", "bos", "[x]", " <bos>", "<T>", "")
    assert {token_text.kind(name) for name in control} == {"control"}
    assert {token_text.kind(name) for name in text} == {"text"}
    assert token_text.kind("<0xE2>") == "byte"
    assert token_text.kind("<0xe2>") == "text"


# --- the list with ids --------------------------------------------------------------------------


def test_the_list_has_each_token_with_its_id_line_by_line() -> None:
    pieces = [
        TokenPiece(id=2, text="<bos>"), TokenPiece(id=9, text=" a"), TokenPiece(id=107, text="\n"),
        TokenPiece(id=5, text="<0xE2>"),
    ]  # fmt: skip
    html = token_view.token_list(pieces, title="Prompt")
    lines = re.findall("<ol>(.*?)</ol>", html, re.DOTALL)
    assert [re.findall(r"<i>(\d+)</i>", line) for line in lines] == [["2", "9", "107"], ["5"]]
    assert "<li class=control>&lt;bos&gt;" in lines[0]
    assert "<li class=byte>0xE2" in lines[1]
    assert "<span>4 tokens</span>" in html
    assert "control token" in html
    assert "byte of a character" in html
    assert "control token" not in token_view.token_list(pieces[1:3])
    assert "<span>1 token</span>" in token_view.token_list(pieces[:1])
    assert "<span>0 tokens</span>" in token_view.token_list([])


def test_a_long_list_is_folded_small_and_complete() -> None:
    pieces = [TokenPiece(id=i, text=" word") for i in range(8192)]
    html = token_view.token_list(pieces)
    before, folded, after = re.split("<details>|</details>", html)
    edge = token_view.EDGE_TOKENS
    assert "8,192 tokens" in before
    assert f"<summary>{8192 - 2 * edge:,} more tokens</summary>" in folded
    ids = [[int(i) for i in re.findall(r"<i>(\d+)</i>", part)] for part in (before, folded, after)]
    assert ids[0] == [*range(edge)]
    assert ids[0] + ids[1] + ids[2] == [*range(8192)]
    assert len(html) < 40 * 8192
    assert "<details>" not in token_view.token_list(pieces[: 2 * edge])


def test_a_very_long_list_says_what_it_leaves_out() -> None:
    html = token_view.token_list([TokenPiece(id=1, text="a")] * 20_000)
    assert html.count("<li>") == token_view.LISTED_TOKENS
    assert f"{20_000 - token_view.LISTED_TOKENS:,} more are not listed." in html
    assert "20,000 tokens" in html


# --- the text, coloured -------------------------------------------------------------------------


def test_each_token_has_its_steps_and_its_name() -> None:
    tokens = [scored(" the", 0.123), scored("\n", 1.0, 0.0), scored("<eos>", 0.0005, 5.0)]
    html = token_view.probability_view(tokens)
    assert [re.findall('class="([^"]+)"', one) for one in options(html)] == [
        ["p3 e3"], ["p0 e0"], ["p5 e5 control"],
    ]  # fmt: skip
    assert names(html) == [
        "␣the · 12.3 % · entropy 1.9 nats",
        "newline · 100 % · entropy 0 nats",
        "<eos> · 0.050 % · entropy 5.0 nats",
    ]
    assert text_of("".join(options(html))) == " the\n<eos>"


def test_a_persons_own_token_is_marked() -> None:
    html = token_view.probability_view([scored("a"), scored("b")], own={1})
    assert [name.endswith("your choice") for name in names(html)] == [False, True]
    assert ["own" in one for one in options(html)] == [False, True]


def test_the_summary_counts_and_averages() -> None:
    html = token_view.probability_view([scored("a", 0.5, 1.0), scored("b", 0.125, 3.0)])
    words = text_of(html[: html.index("Probability")])
    assert re.sub(r"\s+", " ", words) == (
        "2 tokensperplexity 4.00mean probability 31.2 %mean entropy 2.0 nats"
    )
    impossible = token_view.probability_view([scored("a", 0.0)])
    assert "perplexity <b>∞</b>" in impossible
    assert token_view.probability_view([]) == ""


def test_what_was_there_stays_while_the_text_grows() -> None:
    tokens = [scored(f" w{i}", (i + 1) / 40, i / 8) for i in range(32)]
    earlier, later = (options(token_view.probability_view(tokens[:n])) for n in (20, 32))
    assert later[:20] == earlier


def test_a_long_completion_is_small_and_has_no_alternatives() -> None:
    others = tuple(Alternative(id=i, text=f"other{i}", logprob=-9.0) for i in range(10))
    tokens = [scored(" something", 0.000123, 2.34, others)] * 512
    html = token_view.probability_view(tokens)
    assert "other" not in html
    assert len(options(html)) == 512
    assert len(html.encode()) < 150 * 512


# --- alternatives -------------------------------------------------------------------------------


def rows(html: str) -> list[str]:
    return re.findall(r"<tr.*?</tr>", html, re.DOTALL)[1:]


def cells(row: str) -> list[str]:
    return [text_of(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]


def test_alternatives_are_listed_with_what_they_have_together() -> None:
    piece = ScoredPiece(id=1, text="t1", logprob=_log(0.25), entropy=1.2, top=top(0.5, 0.25, 0.218))
    html = token_view.alternatives(piece, 12)
    assert [cells(row) for row in rows(html)] == [
        ["t0", "0", "50.0 %", "", "50.0 %", "Continue from here"],
        ["t1", "1", "25.0 %", "", "75.0 %", "chosen"],
        ["t2", "2", "21.8 %", "", "96.8 %", "Continue from here"],
        ["others", "", "3.2 %", "", "", ""],
    ]
    assert re.findall(r"left:([\d.]+)%;width:([\d.]+)%", html) == [
        ("0.0", "50.0"), ("50.0", "25.0"), ("75.0", "21.8"),
    ]  # fmt: skip
    assert re.findall('data-token="([^"]+)"', html) == ["12"]
    assert re.findall('data-alternative="([^"]+)"', html) == ["0", "2"]
    assert html.count('<tr class="it">') == 1
    assert "Token 13" in html
    assert "rank 2" in html


def test_a_token_that_was_unlikely_has_a_row_of_its_own() -> None:
    piece = ScoredPiece(id=77, text="x", logprob=_log(0.05), entropy=2.0, top=top(0.6, 0.3))
    html = token_view.alternatives(piece, 0)
    assert cells(rows(html)[2]) == ["x", "77", "5.0 %", "", "–", "chosen"]
    assert cells(rows(html)[3])[2] == "5.0 %"  # what 60, 30 and 5 leave
    assert "not in the top 2" in html


def test_a_given_text_offers_no_branch() -> None:
    piece = ScoredPiece(id=0, text="t0", logprob=_log(0.5), entropy=1.0, top=top(0.5, 0.25))
    html = token_view.alternatives(piece, 3, branches=False)
    assert "<button" not in html
    assert "chosen" not in html
    assert cells(rows(html)[0])[-1] == "in the text"


def test_no_alternatives_were_kept() -> None:
    html = token_view.alternatives(scored("a"), 0)
    assert "No alternatives were kept" in html
    assert "<table" not in html


def test_each_button_says_what_it_continues_with() -> None:
    piece = scored("a", top=(Alternative(id=3, text=' "quoted"\n', logprob=-1.0),))
    (name,) = re.findall(
        r'data-alternative="3" aria-label="([^"]*)"', token_view.alternatives(piece, 0)
    )
    assert unescape(name) == 'Continue from here with ␣"quoted"↵'


# --- what a click says --------------------------------------------------------------------------


def test_a_pick_is_read() -> None:
    tokens = [scored("a", top=top(0.5, 0.25))] * 3
    assert read_pick({"token": 2}, tokens) == Pick(2)
    assert read_pick({"token": 0, "alternative": 1}, tokens) == Pick(0, 1)


@pytest.mark.parametrize(
    "data",
    [None, "x", [], {}, {"token": None}, {"token": "1"}, {"token": True}, {"token": 1.0},
     {"token": -1}, {"token": 3}, {"token": 1, "alternative": 5}, {"token": 1, "alternative": "1"},
     {"token": 1, "alternative": True}, {"token": 1, "alternative": 7}],
)  # fmt: skip
def test_what_fits_no_token_is_no_pick(data: object) -> None:
    itself = Alternative(id=7, text="a", logprob=-1.0)
    assert read_pick(data, [scored("a", top=(*top(0.5, 0.25), itself))] * 3) is None
