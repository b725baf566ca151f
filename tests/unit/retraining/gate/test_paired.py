"""Paired gains: means computed by hand, coverage of the bounds, and invariances."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import SamplingConfig
from pipeline.retraining.gate.paired import Numbers, Values, effective_users, gain_of

QUICK = SamplingConfig(resamples=1_000)


def correlated(seed: int, users: int, shift: float = 0.0) -> tuple[Values, Numbers]:
    """Heavy-tailed differences around `shift`; users differ in their mean and number of targets."""
    random = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(users), 1 + random.geometric(0.1, users))
    own = 0.25 * random.standard_t(4, users)
    return shift + own[numbers] + 0.45 * random.standard_t(3, numbers.size), numbers


def test_the_mean_is_over_targets_and_not_over_users() -> None:
    gain = gain_of(np.array([1.0, 1.0, 1.0, 5.0]), np.array([7, 7, 7, 9]), QUICK)
    assert gain.mean == 2
    assert (gain.low, gain.high) == (1, 5)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_equal_differences_give_exact_bounds_without_a_warning(value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gain_of(np.full(40, value), np.arange(40) % 8, QUICK) == (value, value, value)


def test_the_bounds_have_about_their_nominal_coverage() -> None:
    gains = [gain_of(*correlated(seed, users=150), QUICK) for seed in range(400)]
    assert 0 < sum(gain.low > 0 for gain in gains) <= 0.03 * 400
    assert 0 < sum(gain.high < 0 for gain in gains) <= 0.03 * 400


def test_treating_targets_as_independent_gives_bounds_that_are_too_narrow() -> None:
    differences, users = correlated(0, users=150)
    whole, apart = gain_of(differences, users, QUICK), gain_of(differences, np.arange(users.size), QUICK)
    assert whole.high - whole.low > 1.3 * (apart.high - apart.low)


def test_more_confidence_is_wider() -> None:
    differences, users = correlated(0, users=150)
    usual = gain_of(differences, users, QUICK)
    sure = gain_of(differences, users, SamplingConfig(confidence=0.999, resamples=1_000))
    assert sure.low < usual.low < usual.mean < usual.high < sure.high


def test_the_seed_decides_the_draws() -> None:
    differences, users = correlated(0, users=150)
    assert gain_of(differences, users, QUICK) == gain_of(differences, users, QUICK)
    other = gain_of(differences, users, SamplingConfig(resamples=1_000, seed=1))
    assert other != gain_of(differences, users, QUICK)


@settings(deadline=None, max_examples=20)
@given(names=st.permutations(range(30)), offset=st.integers(-1_000, 1_000))
def test_user_numbers_change_nothing(names: list[int], offset: int) -> None:
    differences, users = correlated(3, users=30)
    renamed = np.array(names)[users] + offset
    assert gain_of(differences, renamed, QUICK) == gain_of(differences, users, QUICK)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1_000), st.sampled_from([-0.5, 0.125, 2.0]))
def test_a_shift_of_all_differences_shifts_the_gain(seed: int, shift: float) -> None:
    differences, users = correlated(seed, users=20)
    shifted = gain_of(differences + shift, users, QUICK)
    assert shifted == pytest.approx(np.add(gain_of(differences, users, QUICK), shift))


def test_users_count_less_when_one_has_most_targets() -> None:
    assert effective_users(np.repeat(np.arange(9), 4)) == 9
    assert effective_users(np.array([1] * 98 + [2, 3])) == pytest.approx(100**2 / (98**2 + 2))
    assert effective_users(np.array([], dtype=np.int64)) == 0


@given(st.lists(st.integers(0, 9), min_size=1))
def test_effective_users_are_at_most_users(users: list[int]) -> None:
    assert 1 <= effective_users(np.array(users)) <= len(set(users)) + 1e-9
