"""Diverse answers keep what they can of the order; caps hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from consumers.serve.diversity import MOST_POOL, diversified, pool_size


def directions(seed: int, count: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


falling = st.lists(st.floats(-50, 50), max_size=30).map(lambda scores: np.array(sorted(scores)[::-1]))


@given(falling, st.integers(0, 99), st.floats(0, 1))
def test_every_item_has_a_place_and_the_best_its_own(
    scores: NDArray[np.float64], seed: int, diversity: float
) -> None:
    order = diversified(scores, directions(seed, scores.size), diversity).tolist()
    assert sorted(order) == list(range(scores.size))
    assert order[:1] == [0][: scores.size]


@given(falling, st.integers(0, 99))
def test_without_diversity_the_order_stays(scores: NDArray[np.float64], seed: int) -> None:
    assert diversified(scores, directions(seed, scores.size), 0.0).tolist() == list(range(scores.size))


def test_a_twin_comes_after_what_is_almost_as_good() -> None:
    scores, vectors = np.array([1.0, 0.9, 0.8, 0.0]), np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    assert diversified(scores, vectors, 0.3).tolist() == [0, 2, 1, 3]
    assert diversified(scores, vectors, 0.01).tolist() == [0, 1, 2, 3]


@given(st.integers(1, 5_000))
def test_a_pool_has_enough_items_and_not_too_many(k: int) -> None:
    assert k <= pool_size(k) <= max(k, MOST_POOL)
