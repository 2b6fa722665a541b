"""A file of texts: how it divides, and what is refused."""

import pytest

from gemma_space import prompt_set
from gemma_space.errors import InvalidRequestError


def test_what_ships_is_varied_and_divides() -> None:
    texts = prompt_set.split(prompt_set.shipped())
    assert len(texts) == 10
    whole = "\n".join(texts)
    for sign in ("def moving_average", "SELECT", "| Planet", "Straße", "mediodía", "7 x 8 = 56",
                 "“" if "“" in whole else '"I thought you did."'):  # fmt: skip
        assert sign in whole
    assert max(map(len, texts)) < 700


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_end_as_any_system_ends_them(ending: str) -> None:
    file = ending.join(["\ufeffone", "  still one", "", " \t", "two", "", "", "three", ""])
    assert prompt_set.split(file) == ("one\n  still one", "two", "three")


@pytest.mark.parametrize("text", ["", "\n \n\t\n", "\ufeff\r\n"])
def test_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="no texts"):
        prompt_set.split(text)


@pytest.mark.parametrize("text", ["PNG\r\n\x1a\n\x00\x00", "a\x00b", "half \ud800"])
def test_what_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="control characters"):
        prompt_set.split(text)


def test_too_much_is_refused_with_the_counts() -> None:
    with pytest.raises(InvalidRequestError, match=r"100,001 characters; at most 100,000"):
        prompt_set.split("x" * 100_001)
    with pytest.raises(InvalidRequestError, match="65 texts; at most 64"):
        prompt_set.split("x\n\n" * 65)
