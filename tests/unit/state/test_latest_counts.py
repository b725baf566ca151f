"""The window of the last acts counts these alone, however they came."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.state.latest_counts import LENGTH, LatestCounts

ITEMS = 5
Acts = list[tuple[int, float]]
ACTS = st.lists(st.tuples(st.integers(0, ITEMS - 1), st.sampled_from([1.0, 0.3, -1.0])), max_size=30)


def folded(batches: list[Acts]) -> LatestCounts:
    latest = LatestCounts()
    latest.grow(ITEMS)
    for acts in batches:
        latest.fold(np.array([item for item, _ in acts], dtype=np.int64), np.array([w for _, w in acts]))
    return latest


def every(latest: LatestCounts) -> NDArray[np.float64]:
    return latest.of(np.arange(ITEMS))


@given(st.lists(ACTS, max_size=5))
def test_counts_are_sums_of_weights_whatever_the_batches(batches: list[Acts]) -> None:
    latest, acts = folded(batches), [act for batch in batches for act in batch]
    sums = [max(0.0, sum(w for item, w in acts if item == row)) for row in range(ITEMS)]
    assert np.allclose(every(latest), sums)
    assert latest.total == latest.counts.sum() == every(latest).sum()
    at_once = folded([acts])
    assert np.array_equal(every(latest), every(at_once))
    assert np.array_equal(latest.rows, at_once.rows)


def test_the_oldest_acts_leave_the_window() -> None:
    latest = folded([[(0, 1.0)] * 10, [(1, 1.0)] * (LENGTH - 4)])
    assert every(latest).tolist() == [4, LENGTH - 4, 0, 0, 0]
    latest.fold(np.full(LENGTH + 1, 2), np.ones(LENGTH + 1))
    assert every(latest).tolist() == [0, 0, LENGTH, 0, 0]
    assert latest.items.size == LENGTH


def test_a_loaded_window_goes_on_as_it_was() -> None:
    first, second = folded([[(3, 0.3), (0, 1.0), (2, -1.0)]]), folded([[(4, 1.0)]])
    second.load(**first.state())
    for latest in (first, second):
        latest.fold(np.array([3]), np.array([0.3]))
    assert np.array_equal(every(first), every(second))
    second.load(**first.sums())
    assert np.array_equal(every(first), every(second))
    assert second.items.tolist() == [0, 3], "what is public has no order of acts"
    assert second.total == first.total
    second.load()
    assert not every(second).any()
    assert second.total == 0


def test_a_window_without_acts_has_sums_of_the_same_type() -> None:
    loaded = folded([])
    loaded.load(**loaded.state())
    for latest in (folded([]), loaded):
        assert {name: array.dtype for name, array in latest.sums().items()} == {
            "items": np.int64,
            "weights": np.float64,
        }
