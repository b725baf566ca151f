"""Policies that were not used are evaluated from what their shadows say."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from pipeline.evaluation.off_policy.confidence import Range, Verdict
from pipeline.evaluation.off_policy.estimators import LoggedSlates
from pipeline.evaluation.off_policy.evaluation import Evaluation, cut_by, evaluate, most_weight, slates_of
from pipeline.policy.draws import Exploration
from pipeline.policy.policies import GREEDY, EpsilonGreedy, PlackettLuce
from pipeline.policy.port import Policy
from pipeline.rules.slate import make_slate
from pipeline.state.outcomes import Outcome
from tests.support.impressions import drawn_by, impression

CHANCES = np.array([0.05, 0.1, 0.1, 0.6])
"""Of a click on each item; the one with the lowest logit is the best."""
LOGITS = np.array([0.3, 0.2, 0.1, 0.0])
USED = EpsilonGreedy(explored_places=2, pool=4, epsilon=0.8)
SHADOWS: dict[str, Policy] = {
    "greedy": GREEDY,
    "uniform": EpsilonGreedy(explored_places=2, pool=4, epsilon=1.0),
    "warm": PlackettLuce(explored_places=1, pool=3, epsilon=0.1, temperature=0.1),
}


def shown(amount: int) -> list[Outcome]:
    random, found = np.random.default_rng(0), []
    for number in range(amount):
        sampler = Exploration(USED, f"i{number}", SHADOWS).sampler(LOGITS)
        slate = make_slate(np.arange(4), 3, sampler=sampler)
        items = tuple(f"item {row}" for row in slate.rows)
        seen = impression(f"i{number}", f"u{number % 9}", items, **drawn_by(USED, slate))
        clicks = random.random(3) < CHANCES[slate.rows]
        found.append(Outcome(seen, tuple(clicks.astype(float).tolist()), number))
    return found


@cache
def value(name: str) -> float:
    """The mean reward of a policy, from its own slates."""
    slates = [
        make_slate(np.arange(4), 3, sampler=Exploration(SHADOWS[name], f"j{n}").sampler(LOGITS))
        for n in range(4_000)
    ]
    return float(np.mean([CHANCES[slate.rows].sum() for slate in slates]))


@cache
def evaluations() -> dict[str, Evaluation]:
    return {each.policy: each for each in evaluate(shown(3_000), Range(0, 3), 0)}


def test_estimates_and_intervals_hold_the_value_of_each_policy() -> None:
    found = evaluations()
    assert list(found) == sorted(SHADOWS)
    for name in SHADOWS:
        assert found[name].value.lower <= value(name) <= found[name].value.upper
        for estimate in (found[name].estimates["IPS"], found[name].estimates["SNIPS"]):
            assert estimate == pytest.approx(value(name), abs=0.08)
    assert found["greedy"].verdict is not Verdict.BETTER
    assert found["uniform"].verdict is Verdict.BETTER


def test_with_the_model_estimates_are_near_the_value_too() -> None:
    found = evaluations()
    for name in SHADOWS:
        for estimator in ("DM", "DR", "Switch-DR", "DRos"):
            assert found[name].estimates[estimator] == pytest.approx(value(name), abs=0.12)


def test_what_clipping_leaves_out_is_known_without_the_weights_that_were_never_drawn() -> None:
    """Slates of which the policy shows one in ten, but which are shown once in a thousand, are hardly cut."""
    logged, evaluated = np.array([[0.001], [0.999]]), np.array([[0.1], [0.9]])
    rows = np.where(np.random.default_rng(0).random(50_000) < 0.001, 0, 1)
    slates = LoggedSlates.of(evaluated[rows], logged[rows], np.zeros((rows.size, 1)))
    left = 0.001 * 10 + 0.999 * (0.9 / 0.999)
    assert cut_by(10, slates) == pytest.approx(1 - left, abs=0.005)
    assert cut_by(200, slates) < 0.02
    assert evaluations()["uniform"].cut < 0.03


@pytest.mark.parametrize(
    ("used", "policy", "expected"),
    [
        (USED, "uniform", (4 / 0.8) ** 2),
        (USED, "greedy", (4 / 0.8) ** 2),
        (EpsilonGreedy(explored_places=2, pool=4, epsilon=0.1), "greedy", (1 / 0.9) ** 2),
        (EpsilonGreedy(explored_places=2, pool=4, epsilon=0.1), "uniform", (4 / 0.1) ** 2),
        (PlackettLuce(explored_places=1, pool=3, epsilon=0.1, temperature=0.5), "greedy", 3 / 0.1),
        (PlackettLuce(explored_places=1, pool=3, epsilon=0.0, temperature=0.5), "greedy", np.inf),
    ],
)
def test_no_weight_is_above_the_one_that_is_foreseen(used: Policy, policy: str, expected: float) -> None:
    own = {name: shadow for name, shadow in SHADOWS.items() if name == policy}
    for number in range(100):
        sampler = Exploration(used, f"i{number}", own).sampler(LOGITS[: used.pool])
        slate = make_slate(np.arange(used.pool), 2, sampler=sampler)
        items = tuple(f"item {row}" for row in slate.rows)
        seen = impression(f"i{number}", "ann", items, **drawn_by(used, slate))
        weights = slates_of(policy, [Outcome(seen, (0.0, 0.0), 0)]).weights
        assert weights.max() <= most_weight(policy, seen) + 1e-9
        assert most_weight(policy, seen) == pytest.approx(expected)


def test_the_largest_weight_of_a_foreign_policy_is_not_known() -> None:
    seen = impression(policy="theirs", policy_version="7", propensities=(0.5, 1.0), pool=9)
    assert most_weight("greedy", seen) == np.inf


def test_little_is_said_of_few() -> None:
    assert {each.verdict for each in evaluate(shown(60), Range(0, 3), 0)} == {Verdict.UNKNOWN}
    assert evaluate([], Range(0, 3), 0) == []


def test_the_policy_itself_has_weights_of_one() -> None:
    outcomes = shown(50)
    same = [
        Outcome(
            each.impression.model_copy(update={"shadows": {"own": each.impression.propensities}}),
            each.rewards,
            0,
        )
        for each in outcomes
    ]
    assert np.allclose(slates_of("own", same).weights, 1)


def test_slates_of_other_lengths_are_filled() -> None:
    outcomes = shown(2)
    short = outcomes[0].impression.model_copy(
        update={"items": ("item 0",), "propensities": (0.5,), "shadows": {"greedy": (1.0,)}}
    )
    slates = slates_of("greedy", [Outcome(short, (1.0,), 0), outcomes[1]])
    assert slates.weights[0].tolist() == [2, 2, 2]
    assert slates.rewards[0].tolist() == [1, 0, 0]
