"""Covisitation counts pairs of nearby items, and scores items by their pairs with the last ones."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.state.covisitation import CONFIDENCE, LAG_WEIGHTS, VISIT, DecayedCovisitation
from tests.support.build import as_pairs, matrix_of

SIZE = 6

histories = st.lists(st.integers(0, SIZE - 1), max_size=12)


def covisitation_of(*sequences: list[int]) -> DecayedCovisitation:
    covisitation = DecayedCovisitation(half_life=1_000, max_partners=100)
    covisitation.grow(SIZE)
    covisitation.fold(*as_pairs(steps(*sequences)))
    return covisitation


def steps(*sequences: list[int]) -> list[tuple[NDArray[np.int64], int]]:
    """Every item of the sequences with the items before it."""
    return [(np.array(s[:index], dtype=np.int64), s[index]) for s in sequences for index in range(1, len(s))]


def naive_pairs(*sequences: list[int]) -> NDArray[np.float64]:
    counts = np.zeros((SIZE, SIZE))
    for sequence in sequences:
        for index, item in enumerate(sequence):
            for lag, before in enumerate(sequence[:index][::-1][: LAG_WEIGHTS.size]):
                counts[before, item] += LAG_WEIGHTS[lag]
                counts[item, before] += LAG_WEIGHTS[lag]
    return counts


def test_three_items_by_hand() -> None:
    """0, 1, 2 in order: pairs (0, 1) and (1, 2) weigh 20, (0, 2) weighs 14."""
    covisitation = covisitation_of([0, 1, 2])
    after_0, after_0_1 = covisitation.suggest([np.array([0]), np.array([0, 1])]).toarray()
    assert after_0[:4] == pytest.approx([0, 20 / (34 + 40), 14 / (34 + 40), 0])
    of_1, of_0 = 20 / 34 / (40 + 40), 14 / 34 / (34 + 40)  # the last item is 1; 0 is one step further back
    assert after_0_1[:4] == pytest.approx([20 * of_1, 20 * of_0, 20 * of_1 + 14 * of_0, 0])


def test_what_opens_a_basket_is_suggested_by_distinct_items_alike() -> None:
    covisitation = covisitation_of([0, 1, 2])
    asked, opens = [np.array([0, 1, 1]), np.array([0, 1])], np.array([True, False])
    suggested = covisitation.suggest(asked, opens).toarray()
    of_1, of_0 = 0.5 / (40 + 40), 0.5 / (34 + 40)
    assert suggested[0, :4] == pytest.approx([20 * of_1, 20 * of_0, 20 * of_1 + 14 * of_0, 0])
    assert suggested[1] == pytest.approx(covisitation.suggest(asked[1:]).toarray()[0])


def test_what_opens_a_basket_is_suggested_by_the_latest_items() -> None:
    covisitation = DecayedCovisitation(half_life=1e9, max_partners=500)
    covisitation.grow(VISIT + 3)
    covisitation.fold(*as_pairs([(np.array([0]), VISIT + 1), (np.array([1]), VISIT + 2)]))
    history = np.arange(VISIT + 1)  # the first has left it
    suggested = covisitation.suggest([history], np.array([True])).toarray()[0]
    assert suggested[VISIT + 1] == 0
    assert suggested[VISIT + 2] == pytest.approx(20 / (20 + 40) / VISIT)


@given(st.lists(histories, max_size=4), st.lists(histories, min_size=1, max_size=4))
def test_it_is_what_a_naive_count_suggests(sequences: list[list[int]], asked: list[list[int]]) -> None:
    counts = naive_pairs(*sequences)
    expected = np.zeros((len(asked), SIZE))
    for row, items in enumerate(asked):
        last = items[::-1][: LAG_WEIGHTS.size]
        for lag, item in enumerate(last):
            share = LAG_WEIGHTS[lag] / LAG_WEIGHTS[: len(last)].sum()
            expected[row] += share * counts[item] / (counts[item].sum() + CONFIDENCE)
    sparse = covisitation_of(*sequences).suggest([np.array(items, dtype=np.int64) for items in asked])
    assert sparse.dtype == np.float32
    assert sparse.shape == expected.shape
    assert sparse.has_canonical_format
    suggested = sparse.toarray()
    np.testing.assert_allclose(suggested, expected, rtol=1e-5, atol=1e-7)
    assert (suggested.sum(axis=1) <= 1 + 1e-6).all()


@given(st.lists(histories, max_size=4), st.randoms())
def test_undecayed_sums_do_not_depend_on_the_order_of_reading(
    sequences: list[list[int]], random: Random
) -> None:
    shuffled = steps(*sequences)
    random.shuffle(shuffled)
    at_once, one_by_one = covisitation_of(*sequences), covisitation_of()
    for step in shuffled:
        one_by_one.fold(*as_pairs([step]))
    for mine, others in zip(at_once.counts.all_stored(), one_by_one.counts.all_stored(), strict=True):
        np.testing.assert_array_equal(mine, others)


def test_a_half_life_halves_what_was_counted() -> None:
    covisitation = covisitation_of([0, 1, 2])
    before = matrix_of(covisitation.counts)
    covisitation.age(1_000)
    np.testing.assert_allclose(matrix_of(covisitation.counts), before / 2)


def test_an_item_without_acts_is_not_suggested() -> None:
    covisitation = covisitation_of([0, 1])
    covisitation.grow(SIZE + 1)
    suggested = covisitation.suggest([np.array([0]), np.array([SIZE])]).toarray()
    assert suggested.shape == (2, SIZE + 1)
    assert suggested[0, SIZE] == 0
    assert not suggested[1].any()


@given(st.lists(histories, min_size=1, max_size=4))
def test_what_is_taken_back_is_gone_and_nothing_falls_below_zero(sequences: list[list[int]]) -> None:
    covisitation, (new, old, weights) = covisitation_of(*sequences), as_pairs(steps(*sequences))
    covisitation.age(1_000)  # half of each count has decayed, so the whole is more than is left
    covisitation.fold(new, old, -weights)
    assert not matrix_of(covisitation.counts).any()
    assert not covisitation.suggest([np.array([0])]).toarray().any()


@given(
    st.lists(st.tuples(histories, st.integers(-3, 3), st.integers(0, 30)), max_size=12),
    st.lists(histories.filter(bool), min_size=1, max_size=4),
)
def test_suggestions_are_shares_whatever_is_taken_back(
    folded: list[tuple[list[int], int, int]], asked: list[list[int]]
) -> None:
    """More than was given, or what has decayed or been evicted since."""
    covisitation = DecayedCovisitation(half_life=10, max_partners=2)
    covisitation.grow(SIZE)
    for items, weight, events in folded:
        new, old, weights = as_pairs(steps(items))
        covisitation.fold(new, old, weight * weights)
        covisitation.age(events)
    shares = covisitation.suggest([np.array(items) for items in asked]).toarray()
    assert np.isfinite(shares).all()
    assert (shares >= 0).all()
    assert (shares.sum(axis=1) <= 1 + 1e-6).all()
