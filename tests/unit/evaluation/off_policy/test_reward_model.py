"""The model of rewards knows nothing of what it predicts, and takes variance away."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.off_policy.confidence import Baseline, GainSequence, Range
from pipeline.evaluation.off_policy.estimators import doubly_robust, ips
from pipeline.evaluation.off_policy.evaluation import slates_of
from pipeline.evaluation.off_policy.reward_model import RewardModel, with_model
from pipeline.state.outcomes import Outcome
from tests.support.impressions import impression

WINDOW = 300
KEEN, COOL, USERS = 0.9, 0.1, 20
"""Chances of a reward of a place; half of the users are keen."""


def shown(amount: int, seed: int = 0) -> list[Outcome]:
    """Answers of one or two length; the first is drawn, and the other policy draws it, too."""
    random, found = np.random.default_rng(seed), []
    for number in range(amount):
        user, length = int(random.integers(USERS)), 1 + number % 2
        likely = random.random() < 0.5
        items = ("mug", "cup")[:length]
        seen = impression(
            f"i{number}",
            f"u{user}",
            items,
            policy="epsilon_greedy",
            policy_version="1 explored_places=1 pool=2 epsilon=1.0",
            propensities=(0.5, 1.0)[:length],
            pool=2,
            shadows={"other": (0.9 if likely else 0.1, 1.0)[:length]},
        )
        rewards = random.random(length) < (KEEN if user % 2 else COOL)
        found.append(Outcome(seen, tuple(rewards.astype(float).tolist()), number))
    return found


def model_of(outcomes: list[Outcome]) -> RewardModel:
    return RewardModel(slates_of("other", outcomes), outcomes, WINDOW)


def with_rewards(outcomes: list[Outcome], rows: range, reward: float) -> list[Outcome]:
    """The same answers, with another reward of some."""
    changed = list(outcomes)
    for row in rows:
        one = outcomes[row]
        changed[row] = Outcome(one.impression, (reward,) * len(one.rewards), one.shown_at)
    return changed


def test_rewards_are_predicted_by_user_and_place() -> None:
    outcomes = shown(6_000)
    model = model_of(outcomes)
    for late in (model.foreseen()[3_000:], model.cross_fitted()[3_000:, 0]):
        for user, chance in ((1, KEEN), (0, COOL)):
            for length in (1, 2):
                chosen = [
                    predicted
                    for predicted, one in zip(late, outcomes[3_000:], strict=True)
                    if len(one.rewards) == length and int(one.impression.user[1:]) % 2 == user
                ]
                assert np.mean(chosen) == pytest.approx(length * chance, abs=0.2)
    # Nothing is expected of a place that an answer does not have.
    assert not model.cross_fitted()[::2, 1].any()


def test_what_is_foreseen_follows_from_answers_whose_window_had_passed() -> None:
    outcomes = shown(1_500)
    before = model_of(outcomes).foreseen()
    changed = model_of(with_rewards(outcomes, range(700, 1_500), 5.0)).foreseen()
    assert np.array_equal(before[:1_000], changed[:1_000])
    assert not np.allclose(before[1_300:], changed[1_300:])
    assert not before[:256].any()


def test_a_cross_fitted_prediction_does_not_follow_from_its_own_user() -> None:
    """The features of a user do, but only by the answers before: the last one is changed here."""
    outcomes = shown(2_000)
    before, last = model_of(outcomes).cross_fitted(), outcomes[-1].impression.user
    changed = model_of(with_rewards(outcomes, range(1_999, 2_000), 500.0)).cross_fitted()
    own = np.array([one.impression.user == last for one in outcomes])
    assert np.array_equal(before[own], changed[own])
    assert not np.allclose(before[~own], changed[~own])


def test_with_the_model_estimates_vary_less_and_are_unbiased() -> None:
    value, plain, robust = 1.5 * (KEEN + COOL) / 2, [], []
    for seed in range(12):
        outcomes = shown(1_200, seed)
        slates = with_model(slates_of("other", outcomes), model_of(outcomes).cross_fitted())
        plain.append(ips(slates).mean())
        robust.append(doubly_robust(slates).mean())
    # Both answers of a user earn alike whatever is drawn, so the value is that of the logs.
    assert np.mean(robust) == pytest.approx(value, abs=3 * np.std(robust) / np.sqrt(12) + 0.01)
    assert np.std(robust) < 0.8 * np.std(plain)


def test_what_is_foreseen_narrows_the_interval_which_holds_the_value() -> None:
    outcomes = shown(3_000)
    slates, model = slates_of("other", outcomes), model_of(outcomes)
    plain, modelled = GainSequence(Range(0, 2)), GainSequence(Range(0, 2))
    plain.add(slates)
    modelled.add(slates, Baseline(model.foreseen(), np.full(3_000, 1.8)))
    widths = [one.interval.upper - one.interval.lower for one in (plain, modelled)]
    assert modelled.interval.lower <= 0 <= modelled.interval.upper
    assert widths[1] < 0.75 * widths[0]
