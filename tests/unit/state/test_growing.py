"""Growing arrays keep their values and do not copy them for each new row."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.state.growing import BLOCK, ChangedRows, GrowingArray, distinct


def test_values_stay_and_new_ones_are_zero() -> None:
    array = GrowingArray[np.int64](np.int64)
    for size in (3, 3, BLOCK, BLOCK + 1, 3 * BLOCK):
        array.grow(size)
        array.values[:] += 1
        assert array.size == array.values.size == size
    expected = np.repeat([5, 3, 2, 1], [3, BLOCK - 3, 1, 2 * BLOCK - 1])
    assert array.values.tolist() == expected.tolist()


def test_growing_by_one_copies_seldom() -> None:
    array, rooms = GrowingArray[np.float64](np.float64), set()
    for size in range(1, 20 * BLOCK):
        array.grow(size)
        rooms.add(array.room.size)
        assert array.room.size % BLOCK == 0
    assert len(rooms) <= 6


def test_loaded_values_are_a_copy() -> None:
    array, values = GrowingArray[np.int64](np.int64), np.arange(5)
    array.grow(9)
    array.load(values)
    values[:] = 7
    array.grow(6)
    assert array.values.tolist() == [0, 1, 2, 3, 4, 0]


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=9), st.integers(0, 9))
def test_changed_rows_are_taken_once(changes: list[list[int]], taken_after: int) -> None:
    rows, expected = ChangedRows(), set[int]()
    rows.grow(10)
    for step, changed in enumerate(changes):
        if step == taken_after:
            assert rows.take().tolist() == sorted(expected)
            expected = set()
        rows.add(np.array(changed, dtype=np.int64))
        expected |= set(changed)
    assert rows.take().tolist() == sorted(expected)
    assert not rows.take().size


@given(st.lists(st.lists(st.integers(0, 20)), max_size=4))
def test_distinct_rows_are_ascending_and_each_once(rows: list[list[int]]) -> None:
    found = distinct(*(np.array(some, dtype=np.int64) for some in rows))
    assert found.tolist() == sorted({row for some in rows for row in some})
    assert found.dtype == np.int64
