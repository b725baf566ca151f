"""Pair counts equal a dense matrix after any operations, which never change old arrays."""

from __future__ import annotations

from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.state import counts as counts_module
from pipeline.state.counts import PairCounts

SIZE = 4

pairs = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(1, 20)), max_size=8
)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("add"), pairs),
        st.tuples(st.just("grow"), st.integers(0, 3)),
        st.tuples(st.just("decay"), st.floats(0.1, 1)),
        st.tuples(st.just("merge"), st.none()),
    ),
    max_size=12,
)


@dataclass
class Dense:
    """The expected behaviour of PairCounts, on a dense matrix."""

    counts: NDArray[np.float64]

    def add(self, given_pairs: list[tuple[int, int, int]]) -> None:
        for row, column, weight in given_pairs:
            self.counts[row, column] += weight

    def grow(self, extra: int) -> None:
        self.counts = np.pad(self.counts, (0, extra))


def add(counts: PairCounts, given_pairs: list[tuple[int, int, int]]) -> None:
    rows, columns, weights = np.array(given_pairs, dtype=np.int64).reshape(-1, 3).T
    counts.add(rows, columns, weights.astype(np.float64))


def merge(counts: PairCounts, smallest: float = 0.0, max_per_row: int = 1_000) -> None:
    with patch.multiple(counts_module, MERGE_MINIMUM=0, MERGE_SHARE=0.0):
        counts.compact(smallest, max_per_row)


@given(acts)
def test_counts_equal_a_dense_matrix(operations: list[tuple[str, object]]) -> None:
    counts, dense = PairCounts.empty(SIZE), Dense(np.zeros((SIZE, SIZE)))
    for verb, value in operations:
        if isinstance(value, list):
            add(counts, value)
            dense.add(value)
        elif isinstance(value, int):
            counts.grow(counts.size + value)
            dense.grow(value)
        elif isinstance(value, float):
            counts.decay(value)
            dense.counts *= value
        else:
            assert verb == "merge"
            merge(counts)
    np.testing.assert_allclose(counts.merged().toarray(), dense.counts)
    np.testing.assert_allclose(counts.totals * counts.scale, dense.counts.sum(axis=1))
    weights = np.arange(2.0 * counts.size).reshape(2, -1)
    np.testing.assert_allclose(counts.mix(sp.csr_array(weights)), weights @ dense.counts)


@given(pairs, pairs)
def test_arrays_read_from_counts_never_change(
    before: list[tuple[int, int, int]], after: list[tuple[int, int, int]]
) -> None:
    counts = PairCounts.empty(SIZE)
    add(counts, before)
    merge(counts)
    add(counts, after)
    held = (counts.base, counts.recent, counts.totals)
    original = (counts.base.toarray(), counts.recent.toarray(), counts.totals.copy())
    add(counts, after)
    counts.decay(0.5)
    counts.grow(2 * SIZE)
    merge(counts)
    base, recent, totals = held
    for kept, was in zip((base.toarray(), recent.toarray(), totals), original, strict=True):
        np.testing.assert_array_equal(kept, was)


def test_a_merge_keeps_the_largest_counts_of_each_row() -> None:
    counts = PairCounts.empty(4)
    add(counts, [(0, 0, 3), (0, 1, 9), (0, 2, 5), (0, 3, 7), (1, 0, 1), (2, 3, 2)])
    merge(counts, smallest=2, max_per_row=2)
    expected = np.zeros((4, 4))
    expected[0, [1, 3]] = [9, 7]
    expected[2, 3] = 2
    np.testing.assert_array_equal(counts.merged().toarray(), expected)
    np.testing.assert_array_equal(counts.totals, expected.sum(axis=1))


def test_counts_that_decayed_too_far_are_dropped() -> None:
    counts = PairCounts.empty(2)
    add(counts, [(0, 1, 8), (1, 0, 20)])
    counts.decay(0.1)
    merge(counts, smallest=1)
    np.testing.assert_allclose(counts.merged().toarray(), [[0, 0], [2, 0]])


@pytest.mark.parametrize(("recent", "merges"), [(3, False), (4, True)])
def test_levels_merge_when_the_recent_one_has_grown_enough(recent: int, merges: bool) -> None:
    counts = PairCounts.empty(8)
    add(counts, [(0, column, 1) for column in range(recent)])
    with patch.object(counts_module, "MERGE_MINIMUM", 4):
        counts.compact(0, 1_000)
    assert (counts.recent.nnz == 0) == merges
    assert counts.merged().nnz == recent
