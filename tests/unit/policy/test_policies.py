"""The contract of policies: probabilities over what is left, and a version that says all parameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from benchmarks.propensities import POLICIES
from pipeline.config import PolicyConfig
from pipeline.policy.policies import GREEDY, EpsilonGreedy, PlackettLuce, make_policy, recorded_policy
from pipeline.policy.port import Floats, Mask, Policy

any_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{policy.name} {policy.version}")
INF = float("inf")


@st.composite
def candidates(draw: st.DrawFn) -> tuple[Floats, Mask]:
    """Logits, best first, and which of them are left."""
    size = draw(st.integers(1, 12))
    values = st.floats(-1e300, 1e300) | st.sampled_from([INF, -INF, 0.0])
    logits = draw(arrays.arrays(np.float64, size, elements=values))
    left = draw(arrays.arrays(np.bool_, size))
    left[draw(st.integers(0, size - 1))] = True
    return np.sort(logits)[::-1], left


def probabilities_of(policy: Policy, logits: Floats, left: Mask) -> Floats:
    """Give logits to a policy, as the only sample of values if it ranks by those."""
    return policy.probabilities(logits if policy.ranks_by is None else logits[..., None, :], left)


@any_policy
@given(candidates())
def test_probabilities_are_of_what_is_left(policy: Policy, given: tuple[Floats, Mask]) -> None:
    logits, left = given
    probabilities = probabilities_of(policy, logits, left)
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities >= 0).all() and not probabilities[~left].any()
    assert (np.diff(probabilities[left]) <= 0).all(), "a better one is no less likely"


@any_policy
@given(candidates(), candidates())
def test_many_slates_at_once_are_each_alone(
    policy: Policy, one: tuple[Floats, Mask], other: tuple[Floats, Mask]
) -> None:
    size = min(one[0].size, other[0].size)
    both = [(logits[:size], left[:size]) for logits, left in (one, other) if left[:size].any()]
    if both:
        together = probabilities_of(policy, *(np.stack(arrays) for arrays in zip(*both, strict=True)))
        for row, alone in zip(together, both, strict=True):
            np.testing.assert_allclose(row, probabilities_of(policy, *alone), rtol=1e-12)


@any_policy
def test_a_version_makes_the_same_policy(policy: Policy) -> None:
    assert recorded_policy(policy.name, policy.version) == policy
    assert len(policy.version) <= 128, "an impression holds it as an id"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("thompson", "1"),
        ("greedy", "2"),
        ("greedy", "1 pool=5"),
        ("epsilon_greedy", "1"),
        ("epsilon_greedy", "1 pool=5 explored_places=3 epsilon=0.1"),
        ("epsilon_greedy", "1 explored_places=3 pool=5 epsilon=2.0"),
        ("plackett_luce", "1 explored_places=3 pool=5 epsilon=0.1 temperature=nan"),
        ("plackett_luce", "1 explored_places=3 pool=5 epsilon=0.1 beta=1.0"),
        ("plackett_luce", ""),
    ],
)
def test_an_unknown_version_is_refused(name: str, version: str) -> None:
    with pytest.raises(ValueError):
        recorded_policy(name, version)


def test_the_settings_make_their_policy() -> None:
    assert make_policy(PolicyConfig()) is GREEDY
    given = {"explored_places": 3, "pool": 7, "epsilon": 0.2, "temperature": 0.5}
    made: list[Policy] = [
        make_policy(PolicyConfig.model_validate({"name": name, **given}))
        for name in ("epsilon_greedy", "plackett_luce")
    ]
    expected: list[Policy] = [EpsilonGreedy(3, 7, 0.2), PlackettLuce(3, 7, 0.2, 0.5)]
    assert made == expected


@pytest.mark.parametrize(
    "change", [{"temperature": 0.0}, {"temperature": INF}, {"epsilon": 1.1}, {"pool": 1}, {"pool": 1_001}]
)
def test_settings_are_bounded(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PolicyConfig.model_validate(change)


def test_extremes_of_the_temperature() -> None:
    logits, left = np.array([3.0, 2.0, 1.0]), np.ones(3, dtype=np.bool_)
    cold, hot = (PlackettLuce(3, 3, 0.0, at).probabilities(logits, left) for at in (0.001, 1_000))
    assert cold == pytest.approx([1, 0, 0])
    assert hot == pytest.approx([1 / 3] * 3, rel=2e-3)


def test_equal_and_infinite_scores() -> None:
    left, policy = np.ones(3, dtype=np.bool_), PlackettLuce(3, 3, 0.0, 1.0)
    for logits, expected in (
        ([7.0, 7.0, 7.0], [1 / 3] * 3),
        ([INF, INF, 5.0], [0.5, 0.5, 0]),
        ([0.0, -INF, -INF], [1, 0, 0]),
        ([-INF, -INF, -INF], [1 / 3] * 3),
    ):
        assert policy.probabilities(np.array(logits), left) == pytest.approx(expected)


def test_the_floor_is_under_every_candidate() -> None:
    logits, left = np.array([50.0, 0.0, -50.0, 0.0]), np.array([True, True, True, False])
    for policy in (PlackettLuce(3, 3, 0.3, 1.0), EpsilonGreedy(3, 3, 0.3)):
        assert policy.probabilities(logits, left) == pytest.approx([0.8, 0.1, 0.1, 0])
