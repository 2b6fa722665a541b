"""Rows in one cache against a plain reference: every row's tokens in a list, nothing shared.

Windowed and full layers go through the same random histories of steps, joins, leaves and cuts.
"""

import random
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Gemma2Config
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from gemma_space.engine import kv_layer
from gemma_space.engine.kv import RowsCache
from gemma_space.engine.kv_layer import RowsLayer
from tests import tiny_configs

WINDOW = 8
HEADS, SIZE = 2, 3
EACH = pytest.mark.parametrize("window", [None, WINDOW])


def states(rows: int, columns: int) -> kv_layer.Pair:
    """Values are not keys: a mix-up shows."""
    return torch.randn(rows, HEADS, columns, SIZE), torch.randn(rows, HEADS, columns, SIZE)


def theirs(window: int | None) -> DynamicLayer:
    return DynamicLayer() if window is None else DynamicSlidingWindowLayer(window)


def same(one: kv_layer.Pair, other: kv_layer.Pair) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@EACH
@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(1, 5))
def test_a_layer_shows_what_transformers_own_shows(
    window: int | None, sizes: list[int], query: int
) -> None:
    mine, its = RowsLayer(window), theirs(window)
    for size in sizes:
        assert mine.get_mask_sizes(query) == its.get_mask_sizes(query)
        assert mine.get_seq_length() == its.get_seq_length()
        new = states(1, size)
        shown = mine.update(*new)
        assert same(shown, its.update(*new))
        assert shown[0].shape[-2] == mine.get_mask_sizes(0)[0] or window is not None
    assert mine.get_mask_sizes(query) == its.get_mask_sizes(query)
    assert mine.get_max_length() == its.get_max_length()


@EACH
def test_bytes_are_those_that_are_needed_and_some_room(window: int | None) -> None:
    layer = RowsLayer(window)
    column = 2 * HEADS * SIZE * 4
    most = 0
    for size in (40, 40, 3, *[1] * 400):
        layer.update(*states(1, size))
        most = max(most, layer.kept if window is None else window - 1 + size)
        assert layer.nbytes <= column * (1.15 * most + kv_layer.ROOM_COLUMNS["cpu"])


def test_room_that_is_expected_is_made_at_once_where_all_is_kept() -> None:
    cache = RowsCache(Gemma2Config(num_hidden_layers=2, sliding_window=WINDOW))
    cache.expect(500)
    for layer in (0, 1):
        cache.update(*states(1, 10), layer)
    column = 2 * HEADS * SIZE * 4
    windowed, full = cache.own
    assert windowed.nbytes <= column * (10 + kv_layer.ROOM_COLUMNS["cpu"])
    assert full.nbytes == column * 500
    full.update(*states(1, 490))
    assert full.nbytes == column * 500


@EACH
def test_a_cut_needs_the_columns_before_it(window: int | None) -> None:
    layer, its = RowsLayer(window), theirs(window)
    prompt, reply, other = states(1, 30), states(1, 12), states(1, 4)
    layer.update(*prompt)
    its.update(*prompt)
    layer.since = 0
    for index in range(12):
        layer.update(*(one[:, :, index : index + 1] for one in reply))
        layer.since += 1
    layer._regrow(prompt, columns=0)  # drops what is not needed
    assert layer.reach() == (42 if window is None else 12)
    layer.crop(-12)
    assert layer.since == 0
    assert layer.get_mask_sizes(4) == its.get_mask_sizes(4)
    assert same(layer.update(*other), its.update(*other))


@dataclass
class Row:
    """The reference: all columns that a row ever had, and how many since its mark."""

    keys: torch.Tensor
    values: torch.Tensor
    since: int

    @property
    def seen(self) -> int:
        return self.keys.shape[-2]

    def last(self, count: int) -> kv_layer.Pair:
        return self.keys[..., self.seen - count :, :], self.values[..., self.seen - count :, :]


