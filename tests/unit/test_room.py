"""The eviction rule: who leaves, who never does, and that nobody leaves for nothing."""

from hypothesis import given
from hypothesis import strategies as st

from gemma_space.room import Resident, plan

SIZES = st.integers(0, 100)
RESIDENTS = st.lists(st.tuples(SIZES, st.one_of(st.none(), st.integers(0, 9))), max_size=6).map(
    lambda rows: [Resident(i, size, used) for i, (size, used) in enumerate(rows)]
)


def test_nobody_leaves_where_there_is_room() -> None:
    room = plan(40, 100, [Resident("a", 60, 1.0)])
    assert (room.fits, room.evict, room.kept_bytes) == (True, (), 60)


def test_the_longest_idle_leaves_first_and_no_more_than_needed() -> None:
    residents = [Resident("new", 30, 9.0), Resident("old", 30, 1.0), Resident("older", 30, 0.5)]
    assert plan(20, 100, residents).evict == ("older",)
    assert plan(50, 100, residents).evict == ("older", "old")


def test_of_equally_idle_ones_the_first_named_leaves() -> None:
    residents = [Resident("adapter", 10, 1.0), Resident("base", 60, 1.0)]
    assert plan(40, 100, residents).evict == ("adapter",)


def test_who_is_in_use_stays_and_nobody_leaves_in_vain() -> None:
    residents = [Resident("busy", 60, None), Resident("idle", 30, 0.0)]
    room = plan(50, 100, residents)
    assert (room.fits, room.evict, room.kept_bytes) == (False, (), 60)


@given(needed=SIZES, limit=st.integers(0, 300), residents=RESIDENTS)
def test_a_plan_is_enough_minimal_and_spares_who_is_in_use(
    needed: int, limit: int, residents: list[Resident[int]]
) -> None:
    room = plan(needed, limit, residents)
    leaving = {r.key: r for r in residents if r.key in room.evict}
    assert all(r.last_used is not None for r in leaving.values())
    in_use = sum(r.nbytes for r in residents if r.last_used is None)
    assert room.fits == (in_use + needed <= limit)
    if not room.fits:
        assert room.evict == ()
        return
    kept = sum(r.nbytes for r in residents) - sum(r.nbytes for r in leaving.values())
    assert kept == room.kept_bytes
    assert kept + needed <= limit
    if room.evict:  # without the last one it would not have been enough
        assert kept + leaving[room.evict[-1]].nbytes + needed > limit
    ages = [leaving[key].last_used for key in room.evict]
    assert ages == sorted(a for a in ages if a is not None)
