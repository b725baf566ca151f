"""Draws follow from an impression's id alone, and have the propensities that they state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kstest

from benchmarks import propensities
from benchmarks.propensities import LOGITS, POLICIES, VALUES, drawn, p_value, random_numbers, samples, slates
from pipeline.policy.draws import (
    NO_EXPLORATION,
    Exploration,
    Valued,
    ValuesOf,
    choose,
    no_values,
    normals,
    uniforms,
)
from pipeline.policy.policies import GREEDY, DeepQ, EpsilonGreedy, PlackettLuce
from pipeline.policy.port import Floats, Policy
from pipeline.rules.slate import Slate, make_slate

any_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{policy.name} {policy.version}")
ids = st.text(min_size=1, max_size=40)
scores = st.lists(st.floats(-50, 50), min_size=1, max_size=30).map(lambda found: np.sort(found)[::-1])


def slate_of(policy: Policy, impression: str, logits: Floats, k: int, values: ValuesOf = no_values) -> Slate:
    """Make a slate of candidates whose rows are 100 and on."""
    sampler = Exploration(policy, impression).sampler(logits, values)
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


def test_normal_numbers_are_normal_and_others_than_those_of_the_slots() -> None:
    numbers = np.array([normals(f"i{n}", 2) for n in range(20_000)])
    assert kstest(numbers.ravel(), "norm").pvalue > 0.01
    slots = np.array([uniforms(f"i{n}", 2) for n in range(20_000)])
    assert abs(np.corrcoef(numbers[:, 0], slots[:, 0])[0, 1]) < 3 / np.sqrt(20_000)
    np.testing.assert_array_equal(numbers[7], normals("i7", 2))
    assert np.isfinite(numbers).all()


@any_policy
@given(ids, scores, st.integers(1, 40))
def test_a_slate_has_each_item_once_with_a_propensity(
    policy: Policy, impression: str, logits: Floats, k: int
) -> None:
    slate = slate_of(policy, impression, logits, k)
    assert slate == slate_of(policy, impression, logits, k)
    assert len(set(slate.rows)) == len(slate.rows) == min(k, logits.size)
    assert all(0 < propensity <= 1 for propensity in slate.propensities)
    most = min(k, policy.explored_places, policy.pool, logits.size)
    assert len(slate.drawn.draws) == most
    assert [draw.row for draw in slate.drawn.draws] == slate.rows[:most]
    assert slate.drawn.pool == (min(policy.pool, logits.size) if policy.explored_places else 0)
    assert slate.propensities[most:] == [1.0] * (len(slate.rows) - most)
    rest = [row for row in 100 + np.arange(logits.size) if row not in slate.rows[:most]]
    assert slate.rows[most:] == rest[: k - most], "the rest is the best"
    for place, draw in enumerate(slate.drawn.draws):
        better = set(range(100, draw.row)) - set(slate.rows[:place])
        assert draw.explores == bool(better)


def test_what_is_best_by_value_is_not_explored_whatever_its_logit() -> None:
    """The last candidate by its logit has the highest value; each fifth draw or so is uniform among six."""
    policy, firsts = DeepQ(explored_places=1, pool=6, epsilon=0.2), []
    for number in range(200):
        slate = slate_of(policy, f"i{number}", LOGITS, 1, lambda _, rows: Valued(rows[None].astype(float)))
        assert slate.explored == (frozenset() if slate.rows == [105] else {slate.rows[0]})
        firsts.append(slate.rows[0])
    assert 140 < firsts.count(105) < 195


@any_policy
def test_stated_propensities_are_those_of_enumeration(policy: Policy) -> None:
    expected = dict(slates(policy))
    assert sum(expected.values()) == pytest.approx(1)
    for number in range(300):
        slate = slate_of(
            policy, f"i{number}", LOGITS, 3, lambda _, rows: Valued(samples(policy)[:, rows - 100])
        )
        rows = tuple(row - 100 for row in slate.rows)
        assert np.prod(slate.propensities) == pytest.approx(expected[rows])


@pytest.fixture(scope="module")
def random() -> Floats:
    return random_numbers(0, 100_000)


@any_policy
def test_slates_are_as_frequent_as_enumeration_says(policy: Policy, random: Floats) -> None:
    assert p_value(policy, random) > 0.01


@pytest.mark.parametrize(
    ("stated", "done"),
    [
        (POLICIES[1], EpsilonGreedy(explored_places=3, pool=100, epsilon=0.32)),
        (POLICIES[4], PlackettLuce(explored_places=3, pool=100, epsilon=0.02, temperature=1.0)),
        (POLICIES[5], PlackettLuce(explored_places=3, pool=100, epsilon=0.1, temperature=0.52)),
        (POLICIES[6], PlackettLuce(explored_places=2, pool=5, epsilon=0.1, temperature=2.0)),
    ],
)
def test_a_slight_difference_would_be_found(
    stated: Policy, done: Policy, random: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: a policy that does not do what it states is found in 10^5 draws."""
    monkeypatch.setattr(propensities, "drawn", lambda _, numbers: drawn(done, numbers))
    assert p_value(stated, random) < 1e-4


def test_a_learner_may_want_more_exploration_than_the_settings() -> None:
    """The schedule of a DQN begins with much; the propensities say what was done."""
    policy = DeepQ(explored_places=1, pool=6, epsilon=0.1)
    for epsilon, floor in ((0.0, 0.1), (0.6, 0.6)):

        def sampled(_: str, rows: NDArray[np.int64], epsilon: float = epsilon) -> Valued:
            return Valued(VALUES[:1, rows - 100], epsilon)

        slate = slate_of(policy, "i1", LOGITS, 3, sampled)
        best = slate.rows[0] == 100 + VALUES[0].argmax()
        assert slate.propensities[0] == pytest.approx((1 - floor) * best + floor / 6)


def test_nothing_is_drawn_without_exploration() -> None:
    assert NO_EXPLORATION.sampler(LOGITS) is None
    assert Exploration(GREEDY, "i").sampler(LOGITS) is None


def test_no_candidates_make_no_slate() -> None:
    slate = slate_of(PlackettLuce(3, 5, 0.1, 1.0), "i", np.zeros(0), 3)
    assert (slate.rows, slate.propensities, slate.drawn.pool) == ([], [], 0)


def test_what_has_no_share_is_never_chosen() -> None:
    policy, left = PlackettLuce(2, 5, 0.0, 0.001), np.ones(3, dtype=np.bool_)
    for random in (0.0, 0.5, 1 - 2.0**-53):
        position, probabilities = choose(policy, np.array([0.0, -9.0, -9.0]), left, np.array(random))
        assert (int(position), probabilities.tolist()) == (0, [1.0, 0.0, 0.0])
