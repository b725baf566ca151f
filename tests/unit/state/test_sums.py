"""Sums of a snapshot's counts and later ones equal the same sums on dense arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.state.counts import PairCounts
from pipeline.state.sums import CovisitationSum, PopularitySum
from tests.support.build import popularity_of

KNOWN, SIZE = 6, 9
"""Items of the snapshot, and all items."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

base_pairs = st.lists(
    st.tuples(st.integers(0, KNOWN - 1), st.integers(0, KNOWN - 1), st.integers(1, 9)), max_size=20
)
later_pairs = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(-9, 9)), max_size=20
)


def columns(pairs: list[tuple[int, int, int]]) -> Pairs:
    rows, others, weights = np.array(pairs, dtype=np.int64).reshape(-1, 3).T
    return rows, others, weights.astype(np.float64)


@given(base_pairs, later_pairs, st.sets(st.integers(0, SIZE - 1), min_size=1))
def test_pairs_are_summed_and_never_below_zero(
    before: list[tuple[int, int, int]], later: list[tuple[int, int, int]], asked: set[int]
) -> None:
    base, expected = PairCounts(), np.zeros((SIZE, SIZE))
    base.grow(KNOWN)
    base.fold(*columns(before))
    for row, column, weight in [*before, *later]:
        expected[row, column] += weight
    expected = np.maximum(expected, 0)
    items = np.array(sorted(asked))
    found = CovisitationSum(SIZE, base, columns(later)).rows(items)
    summed = np.zeros((items.size, SIZE))
    summed[found.numbers, found.columns] = found.values
    np.testing.assert_array_equal(summed, expected[items])
    np.testing.assert_array_equal(found.totals, expected[items].sum(axis=1))
    suggested = CovisitationSum(SIZE, base, columns(later)).suggest([items]).toarray()
    assert (suggested >= 0).all()
    assert suggested.sum() <= 1 + 1e-6


@given(
    st.lists(st.integers(0, 9), min_size=KNOWN, max_size=KNOWN),
    st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(-9, 9)), max_size=9),
)
def test_counts_are_summed_and_never_below_zero(before: list[int], later: list[tuple[int, int]]) -> None:
    expected = np.array([*before, *[0] * (SIZE - KNOWN)], dtype=np.float64)
    rows, weights = np.array(later, dtype=np.int64).reshape(-1, 2).T
    base = popularity_of(expected[:KNOWN])
    np.add.at(expected, rows, weights)
    expected = np.maximum(expected, 0)
    summed = PopularitySum(SIZE, base, rows, weights.astype(np.float64))
    np.testing.assert_array_equal(summed.counts, expected)
    np.testing.assert_array_equal(summed.of(np.array([8, 0, 3, 3])), expected[[8, 0, 3, 3]])
    assert summed.total == expected.sum()
    np.testing.assert_array_equal(summed.log_share(np.array([8, 0])), summed.log_share()[[8, 0]])


def test_the_trend_is_that_of_the_snapshot() -> None:
    base = popularity_of(np.array([3.0, 2, 0]))
    base.latest.load(np.array([1, 1]), np.ones(2))
    summed = PopularitySum(5, base, np.array([0, 4]), np.array([9.0, 9]))
    np.testing.assert_array_equal(summed.trend(), [*base.trend(), 0, 0])
    np.testing.assert_array_equal(summed.trend(np.array([4, 1])), summed.trend()[[4, 1]])
