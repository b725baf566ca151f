"""Diverse answers keep what they can of the order; caps hold."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from consumers.serve.diversity import capped, diversified


def directions(seed: int, count: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


falling = st.lists(st.floats(-50, 50), max_size=30).map(lambda scores: np.array(sorted(scores)[::-1]))


@given(falling, st.integers(0, 99), st.floats(0, 1), st.integers(0, 40))
def test_as_many_are_picked_as_there_are_each_once(
    scores: NDArray[np.float64], seed: int, diversity: float, count: int
) -> None:
    picked = diversified(scores, directions(seed, scores.size), diversity, count)
    assert len(picked) == len(set(picked)) == min(count, scores.size)
    if picked:
        assert picked[0] == 0


@given(falling, st.integers(0, 99))
def test_without_diversity_the_order_stays(scores: NDArray[np.float64], seed: int) -> None:
    assert diversified(scores, directions(seed, scores.size), 0.0, 100) == list(range(scores.size))


def test_a_twin_comes_after_what_is_almost_as_good() -> None:
    scores, vectors = np.array([1.0, 0.9, 0.8, 0.0]), np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    assert diversified(scores, vectors, 0.3, 4) == [0, 2, 1, 3]
    assert diversified(scores, vectors, 0.01, 4) == [0, 1, 2, 3]


@given(st.lists(st.integers(-1, 4), max_size=40), st.integers(1, 5))
def test_caps_keep_the_first_of_each_group(groups: list[int], most: int) -> None:
    kept = capped(np.array(groups, dtype=np.int64), most)
    seen: Counter[int] = Counter()
    for group, is_kept in zip(groups, kept.tolist(), strict=True):
        assert is_kept == (group < 0 or seen[group] < most)
        seen[group] += 1


@pytest.mark.parametrize("diversity", [0.0, 0.5, 1.0])
def test_nothing_is_picked_of_nothing(diversity: float) -> None:
    assert diversified(np.zeros(0), np.zeros((0, 2), np.float32), diversity, 5) == []
