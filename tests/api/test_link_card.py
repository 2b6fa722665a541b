"""What is shown with a link to the page, as whoever shows it reads the page."""

import re
from typing import cast

import httpx
import pytest

from gemma_space.link_card import SENTENCE
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from tests.browser.conftest import served
from tests.browser.fake_playground import FakePlayground

TAG = re.compile(r'<meta\s+(?:property|name)="((?:og|twitter):.*?)"\s+content="(.*?)"')
EVERYWHERE = {
    "og:type": "website", "og:title": "Gemma Space", "og:description": SENTENCE,
    "twitter:card": "summary_large_image",
}  # fmt: skip


def card(space: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """All that the page, served with this `SPACE_ID`, tells."""
    monkeypatch.setenv("SPACE_ID", space)
    with served(cast(Playground, FakePlayground()), settings=Settings()) as url:
        answer = httpx.get(url)
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert answer.text.count("window.gradio_config = {") == 1
        assert answer.text.rstrip().endswith("</html>")
        assert httpx.get(f"{url}config").json()["title"] == "Gemma Space"
        return TAG.findall(answer.text)


def test_a_space_shows_its_own_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    found = card("somebody/their.space", monkeypatch)
    address = "https://huggingface.co/spaces/somebody/their.space/resolve/main/"
    assert dict(found) == {**EVERYWHERE, "og:image": f"{address}assets/thumbnail.png"}
    assert len(found) == len(dict(found)), "nothing of Gradio's own is left beside it"


def test_elsewhere_there_is_a_card_without_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(card("", monkeypatch)) == sorted(EVERYWHERE.items())