@dataclass
class Table:
    """Rows in a layer, as a batch uses it, and the same rows by themselves."""

    window: int | None
    layer: RowsLayer = field(init=False)
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layer = RowsLayer(self.window)

    def visible(self, row: Row) -> int:
        """Columns of a row that its next token looks at."""
        return row.seen if self.window is None else min(row.seen, self.window - 1)

    def join(self, row: Row, alone: RowsLayer) -> None:
        if self.rows:
            self.layer.add(alone)
        else:
            self.layer = alone
        self.rows.append(row)

    def newcomer(self, sizes: list[int]) -> None:
        alone, row = RowsLayer(self.window), Row(*states(1, 0), since=1)
        for size in sizes:
            new = states(1, size)
            alone.update(*new)
            row.keys = torch.cat([row.keys, new[0]], dim=-2)
            row.values = torch.cat([row.values, new[1]], dim=-2)
        alone.since = 1
        self.join(row, alone)

    def step(self) -> None:
        new = states(len(self.rows), 1)
        expected, _ = self.layer.get_mask_sizes(1)
        shown = self.layer.update(*new)
        self.layer.since += 1
        assert shown[0].shape == (len(self.rows), HEADS, expected, SIZE)
        for index, row in enumerate(self.rows):
            count = self.visible(row) + 1
            row.keys = torch.cat([row.keys, new[0][index : index + 1]], dim=-2)
            row.values = torch.cat([row.values, new[1][index : index + 1]], dim=-2)
            row.since += 1
            mine = tuple(one[index : index + 1, :, -count:] for one in shown)
            assert same((mine[0], mine[1]), row.last(count))
        assert all(one.isfinite().all() for one in shown), "what a row lacks is hidden, not gone"

    def failed_step(self) -> None:
        since = self.layer.since
        self.layer.update(*states(len(self.rows), 1))
        self.layer.crop(-1)
        self.layer.since = since

    def leave(self, index: int) -> tuple[Row, RowsLayer]:
        row = self.rows[index]
        alone = self.layer.copy(index, row.seen, row.since)
        self.layer.drop(index)
        self.rows[index] = self.rows[-1]
        self.rows.pop()
        if self.rows:
            self.layer.trim(max(r.seen for r in self.rows), max(r.since for r in self.rows))
            self.layer._buffers[0][len(self.rows) :] = torch.nan  # pyright: ignore
        assert alone.is_initialized
        assert alone.nbytes <= alone.kept * 2 * HEADS * SIZE * 4
        check_alone(row, alone, self.window)
        return row, alone


def check_alone(row: Row, layer: RowsLayer, window: int | None) -> None:
    """All that a layer says it can go back to is the row's own."""
    assert layer.seen == row.seen
    assert row.since <= layer.reach() <= row.seen or window is None
    assert same(layer._span(slice(0, 1), layer.kept), row.last(layer.kept))
    assert layer.kept == row.seen or (window is not None and layer.kept >= window - 1)


@EACH
@given(st.integers(0, 10**9))
def test_rows_keep_their_columns_through_any_history(window: int | None, seed: int) -> None:
    chance = random.Random(seed)
    torch.manual_seed(seed)
    table = Table(window)
    outside: list[tuple[Row, RowsLayer]] = []
    for _ in range(40):
        action = chance.random()
        if not table.rows or (action < 0.15 and len(table.rows) < 5):
            table.newcomer([chance.choice((1, 2, 7, 30, 90)) for _ in range(chance.choice((1, 3)))])
        elif action < 0.3:
            outside.append(table.leave(chance.randrange(len(table.rows))))
        elif action < 0.4 and outside and len(table.rows) < 5:
            table.join(*outside.pop(chance.randrange(len(outside))))
        elif action < 0.5:
            table.failed_step()
        else:
            table.step()
        if len(table.rows) == 1 and table.layer.rows == 1:
            check_alone(table.rows[0], table.layer, window)


@EACH
def test_what_a_former_row_had_is_never_seen(window: int | None) -> None:
    """Not even as a factor: 0 times a number that is none is none."""
    torch.manual_seed(0)
    table = Table(window)
    table.newcomer([5])
    for _ in range(3):
        table.newcomer([100])
    for one in table.layer._buffers or ():
        one[1:] = torch.nan  # the three overflow
    for _ in range(3):
        table.layer.drop(1)
        table.rows.pop()
    table.layer.trim(5, 1)
    table.newcomer([6])
    table.newcomer([100])
    for _ in range(3):
        table.step()


def test_a_cache_has_the_windows_of_its_configuration() -> None:
    common = {
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    cache = RowsCache(tiny_configs.gemma_4(dict(common)))
    windows = [layer.window for layer in cache.layers if isinstance(layer, RowsLayer)]
    assert windows[:4] == [16, None, 16, None]  # two more look at others' and hold nothing
    half = RowsCache(tiny_configs.gemma_3_multimodal({**common, "tie_word_embeddings": True}))
    windows = [layer.window for layer in half.layers if isinstance(layer, RowsLayer)]
    assert windows == [16] * 5 + [None]


def test_a_cache_is_cut_marked_and_brought_back_as_a_whole() -> None:
    cache = RowsCache(Gemma2Config(num_hidden_layers=2, sliding_window=WINDOW))
    assert (cache.length, cache.nbytes, cache.reach()) == (0, 0, 0)
    for layer in (0, 1):
        cache.update(*states(1, 30), layer)
    cache.mark(since=1)
    cache.update(*states(1, 1), 0)  # the step fails before the second layer
    cache.back_to(30)
    assert [layer.seen for layer in cache.own] == [30, 30]
    assert [layer.since for layer in cache.own] == [1, 1]
    cache.cut(2)
    assert cache.length == 28
    assert cache.get_mask_sizes(1, 0) == (WINDOW, 28 - WINDOW + 1)
    assert cache.get_mask_sizes(1, 1) == (29, 0)
