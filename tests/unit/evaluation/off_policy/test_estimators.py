"""Estimates equal the value that enumeration gives, whatever the estimator may use."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.off_policy.estimators import (
    SHRINK,
    SWITCH,
    Estimator,
    LoggedSlates,
    clipped_ips,
    contributions,
    direct_method,
    doubly_robust,
    ips,
    self_normalized_doubly_robust,
    shrunk_doubly_robust,
    snips,
    switch_doubly_robust,
    tuned,
)

Floats = np.ndarray
ITEMS, PLACES = 4, 3
FILLED = ((0, 0), (0, 1))
SLATES = list(itertools.permutations(range(ITEMS), PLACES))
REWARD = np.array([0.1, 0.5, 0.2, 0.9])
"""Expected reward of each item at the top; each place further down has half of it, after item 3 nothing."""


def propensities(strengths: Floats) -> Floats:
    """Place-wise propensities of all slates, of items drawn in proportion to their strengths."""
    found = np.ones((len(SLATES), PLACES))
    for row, slate in enumerate(SLATES):
        left = list(range(ITEMS))
        for place, item in enumerate(slate):
            found[row, place] = strengths[item] / strengths[left].sum()
            left.remove(item)
    return found


def rewards() -> Floats:
    """Expected rewards of all slates by place; what is above an item changes its reward."""
    return np.array(
        [
            [0.0 if 3 in slate[:place] else REWARD[item] / 2**place for place, item in enumerate(slate)]
            for slate in SLATES
        ]
    )


LOGGED, EVALUATED = (propensities(np.array(each)) for each in ([4.0, 2, 1, 1], [1.0, 1, 2, 4]))
CHANCES, VALUE = LOGGED.prod(axis=1), float(EVALUATED.prod(axis=1) @ rewards().sum(axis=1))
"""How often each slate is logged, and the value of the evaluated policy."""


def model(expected: Callable[[tuple[int, ...]], float]) -> tuple[Floats, Floats]:
    """`expected` and `direct` of a model, which expects a number of the items down to a place."""
    of_item = np.array([[expected(slate[: place + 1]) for place in range(PLACES)] for slate in SLATES])
    of_policy = np.zeros_like(of_item)
    for row, slate in enumerate(SLATES):
        for place in range(PLACES):
            above = slate[:place]
            alike = [other for other in range(len(SLATES)) if SLATES[other][:place] == above]
            chances = {SLATES[other][: place + 1]: EVALUATED[other, place] for other in alike}
            of_policy[row, place] = sum(chance * expected(items) for items, chance in chances.items())
    return of_item, of_policy


def value_of(estimator: Estimator, slates: LoggedSlates) -> float:
    """The estimate from infinitely many slates."""
    return float(CHANCES @ estimator(slates))


SOME_MODEL = model(lambda items: 0.3 + 0.1 * items[-1] - 0.05 * len(items))


def test_inverse_propensities_are_unbiased() -> None:
    assert value_of(ips, LoggedSlates.of(EVALUATED, LOGGED, rewards())) == pytest.approx(VALUE)


@pytest.mark.parametrize("most", [1e9, np.inf])
def test_doubly_robust_estimates_are_unbiased_whatever_the_model_is(most: float) -> None:
    slates = LoggedSlates.of(EVALUATED, LOGGED, rewards(), SOME_MODEL)
    for estimator in (doubly_robust, switch_doubly_robust(most), shrunk_doubly_robust(most)):
        assert value_of(estimator, slates) == pytest.approx(VALUE, rel=1e-5)


def test_the_direct_method_has_the_bias_of_its_model() -> None:
    slates = LoggedSlates.of(EVALUATED, LOGGED, rewards(), SOME_MODEL)
    assert abs(value_of(direct_method, slates) - VALUE) > 0.05
    exact = model(lambda items: float(_rest(items)))
    right = LoggedSlates.of(EVALUATED, LOGGED, rewards(), exact)
    assert value_of(direct_method, right) == pytest.approx(VALUE)


def _rest(items: tuple[int, ...]) -> float:
    """Expected reward from the last of these items on, if the evaluated policy goes on."""
    place = len(items) - 1
    rows = [row for row, slate in enumerate(SLATES) if slate[: len(items)] == items]
    chances = EVALUATED[rows][:, place + 1 :].prod(axis=1)
    return float(chances @ rewards()[rows][:, place:].sum(axis=1) / chances.sum())


def test_an_exact_model_takes_the_variance_away() -> None:
    exact = model(lambda items: float(_rest(items)))
    with_model = LoggedSlates.of(EVALUATED, LOGGED, rewards(), exact)
    assert doubly_robust(with_model).std() < 1e-9 < ips(with_model).std()


def test_normalized_estimates_of_a_constant_reward_are_exact() -> None:
    random = np.random.default_rng(0)
    rows = random.choice(len(SLATES), size=50, p=CHANCES)
    constant = LoggedSlates.of(EVALUATED[rows], LOGGED[rows], np.ones((50, PLACES)))
    for estimator in (snips, self_normalized_doubly_robust):
        assert estimator(constant).mean() == pytest.approx(PLACES)
    assert ips(constant).mean() != pytest.approx(PLACES, abs=0.01)


def test_without_weights_the_model_is_trusted_alone() -> None:
    slates = LoggedSlates.of(EVALUATED[:, :1], LOGGED[:, :1], rewards()[:, :1], _first(SOME_MODEL))
    for estimator in (switch_doubly_robust(0), shrunk_doubly_robust(0)):
        assert np.allclose(estimator(slates), direct_method(slates))


def _first(pair: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    return pair[0][:, :1], pair[1][:, :1]


@given(st.floats(0.1, 50))
def test_clipping_never_raises_an_estimate_of_rewards_above_zero(most: float) -> None:
    slates = LoggedSlates.of(EVALUATED, LOGGED, rewards())
    assert (clipped_ips(most)(slates) <= ips(slates) + 1e-12).all()


def test_an_uncertain_bias_is_not_taken_in_where_variance_is_small() -> None:
    random = np.random.default_rng(1)
    rows = random.choice(len(SLATES), size=20_000, p=CHANCES)
    many = LoggedSlates.of(EVALUATED[rows], LOGGED[rows], rewards()[rows])
    assert tuned(SWITCH, many, [0.1, 1, np.inf]) == np.inf
    assert tuned(SHRINK, many, [0.1, 1, np.inf]) == np.inf


def test_rare_large_weights_are_cut_where_the_model_is_right() -> None:
    weights = np.ones((400, 1))
    weights[0] = 1e4
    random = np.random.default_rng(2)
    expected = np.full((400, 1), 0.5)
    slates = LoggedSlates(weights, expected + random.normal(0, 1e-3, (400, 1)), expected, expected)
    slates.rewards[0] = 1.0
    assert tuned(SWITCH, slates, [1e9, 10.0]) in (10.0, 1e9)
    assert doubly_robust(slates).var() > switch_doubly_robust(10)(slates).var()


def test_the_effective_size_is_that_of_the_policy_itself() -> None:
    same = LoggedSlates.of(LOGGED, LOGGED, rewards())
    assert same.effective_size == pytest.approx(len(SLATES))
    other = LoggedSlates.of(EVALUATED, LOGGED, rewards())
    assert 1 < other.effective_size < len(SLATES)
    never = LoggedSlates.of(np.zeros_like(LOGGED), LOGGED, rewards())
    assert never.effective_size == 0
    assert snips(never).mean() == 0


def test_a_shorter_slate_is_filled_with_certain_places() -> None:
    short = LoggedSlates.of(EVALUATED[:, :2], LOGGED[:, :2], rewards()[:, :2])
    one, other = (np.pad(each[:, :2], FILLED, constant_values=1) for each in (EVALUATED, LOGGED))
    filled = LoggedSlates.of(one, other, np.pad(rewards()[:, :2], FILLED))
    assert np.allclose(ips(short), ips(filled))
    assert np.allclose(contributions(short, short.weights), contributions(filled, filled.weights))


@pytest.mark.parametrize(
    ("evaluated", "logged"), [(0.5, 0.0), (0.5, 1.5), (-0.1, 0.5), (1.1, 0.5), (0.5, np.nan)]
)
def test_impossible_propensities_are_refused(evaluated: float, logged: float) -> None:
    with pytest.raises(ValueError, match="propensit"):
        LoggedSlates.of(np.array([[evaluated]]), np.array([[logged]]), np.array([[1.0]]))


@pytest.mark.parametrize("least", [1e-9, 1e-300, 5e-324])
def test_one_tiny_propensity_leaves_all_figures_finite(least: float) -> None:
    logged, evaluated = np.full((150, 30), 0.5), np.ones((150, 30))
    logged[0], evaluated[1, -1] = least, 0.0
    logged[1] = least
    slates = LoggedSlates.of(evaluated, logged, np.ones((150, 30)))
    assert np.isfinite(slates.weights).all()
    assert slates.weights[1, -1] == 0
    assert 0.9 < slates.effective_size < 2
    for estimator in (ips, snips, doubly_robust):
        assert np.isfinite(estimator(slates)).all()
