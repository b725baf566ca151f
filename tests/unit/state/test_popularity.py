"""Popularity is a decayed count."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.state.counts import LEAST_SCALE
from pipeline.state.growing import BLOCK
from pipeline.state.latest_counts import LENGTH
from pipeline.state.popularity import EVEN, PRIOR, DecayedPopularity


def popularity_of(*items: int, size: int = 3) -> DecayedPopularity:
    popularity = DecayedPopularity(half_life=100)
    popularity.grow(size)
    popularity.fold(np.array(items, dtype=np.int64), np.ones(len(items)))
    return popularity


def test_shares_sum_to_one_and_a_new_item_has_one() -> None:
    popularity = popularity_of(0, 0, 1)
    shares = np.exp(popularity.log_share())
    assert shares == pytest.approx(np.array([2 + PRIOR, 1 + PRIOR, PRIOR]) / (3 + 3 * PRIOR))
    assert np.array_equal(popularity.log_share(np.array([2, 0])), popularity.log_share()[[2, 0]])


def test_a_half_life_halves() -> None:
    popularity = popularity_of(0, 0, 1)
    popularity.age(50)
    popularity.age(50)
    assert popularity.counts == pytest.approx([1, 0.5, 0])
    assert popularity.total == pytest.approx(1.5)


def test_the_trend_is_of_the_last_acts_beyond_the_popularity() -> None:
    popularity = popularity_of(*[0] * LENGTH)
    assert popularity.trend() == pytest.approx(0, abs=1e-6), "what is all there is has no trend"
    popularity.fold(np.full(LENGTH // 2, 1), np.ones(LENGTH // 2))
    latest, counts = np.array([LENGTH // 2, LENGTH // 2, 0]), np.array([LENGTH, LENGTH // 2, 0])
    expected = np.log((latest + EVEN) / (counts / 1.5 + EVEN))
    assert popularity.trend() == pytest.approx(expected, abs=1e-6)
    assert expected[0] < 0 < expected[1]
    assert popularity.trend(np.array([2, 1])) == pytest.approx(expected[[2, 1]], abs=1e-6)


@given(st.lists(st.lists(st.integers(0, 3), max_size=30), max_size=5), st.integers(0, 3))
def test_taking_an_act_back_raises_no_trend(batches: list[list[int]], item: int) -> None:
    popularity = DecayedPopularity(math.inf)  # of others, by as much as counts have decayed within the window
    popularity.grow(4)
    for items in batches:
        popularity.fold(np.array(items, dtype=np.int64), np.ones(len(items)))
    popularity.fold(np.array([item]), np.ones(1))
    before = popularity.trend()[item] - popularity.trend().mean()
    popularity.fold(np.array([item]), -np.ones(1))
    assert popularity.trend()[item] - popularity.trend().mean() <= before + 1e-6


def test_growing_and_folding_leave_what_was_read_alone() -> None:
    popularity = popularity_of(0)
    held = popularity.counts, popularity.all_stored(), popularity.of(np.array([0, 1, 2]))
    popularity.grow(5)
    popularity.fold(np.array([4, 0]), np.ones(2))
    popularity.age(10)
    assert [array.tolist() for array in held] == [[1, 0, 0]] * 3
    assert popularity.counts.size == popularity.size == 5


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 2 * BLOCK), st.integers(-3, 5)), max_size=9),
            st.integers(0, 5_000),
        ),
        max_size=12,
    )
)
def test_counts_and_total_are_those_of_a_plain_array(
    folded: list[tuple[list[tuple[int, int]], int]],
) -> None:
    popularity, expected = popularity_of(size=2 * BLOCK + 1), np.zeros(2 * BLOCK + 1)
    for acts, events in folded:
        items, weights = np.array(acts, dtype=np.int64).reshape(-1, 2).T
        popularity.fold(items, weights.astype(np.float64))
        np.add.at(expected, items, weights)
        expected = np.maximum(expected, 0)
        popularity.age(events)
        expected *= 0.5 ** (events / 100)
        restored = popularity_of(size=0)
        restored.load(popularity.all_stored(), popularity.scale)
        assert restored.total == popularity.total, "the total depends on the counts alone"
    np.testing.assert_allclose(popularity.counts, expected, atol=1e-12)
    assert popularity.total == pytest.approx(expected.sum())
    assert popularity.scale >= LEAST_SCALE


def test_items_are_drawn_in_proportion_to_their_counts() -> None:
    size = 3 * BLOCK + 5
    popularity = popularity_of(size=size)
    items = np.array([0, BLOCK - 1, BLOCK, 3 * BLOCK + 4])
    popularity.fold(items, np.array([1.0, 2.0, 3.0, 4.0]))
    popularity.age(70)
    drawn = np.bincount(popularity.draw(20_000, np.random.default_rng(0)), minlength=size)
    assert np.flatnonzero(drawn).tolist() == items.tolist()
    assert drawn[items] / 20_000 == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.01)


def test_a_draw_at_the_end_of_rounded_sums_is_an_item_with_a_count() -> None:
    class Last(np.random.Generator):
        def random(self, size: int) -> np.ndarray:  # type: ignore[override]
            return np.full(size, np.nextafter(1, 0))

    popularity = popularity_of(size=2 * BLOCK)
    popularity.fold(np.arange(7, 300), np.full(293, 0.1))
    assert popularity.draw(2, Last(np.random.PCG64())).tolist() == [299, 299]


def test_the_most_popular_are_those_of_the_highest_counts_and_lowest_rows() -> None:
    popularity = popularity_of(4, 4, 1, 3, 0, 3, size=6)
    assert popularity.top(4).tolist() == [3, 4, 0, 1]
    assert popularity.top(9).tolist() == [3, 4, 0, 1, 2, 5]


def test_rows_that_changed_are_told_once() -> None:
    popularity = popularity_of(2, 0)
    assert popularity.take_changed().tolist() == [0, 2]
    popularity.age(10)
    popularity.fold(np.array([1, 1]), np.ones(2))
    assert popularity.take_changed().tolist() == [1]
