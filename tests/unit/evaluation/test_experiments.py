"""Arms are compared by users, at all times of looking."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.experiments import HOUR_MS, DifferenceSequence, Experiment
from pipeline.evaluation.off_policy.confidence import Range, Verdict
from pipeline.state.outcomes import Outcome
from tests.support.impressions import impression

REWARDS = Range(0, 1)
SHARES = {"control": 0.5, "bold": 0.5}


def outcome(user: str, arm: str, reward: float, time: int = 0, experiment: str = "one") -> Outcome:
    shown = impression(f"{user}-{time}", user, ("mug",), experiment=experiment, arm=arm)
    return Outcome(shown, (reward,), time)


def simulated(seed: int, users: int, lift: float) -> tuple[np.ndarray, np.ndarray]:
    """Users of many tastes, while what all of them like drifts."""
    random = np.random.default_rng(seed)
    is_arm, answers = random.random(users) < 0.5, 1 + random.poisson(2, users)
    liked = random.beta(2, 4, users) * (1 + 0.5 * np.sin(np.arange(users) / 300)) * (1 + lift * is_arm)
    return is_arm, random.binomial(answers, np.clip(liked, 0, 1)) / answers


def test_equal_arms_seldom_differ_at_any_time() -> None:
    """Of 40 experiments at 95 %, more than 6 would differ in one of 70 cases."""
    found = 0
    for seed in range(40):
        (is_arm, rewards), sequence, differs = simulated(seed, 600, 0.0), DifferenceSequence(0.5), False
        for start in range(0, 600, 50):
            sequence.add(is_arm[start : start + 50], rewards[start : start + 50])
            differs |= not sequence.interval.lower <= 0 <= sequence.interval.upper
        found += differs
    assert found <= 6


@pytest.mark.parametrize(("lift", "expected"), [(0.6, Verdict.BETTER), (-0.6, Verdict.WORSE)])
def test_a_difference_is_found(lift: float, expected: Verdict) -> None:
    experiment, (is_arm, rewards) = Experiment("one", hours=1), simulated(0, 3_000, lift)
    for number, (arm, reward) in enumerate(zip(is_arm, rewards, strict=True)):
        experiment.add(outcome(f"u{number}", "bold" if arm else "control", float(reward), number))
    control, bold = experiment.results(SHARES, REWARDS, until=2 * HOUR_MS)
    assert (control.arm, control.difference, control.finding) == ("control", None, None)
    assert bold.finding is expected
    assert bold.difference is not None
    assert bold.difference.lower < bold.reward - control.reward < bold.difference.upper


def test_a_user_counts_once_with_the_first_hours() -> None:
    experiment = Experiment("one", hours=1)
    for time, reward in ((0, 1.0), (HOUR_MS - 1, 0.0), (HOUR_MS, 1.0)):
        experiment.add(outcome("ann", "bold", reward, time))
    experiment.add(outcome("ben", "bold", 1.0, 5))
    experiment.add(outcome("cid", "bold", 1.0, experiment="another"))
    _, bold = experiment.results(SHARES, REWARDS, until=HOUR_MS + 4)
    assert (bold.users, bold.answers, bold.reward, bold.rewarded, bold.mrr) == (1, 2, 0.5, 0.5, 0.5)
    _, bold = experiment.results(SHARES, REWARDS, until=HOUR_MS + 5)
    assert bold.users == 2


def test_nothing_is_said_where_arms_have_other_shares() -> None:
    experiment = Experiment("one", hours=1)
    for number in range(200):
        experiment.add(outcome(f"u{number}", "control" if number % 10 else "bold", float(number % 10 == 0)))
    _, bold = experiment.results(SHARES, REWARDS, until=HOUR_MS)
    assert bold.finding is Verdict.MISMATCH


def test_nothing_is_known_of_nobody() -> None:
    control, bold = Experiment("one", hours=1).results(SHARES, Range(-10, 20), until=0)
    assert (control.users, control.reward) == (0, 0)
    assert bold.difference == (-30, 30)
    assert bold.finding is Verdict.UNKNOWN
