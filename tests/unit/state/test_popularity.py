"""Popularity is a decayed count."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.state.popularity import PRIOR, Popularity


def popularity_of(*items: int, size: int = 3) -> Popularity:
    popularity = Popularity(half_life=100)
    popularity.grow(size)
    popularity.fold(np.array(items, dtype=np.int64))
    return popularity


def test_shares_sum_to_one_and_a_new_item_has_one() -> None:
    shares = np.exp(popularity_of(0, 0, 1).log_share())
    assert shares == pytest.approx(np.array([2 + PRIOR, 1 + PRIOR, PRIOR]) / (3 + 3 * PRIOR))


def test_a_half_life_halves() -> None:
    popularity = popularity_of(0, 0, 1)
    popularity.age(50)
    popularity.age(50)
    assert popularity.counts == pytest.approx([1, 0.5, 0])


def test_growing_and_folding_leave_the_old_array_alone() -> None:
    popularity = popularity_of(0)
    held = popularity.counts
    popularity.grow(5)
    popularity.fold(np.array([4, 0]))
    popularity.age(10)
    assert held.tolist() == [1, 0, 0]
    assert popularity.counts.size == 5
