"""What is kept between turns: the longest beginning wins, bytes are a budget, nothing leaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from gemma_space.engine import prefix_cache
from gemma_space.engine.batch import BatchEngine
from gemma_space.engine.prefix_cache import PrefixCache
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints
from tests.unit.test_engine_exact import WORDS, at_once, speak


@dataclass(eq=False)
class Kept:
    """A cache that knows which ids it is of, ten bytes each."""

    ids: tuple[int, ...]
    within: int | None = None

    @property
    def nbytes(self) -> int:
        return 10 * len(self.ids)

    def reach(self) -> int:
        return len(self.ids) if self.within is None else self.within

    def cut(self, tokens: int) -> None:
        assert 0 <= tokens <= self.reach()
        self.ids = self.ids[: len(self.ids) - tokens]

    def branch(self, tokens: int) -> "Kept":
        assert 0 <= tokens <= self.reach()
        return Kept(self.ids[: len(self.ids) - tokens], self.within)


@pytest.fixture
def always_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little an entry shares: these tests are about which one is found."""
    monkeypatch.setattr(prefix_cache, "MOST_CUT", 1.0)


def keep(cache: PrefixCache[Kept], *ids: int, kind: Any = None, within: int | None = None) -> Kept:
    one = Kept(ids, within)
    cache.put(ids, one, kind)
    return one


def shared(cache: PrefixCache[Kept], ids: Sequence[int], kind: Any = None) -> int:
    found = cache.take(ids, kind)
    return found[1] if found else 0


@pytest.mark.usefixtures("always_taken")
def test_the_longest_beginning_wins_and_is_cut_to_it() -> None:
    cache: PrefixCache[Kept] = PrefixCache(1000)
    for ids in ((1, 2), (1, 2, 3, 9, 9), (1, 2, 3, 4, 8), (5, 6, 7)):
        keep(cache, *ids)
    found = cache.take([1, 2, 3, 4, 5, 6])
    assert found is not None
    assert found[0].ids == (1, 2, 3, 4)
    assert found[1] == 4
    assert cache.take([4, 5]) is None


@pytest.mark.usefixtures("always_taken")
@pytest.mark.parametrize("size", [1, 255, 256, 257, 512, 600])
def test_long_beginnings_are_compared_to_the_last_id(size: int) -> None:
    cache: PrefixCache[Kept] = PrefixCache(100_000)
    keep(cache, *range(600))
    ids = [*range(size), 700, *range(size + 1, 700)]
    assert shared(cache, ids) == size


@pytest.mark.usefixtures("always_taken")
def test_at_least_one_id_is_left_to_compute() -> None:
    cache: PrefixCache[Kept] = PrefixCache(1000)
    keep(cache, 1, 2, 3)
    assert shared(cache, [1, 2, 3]) == 2
    keep(cache, 1, 2, 3)
    assert shared(cache, [1]) == 0
    assert shared(cache, []) == 0
    assert shared(cache, [1, 2]) == 1


@pytest.mark.usefixtures("always_taken")
def test_what_cannot_be_cut_so_far_is_left_alone() -> None:
    cache: PrefixCache[Kept] = PrefixCache(1000)
    far = keep(cache, 1, 2, 3, 4, 5, 6, within=2)
    assert cache.take([1, 2, 3, 9]) is None
    keep(cache, 1, 2, 8, 8)
    assert shared(cache, [1, 2, 3, 9]) == 2, "the second best can be"
    assert shared(cache, [1, 2, 3, 4, 9]) == 4
    assert far.ids == (1, 2, 3, 4)


def test_an_entry_stays_for_its_own_conversation_when_others_only_begin_alike() -> None:
    """A system prompt that all share must not cost each of them what it has computed."""
    cache: PrefixCache[Kept] = PrefixCache(100_000)
    system, talk = tuple(range(100)), tuple(range(1000, 1300))
    mine = keep(cache, *system, *talk)
    found = cache.take((*system, 7, 8, 9))
    assert found is not None
    assert (found[0].ids, found[1]) == (system, 100)
    assert found[0] is not mine
    assert cache.take((*system, *talk, 5)) == (mine, 400), "all of it is still here"
    keep(cache, *system, *talk)
    assert cache.take((*system[:8], 7)) is None, "too little to be worth a copy"
    last = cache.take((*system, *talk[:-20], 6))
    assert last is not None
    assert last[1] == 380
    assert cache.nbytes == 0, "an edit of the last words goes on from the entry itself"


def test_kinds_do_not_mix() -> None:
    cache: PrefixCache[Kept] = PrefixCache(1000)
    keep(cache, 1, 2, 3, kind="one")
    keep(cache, 1, 2, kind=None)
    assert shared(cache, [1, 2, 3, 4], kind="other") == 0
    assert shared(cache, [1, 2, 3, 4]) == 2
    assert shared(cache, [1, 2, 3, 4]) == 0
    assert shared(cache, [1, 2, 3, 4], kind="one") == 3


def test_an_entry_in_use_is_not_here() -> None:
    cache: PrefixCache[Kept] = PrefixCache(1000)
    one = keep(cache, 1, 2, 3)
    assert cache.nbytes == 30
    assert cache.take([1, 2, 3, 4]) == (one, 3)
    assert cache.nbytes == 0
    assert cache.take([1, 2, 3, 4]) is None
    cache.put((1, 2, 3), one)
    assert cache.nbytes == 30


