"""Pair counts equal a dense matrix after any operations; what is read from them never changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.state.counts import LEAST_SCALE, PairCounts, PairRows, is_pairs
from tests.support.build import matrix_of

SIZE = 11
"""More than two blocks of four pairs, so that rows move."""

item = st.integers(0, SIZE - 1)
pairs = st.lists(st.tuples(item, item, st.integers(-9, 20)), max_size=24)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("fold"), pairs),
        st.tuples(st.just("grow"), st.integers(0, 3)),
        st.tuples(st.just("decay"), st.floats(0.1, 1)),
    ),
    max_size=12,
)


@dataclass
class Dense:
    """The expected behaviour of PairCounts without eviction, on a dense matrix."""

    counts: NDArray[np.float64]

    def fold(self, given_pairs: list[tuple[int, int, int]]) -> None:
        given, taken = (np.zeros_like(self.counts) for _ in range(2))
        for row, column, weight in given_pairs:
            (given if weight > 0 else taken)[row, column] += weight
        self.counts = np.maximum(self.counts + given + taken, 0)

    def grow(self, extra: int) -> None:
        self.counts = np.pad(self.counts, (0, extra))


def empty(size: int = SIZE, smallest: float = 0.0, max_per_row: int = 1_000) -> PairCounts:
    counts = PairCounts(smallest, max_per_row)
    counts.grow(size)
    return counts


def fold(counts: PairCounts, given_pairs: list[tuple[int, int, int]]) -> None:
    rows, columns, weights = np.array(given_pairs, dtype=np.int64).reshape(-1, 3).T
    counts.fold(rows, columns, weights.astype(np.float64))


def apply(counts: PairCounts, value: object) -> None:
    if isinstance(value, list):
        fold(counts, value)
    elif isinstance(value, int):
        counts.grow(counts.size + value)
    elif isinstance(value, float):
        counts.decay(value)


def restored(counts: PairCounts) -> PairCounts:
    return counts.replaced(counts.all_stored(), counts.scale)


def assert_same(one: PairRows, other: PairRows) -> None:
    for mine, others in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, others)


@given(operations)
def test_counts_equal_a_dense_matrix(done: list[tuple[str, object]]) -> None:
    counts, dense = empty(), Dense(np.zeros((SIZE, SIZE)))
    for _, value in done:
        apply(counts, value)
        if isinstance(value, list):
            dense.fold(value)
        elif isinstance(value, int):
            dense.grow(value)
        elif isinstance(value, float):
            dense.counts *= value
    np.testing.assert_allclose(matrix_of(counts), dense.counts, atol=1e-12)
    asked = np.array([3, 0, 7, 3])
    found = counts.rows(asked)
    np.testing.assert_allclose(found.totals, dense.counts[asked].sum(axis=1), atol=1e-12)
    stored = counts.all_stored()
    assert is_pairs(stored.lengths, stored.columns)


@given(operations, operations)
def test_restored_counts_go_on_as_the_ones_that_were_stored(
    before: list[tuple[str, object]], after: list[tuple[str, object]]
) -> None:
    """With eviction: what is dropped must not depend on where rows lie."""
    counts = empty(smallest=3, max_per_row=4)
    for _, value in before:
        apply(counts, value)
    other = restored(counts)
    for _, value in after:
        apply(counts, value)
        apply(other, value)
        assert_same(counts.all_stored(), other.all_stored())
        assert counts.scale == other.scale


@given(pairs, pairs)
def test_what_was_read_never_changes(
    before: list[tuple[int, int, int]], after: list[tuple[int, int, int]]
) -> None:
    counts = empty()
    fold(counts, before)
    held = [np.asarray(array) for array in (*counts.all_stored(), *counts.rows(np.arange(SIZE)))]
    original = [array.copy() for array in held]
    fold(counts, after)
    counts.decay(0.5)
    counts.grow(2 * SIZE)
    fold(counts, before)
    for array, was in zip(held, original, strict=True):
        np.testing.assert_array_equal(array, was)


def test_a_long_row_is_cut_to_its_largest_counts() -> None:
    counts = empty(max_per_row=4)
    fold(counts, [(0, column, 9 - column) for column in range(5)])
    assert counts.rows(np.array([0])).columns.size == 5, "a row may be a quarter longer"
    fold(counts, [(0, 7, 7), (1, 0, 1)])
    np.testing.assert_array_equal(counts.rows(np.array([0, 1])).columns, [0, 1, 2, 7, 0])


def test_of_equal_counts_those_of_the_first_items_are_kept() -> None:
    counts = empty(max_per_row=4)
    fold(counts, [(0, column, 5) for column in (9, 2, 7, 1, 8, 3)])
    assert counts.rows(np.array([0])).columns.tolist() == [1, 2, 3, 7]


def test_counts_that_decayed_too_far_are_dropped_when_their_row_grows() -> None:
    counts = empty(smallest=1)
    fold(counts, [(0, 1, 8), (0, 2, 20), (0, 3, 9), (1, 0, 8)])
    counts.decay(0.1)
    fold(counts, [(0, 4, 1)])
    assert counts.rows(np.array([0])).columns.tolist() == [1, 2, 3, 4], "its block has room for it"
    fold(counts, [(0, 5, 1), (0, 6, 0)])
    found = counts.rows(np.array([0, 1]))
    assert found.columns.tolist() == [2, 4, 5, 0]
    assert found.values == pytest.approx([2, 1, 1, 0.8])


def test_a_tiny_scale_is_multiplied_into_the_counts() -> None:
    counts = empty()
    fold(counts, [(0, 1, 16)])
    for _ in range(40):
        counts.decay(2.0**-7)
        fold(counts, [(0, 2, 1)])
    assert counts.scale > LEAST_SCALE
    assert counts.rows(np.array([0])).values == pytest.approx([2.0**-276, 1 / (1 - 2.0**-7)])


def test_blocks_that_rows_have_left_are_used_again() -> None:
    """Each row grows by one pair at a time, through blocks of 4, 8, 16, 32 and 64 pairs."""
    counts = empty(size=100)
    for row in range(100):
        for column in range(40):
            fold(counts, [(row, column, 1)])
    assert counts.rows(np.arange(100)).lengths.tolist() == [40] * 100
    assert 100 * 64 <= counts.room <= 101 * 64


def test_rows_that_changed_are_told_once() -> None:
    counts = empty()
    fold(counts, [(4, 1, 5), (2, 1, 5), (4, 2, 5)])
    fold(counts, [(4, 1, -2), (7, 1, -2)])
    assert counts.take_changed().tolist() == [2, 4], "nothing of row 7 was left to take"
    counts.decay(0.5)
    assert not counts.take_changed().size
    fold(counts, [(4, 1, -2)])
    counts.grow(2 * SIZE)
    assert counts.take_changed().tolist() == [4]
    assert restored(counts).take_changed().tolist() == list(range(2 * SIZE))


@pytest.mark.parametrize(
    ("lengths", "columns"),
    [
        ([1, 1], [0]),
        ([2, -1], [0]),
        ([1, 1], [0, 2]),
        ([1, 1], [0, -1]),
        ([2, 0], [1, 1]),
        ([2, 0], [1, 0]),
        ([2**62, 2**62], [0]),
    ],
)
def test_pairs_that_are_none_are_recognised(lengths: list[int], columns: list[int]) -> None:
    assert is_pairs(np.array([1, 1]), np.array([1, 0], dtype=np.int32))
    assert not is_pairs(np.array(lengths), np.array(columns, dtype=np.int32))
