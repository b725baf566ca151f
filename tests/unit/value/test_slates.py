"""Slates: values and the best slate equal those of enumeration."""

from __future__ import annotations

from dataclasses import astuple
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.value.slates import Estimates, Members, best_slates, slate_values, swaps


def estimates(seed: int, items: int, effects: bool = False) -> Estimates:
    rewards, futures, logits, shown = np.random.default_rng(seed).normal(size=(4, 1, items + 1))
    return Estimates(2 * (rewards + futures), logits, shown[:, :-1] if effects else np.zeros((1, items)))


def members_of(slate: tuple[int, ...], items: int) -> Members:
    return np.array([[item in slate for item in range(items)]])


def value_by_hand(one: Estimates, slate: tuple[int, ...]) -> float:
    """Σ v Q̄ / Σ v + Σ E / k, item by item."""
    chosen = [*slate, one.values.shape[1] - 1]
    weights = [float(np.exp(one.logits[0, item])) for item in chosen]
    value = sum(w * float(one.values[0, item]) for w, item in zip(weights, chosen, strict=True)) / sum(
        weights
    )
    return value + sum(float(one.effects[0, item]) for item in slate) / len(slate)


@given(seed=st.integers(0, 10_000), slate=st.sets(st.integers(0, 5), min_size=1))
def test_a_slates_value_is_that_of_its_items(seed: int, slate: set[int]) -> None:
    one, items = estimates(seed, 6, effects=True), tuple(sorted(slate))
    assert float(slate_values(one, members_of(items, 6))[0]) == pytest.approx(
        value_by_hand(one, items), abs=1e-4
    )


@given(seed=st.integers(0, 10_000), size=st.integers(1, 6))
def test_the_best_slate_is_that_of_enumeration(seed: int, size: int) -> None:
    one = estimates(seed, 6)
    found = best_slates(one, np.ones((1, 6), dtype=np.bool_), np.array([size])).members
    highest = max(value_by_hand(one, slate) for slate in combinations(range(6), size))
    assert int(found.sum()) == size
    assert float(slate_values(one, found)[0]) == pytest.approx(highest, abs=1e-4)


def test_with_effects_it_is_that_of_enumeration_mostly() -> None:
    """The search is then a local one."""
    lost = []
    for seed in range(200):
        one = estimates(seed, 6, effects=True)
        found = best_slates(one, np.ones((1, 6), dtype=np.bool_), np.array([3])).members
        values = [value_by_hand(one, slate) for slate in combinations(range(6), 3)]
        lost.append(
            (max(values) - float(slate_values(one, found)[0])) / (max(values) - sum(values) / len(values))
        )
    assert sum(one < 1e-4 for one in lost) >= 175
    assert sum(lost) / len(lost) < 0.05


def test_what_is_not_allowed_is_in_no_slate() -> None:
    one, allowed = estimates(1, 4), np.array([[True, False, True, False]])
    assert best_slates(one, allowed, np.array([3])).members.tolist() == allowed.tolist()


def test_states_have_slates_of_their_own_sizes() -> None:
    parts = zip(astuple(estimates(1, 5)), astuple(estimates(2, 5)), strict=True)
    both = Estimates(*(np.concatenate(part) for part in parts))
    found = best_slates(both, np.ones((2, 5), dtype=np.bool_), np.array([1, 3])).members
    assert found.sum(axis=1).tolist() == [1, 3]


def test_extreme_logits_stay_finite() -> None:
    numbers, logits = np.array([[1.0, 2.0, 3.0]]), np.array([[500.0, -500.0, -500.0]])
    one = Estimates(numbers, logits, np.zeros((1, 2)))
    assert np.isfinite(swaps(one, np.array([[False, True]]), np.array([1]))).all()


@given(seed=st.integers(0, 10_000))
def test_of_slates_of_one_item_the_best_is_found_with_effects_too(seed: int) -> None:
    one, size = estimates(seed, 5, effects=True), np.array([1])
    best = best_slates(one, np.ones((1, 5), dtype=np.bool_), size).members
    values = [value_by_hand(one, (item,)) for item in range(5)]
    assert float(slate_values(one, best)[0]) == pytest.approx(max(values), abs=1e-4)
    assert values[int(swaps(one, best, size)[0].argmax())] == pytest.approx(max(values), abs=1e-4)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 5), effects=st.booleans())
def test_the_swaps_of_the_best_slate_are_those_of_its_members(seed: int, size: int, effects: bool) -> None:
    one, sizes = estimates(seed, 7, effects), np.array([size])
    best = best_slates(one, np.ones((1, 7), dtype=np.bool_), sizes)
    np.testing.assert_array_equal(best.swaps, swaps(one, best.members, sizes))
    slate = set(best.members[0].nonzero()[0].tolist())
    weakest = min(slate, key=lambda item: float(best.swaps[0, item]))
    before = value_by_hand(one, tuple(slate))
    for item in set(range(7)) - slate:
        changed = value_by_hand(one, tuple(slate - {weakest} | {item})) - before
        assert float(best.swaps[0, item]) == pytest.approx(changed, abs=1e-6)