def test_the_least_recently_used_leaves_first() -> None:
    cache: PrefixCache[Kept] = PrefixCache(60)
    keep(cache, 1, 1)
    keep(cache, 2, 2)
    keep(cache, 3, 3)
    found = cache.take([1, 1, 5])
    assert found is not None
    cache.put((1, 1), found[0])
    keep(cache, 4, 4)  # for which 2 goes
    assert [shared(cache, [n, n, n]) for n in (1, 2, 3, 4)] == [2, 0, 2, 2]


def test_what_is_too_large_is_not_kept_and_costs_nobody() -> None:
    cache: PrefixCache[Kept] = PrefixCache(50)
    keep(cache, 1, 1)
    keep(cache, *[2] * 6)
    keep(cache)
    assert cache.nbytes == 20
    assert shared(cache, [1, 1, 1]) == 2
    nothing: PrefixCache[Kept] = PrefixCache(0)
    keep(nothing, 1)
    assert nothing.nbytes == 0


def test_clear_drops_one_kind() -> None:
    cache: PrefixCache[Kept] = PrefixCache(1000)
    for kind in (None, "one", "other"):
        keep(cache, 1, 2, kind=kind)
    cache.clear("one")
    cache.clear()
    assert [shared(cache, [1, 2, 3], kind) for kind in (None, "one", "other")] == [0, 0, 2]


IDS = st.lists(st.integers(0, 2), max_size=8)


@pytest.mark.usefixtures("always_taken")
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([None, "a"]), IDS), max_size=30))
def test_any_history_of_put_and_take(history: list[tuple[bool, str | None, list[int]]]) -> None:
    cache: PrefixCache[Kept] = PrefixCache(150)
    here: list[tuple[str | None, Kept]] = []  # the least recently used first
    for puts, kind, ids in history:
        if puts:
            if ids:
                here.append((kind, keep(cache, *ids, kind=kind)))
            while sum(one.nbytes for _, one in here) > 150:
                here.pop(0)
        else:
            best = max((common(one.ids, ids) for its, one in here if its == kind), default=0)
            before = [one for _, one in here]
            found = cache.take(ids, kind)
            assert (found[1] if found else 0) == best
            if found is not None:
                assert found[0].ids == tuple(ids[:best])
                index = before.index(found[0])
                assert here.pop(index)[0] == kind
        assert cache.nbytes == sum(one.nbytes for _, one in here) <= 150


def common(one: Sequence[int], other: Sequence[int]) -> int:
    count = 0
    while count < min(len(one), len(other) - 1) and one[count] == other[count]:
        count += 1
    return count


# --- with an engine --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(checkpoints: Checkpoints) -> Any:
    folder = checkpoints.folder(tiny.GEMMA_2)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_two_conversations_never_get_each_others_continuation(model: Any) -> None:
    """They begin alike and part late; what follows is what each gets without a cache."""
    start = list(WORDS[:40])
    ends = [[WORDS[50 + n], WORDS[60 + n]] for n in range(6)]
    bare = BatchEngine(model, frozenset())
    wanted = [speak(bare, start + end, max_new_tokens=12)[0] for end in ends]
    assert len({tuple(text) for text in wanted}) == 6
    engine = BatchEngine(model, frozenset(), 10**9)
    for _ in range(3):
        found = at_once(
            lambda end=end: speak(engine, start + end, max_new_tokens=12)[0] for end in ends
        )
        assert found == wanted
    # Who guesses somebody's prompt and half of the reply gets what follows for anybody.
    guess = start + ends[0] + wanted[0][:6]
    assert speak(engine, guess, max_new_tokens=6)[0] == wanted[0][6:]


def test_cached_tokens_are_what_was_shared(model: Any) -> None:
    engine = BatchEngine(model, frozenset(), 10**9)
    prompt = list(WORDS[:30])
    said, cached = speak(engine, prompt, max_new_tokens=10)
    assert cached == 0
    whole = prompt + said
    assert speak(engine, [*whole, WORDS[3], WORDS[4]], max_new_tokens=4)[1] == len(whole) - 1
    assert speak(engine, [*whole, WORDS[3], WORDS[5]], max_new_tokens=4)[1] == len(whole) + 1
    assert speak(engine, [WORDS[70], *whole], max_new_tokens=4)[1] == 0


def kept_bytes(engine: BatchEngine) -> int:
    """After the step at hand, in which the last reply ended."""
    return engine.between_requests(lambda model: engine.kept.nbytes)


def test_kept_bytes_are_counted_and_never_above_the_budget(model: Any) -> None:
    """Also what a row leaves behind that had been among others."""
    prompts = [[WORDS[n], *WORDS[:59]] for n in range(6)]
    one = BatchEngine(model, frozenset(), 10**9)
    speak(one, prompts[0], max_new_tokens=20)
    size = kept_bytes(one)
    several = BatchEngine(model, frozenset(), 10**9)
    at_once(lambda prompt=prompt: speak(several, prompt, max_new_tokens=20) for prompt in prompts)
    least = 79 * 3 * 2 * 2 * 32 * 4  # columns, full layers, keys and values, heads, sizes, bytes
    assert 6 * least < kept_bytes(several) <= 6 * size
    little = BatchEngine(model, frozenset(), 2 * size)
    at_once(lambda prompt=prompt: speak(little, prompt, max_new_tokens=20) for prompt in prompts)
    assert 0 < kept_bytes(little) <= 2 * size
