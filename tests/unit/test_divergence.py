"""Where two texts part, by tokens and by characters."""

import pytest

from gemma_space.divergence import Kind, Written, parting

WORDS = {1: "one ", 2: "two ", 3: "three ", 4: "thrice "}


def written(*ids: int, done: bool = True, vocabulary: int | None = 7) -> Written:
    ends, text = [], ""
    for token_id in ids:
        text += WORDS[token_id]
        ends.append(len(text))
    return Written(text=text, ids=ids, ends=tuple(ends), vocabulary=vocabulary, done=done)


@pytest.mark.parametrize(
    ("other", "this", "kind", "count", "at"),
    [
        (written(1, 2), written(1, 2), "same", 2, None),
        (written(1, 2), written(1, 2, done=False), "so_far", 2, None),
        (written(1, 2, 3), written(1, 2, done=False), "so_far", 2, None),
        (written(1, 2, done=False), written(1, 2, 3), "so_far", 2, None),
        (written(1, 2, 3), written(1, 2), "shorter", 2, None),
        (written(1), written(1, 2), "longer", 1, 4),
        (written(1, 2), written(1, 3), "apart", 1, 4),
        (written(1, 2, done=False), written(1, 3, done=False), "apart", 1, 4),
        (written(2), written(3), "apart", 0, 0),
        (written(), written(1), "longer", 0, 0),
        (written(), written(), "same", 0, None),
    ],
)
def test_how_texts_part(
    other: Written, this: Written, kind: Kind, count: int, at: int | None
) -> None:
    found = parting(other, this)
    assert (found.kind, found.count, found.unit, found.at) == (kind, count, "token", at)


def test_the_tokens_that_differ_are_named_even_where_they_begin_alike() -> None:
    found = parting(written(1, 3, 2), written(1, 4, 2))
    assert (found.there, found.here) == ("three ", "thrice ")
    assert found.at == len("one "), "not after the letters that both have"


@pytest.mark.parametrize("vocabularies", [(1, 2), (None, None), (1, None)])
def test_other_vocabularies_are_compared_by_characters(
    vocabularies: tuple[int | None, int | None],
) -> None:
    there, here = vocabularies
    found = parting(written(1, 3, vocabulary=there), written(1, 4, vocabulary=here))
    assert (found.unit, found.count, found.at) == ("character", len("one thr"), len("one thr"))
    assert found.here == found.there == ""


def test_what_was_held_back_is_marked_too_early_rather_than_too_late() -> None:
    """Bytes of a character that is not whole have no text yet."""
    one = Written(text="é!", ids=(10, 11, 1), ends=(0, 1, 2), vocabulary=7)
    other = Written(text="è!", ids=(10, 12, 1), ends=(0, 1, 2), vocabulary=7)
    assert parting(one, other).at == 0
