"""Draws follow from an impression's id alone, and have the propensities that they state."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from pipeline.policy.draws import NO_EXPLORATION, Exploration, choose, uniforms
from pipeline.policy.policies import GREEDY, PlackettLuce
from pipeline.policy.port import Policy
from pipeline.rules.slate import Slate, make_slate
from tests.support.policies import POLICIES, slates

any_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{policy.name} {policy.version}")
LOGITS = np.array([1.5, 1.0, 0.5, 0.5, -0.5, -2.0])
ids = st.text(min_size=1, max_size=40)
scores = st.lists(st.floats(-50, 50), min_size=1, max_size=30).map(lambda found: np.sort(found)[::-1])


def slate_of(policy: Policy, impression: str, logits: np.ndarray, k: int) -> Slate:
    """Make a slate of candidates whose rows are 100 and on."""
    sampler = Exploration(policy, impression).sampler(logits)
    return make_slate(100 + np.arange(logits.size), k, sampler=sampler)


@given(ids, st.integers(0, 50), st.integers(0, 50))
def test_random_numbers_follow_from_the_id(impression: str, few: int, more: int) -> None:
    numbers = uniforms(impression, few + more)
    assert ((numbers >= 0) & (numbers < 1)).all()
    np.testing.assert_array_equal(numbers[:few], uniforms(impression, few))


def test_random_numbers_are_pinned_because_stored_answers_rest_on_them() -> None:
    assert uniforms("5f0c2a9e6c1b4e0f9a0d3c4b5a697887", 2).tolist() == [
        0.04261300349042929,
        0.7005918651063666,
    ]


def test_random_numbers_are_uniform_and_independent() -> None:
    numbers = np.array([uniforms(f"i{n}", 2) for n in range(20_000)])
    assert kstest(numbers.ravel(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 3 / np.sqrt(20_000)


@any_policy
@given(ids, scores, st.integers(1, 40))
def test_a_slate_has_each_item_once_with_a_propensity(
    policy: Policy, impression: str, logits: np.ndarray, k: int
) -> None:
    slate = slate_of(policy, impression, logits, k)
    assert slate == slate_of(policy, impression, logits, k)
    assert len(set(slate.rows)) == len(slate.rows) == min(k, logits.size)
    assert all(0 < propensity <= 1 for propensity in slate.propensities)
    drawn = min(k, policy.explored_places, policy.pool, logits.size)
    assert len(slate.drawn.draws) == drawn
    assert [draw.row for draw in slate.drawn.draws] == slate.rows[:drawn]
    assert slate.drawn.pool == (min(policy.pool, logits.size) if policy.explored_places else 0)
    assert slate.propensities[drawn:] == [1.0] * (len(slate.rows) - drawn)
    rest = [row for row in 100 + np.arange(logits.size) if row not in slate.rows[:drawn]]
    assert slate.rows[drawn:] == rest[: k - drawn], "the rest is the best"
    for place, draw in enumerate(slate.drawn.draws):
        better = set(range(100, draw.row)) - set(slate.rows[:place])
        assert draw.explores == bool(better)


@any_policy
def test_stated_propensities_are_those_of_enumeration(policy: Policy) -> None:
    expected = dict(slates(policy, LOGITS, 3))
    assert sum(expected.values()) == pytest.approx(1)
    for number in range(300):
        slate = slate_of(policy, f"i{number}", LOGITS, 3)
        rows = tuple(row - 100 for row in slate.rows)
        assert np.prod(slate.propensities) == pytest.approx(expected[rows])


@any_policy
def test_slates_are_as_frequent_as_enumeration_says(policy: Policy) -> None:
    """10^5 draws of slates of 3 of 6; `python -m benchmarks.propensities` has 10^6 with 20 seeds."""
    random = np.array([uniforms(f"i{number}", 3) for number in range(100_000)])
    drawn = min(3, policy.explored_places)
    left, rows = np.ones((len(random), LOGITS.size), dtype=np.bool_), np.arange(len(random))
    left[:, policy.pool :] = False
    chosen = np.zeros(len(random), dtype=np.int64)
    for place in range(min(drawn, policy.pool)):
        positions, _ = choose(policy, np.broadcast_to(LOGITS, left.shape), left, random[:, place])
        left[rows, positions] = False
        chosen = chosen * LOGITS.size + positions
    observed = Counter(chosen.tolist())
    expected: Counter[int] = Counter()
    for slate, probability in slates(policy, LOGITS, 3):
        code = 0
        for position in slate[: min(drawn, policy.pool)]:
            code = code * LOGITS.size + position
        expected[code] += probability * len(random)  # type: ignore[assignment]
    possible = [code for code, amount in expected.items() if amount > 0]
    assert set(observed) <= set(possible)
    if len(possible) > 1:
        found = chisquare([observed[code] for code in possible], [expected[code] for code in possible])
        assert found.pvalue > 0.01


def test_nothing_is_drawn_without_exploration() -> None:
    assert NO_EXPLORATION.sampler(LOGITS) is None
    assert Exploration(GREEDY, "i").sampler(LOGITS) is None


def test_no_candidates_make_no_slate() -> None:
    slate = slate_of(PlackettLuce(3, 5, 0.1, 1.0), "i", np.zeros(0), 3)
    assert (slate.rows, slate.propensities, slate.drawn.pool) == ([], [], 0)


def test_what_has_no_share_is_never_chosen() -> None:
    policy, left = PlackettLuce(2, 5, 0.0, 0.001), np.ones(3, dtype=np.bool_)
    for random in (0.0, 0.5, 1 - 2.0**-53):
        position, propensity = choose(policy, np.array([0.0, -9.0, -9.0]), left, np.array(random))
        assert (int(position), float(propensity)) == (0, 1.0)
