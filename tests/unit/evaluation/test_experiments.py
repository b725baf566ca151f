"""Arms are compared by users, at all times of looking."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.experiments import HOUR_MS, DifferenceSequence, Experiment
from pipeline.evaluation.off_policy.confidence import Range, Verdict
from pipeline.policy.arms import Arm, Arms
from pipeline.policy.policies import GREEDY, EpsilonGreedy
from pipeline.policy.port import Policy
from pipeline.state.outcomes import Outcome
from tests.support.impressions import impression

REWARDS = Range(0, 1)
BOLD = EpsilonGreedy(3, 9, 0.5)
ARMS = Arms([Arm("control", GREEDY, share=0.5), Arm("bold", BOLD, share=0.5)], "one")


def outcome(
    user: str,
    arm: str,
    reward: float,
    time: int = 0,
    experiment: str = "one",
    policy: Policy | None = None,
) -> Outcome:
    """What came of an answer by the policy of its arm, or by another one."""
    drawn_by = policy or ARMS.policies.get(arm, GREEDY)
    shown = impression(
        f"{user}-{time}",
        user,
        ("mug",),
        experiment=experiment,
        arm=arm,
        policy=drawn_by.name,
        policy_version=drawn_by.version,
        propensities=(1.0,),
        pool=0,
    )
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
    experiment, (is_arm, rewards) = Experiment(ARMS, hours=1), simulated(0, 3_000, lift)
    for number, (arm, reward) in enumerate(zip(is_arm, rewards, strict=True)):
        experiment.add(outcome(f"u{number}", "bold" if arm else "control", float(reward), number))
    control, bold = experiment.results(REWARDS, until=2 * HOUR_MS)
    assert (control.arm, control.difference, control.finding) == ("control", None, None)
    assert bold.finding is expected
    assert bold.difference is not None and bold.reward is not None and control.reward is not None
    assert bold.difference.lower < bold.reward - control.reward < bold.difference.upper


def test_a_user_counts_once_with_the_first_hours() -> None:
    experiment = Experiment(ARMS, hours=1)
    for time, reward in ((0, 1.0), (HOUR_MS - 1, 0.0), (HOUR_MS, 1.0)):
        experiment.add(outcome("ann", "bold", reward, time))
    experiment.add(outcome("ben", "bold", 1.0, 5))
    experiment.add(outcome("cid", "bold", 1.0, experiment="another"))
    _, bold = experiment.results(REWARDS, until=HOUR_MS + 4)
    assert (bold.users, bold.answers, bold.reward, bold.rewarded, bold.mrr) == (1, 2, 0.5, 0.5, 0.5)
    _, bold = experiment.results(REWARDS, until=HOUR_MS + 5)
    assert bold.users == 2


def test_nothing_is_said_where_arms_have_other_shares() -> None:
    experiment = Experiment(ARMS, hours=1)
    for number in range(200):
        experiment.add(outcome(f"u{number}", "control" if number % 10 else "bold", float(number % 10 == 0)))
    _, bold = experiment.results(REWARDS, until=HOUR_MS)
    assert bold.finding is Verdict.MISMATCH


def test_nothing_is_said_of_an_arm_without_users_or_of_one_without_a_control() -> None:
    experiment = Experiment(ARMS, hours=1)
    for bold in experiment.results(Range(-10, 20), until=0):
        assert (bold.users, bold.reward, bold.rewarded, bold.mrr, bold.difference) == (0, *[None] * 4)
    experiment.add(outcome("ann", "bold", 1.0))
    control, bold = experiment.results(REWARDS, until=HOUR_MS)
    assert (control.reward, bold.reward) == (None, 1.0)
    assert (bold.difference, bold.finding) == (None, Verdict.UNKNOWN)


@pytest.mark.parametrize("arm", ["control", "bold"])
def test_answers_of_another_policy_than_the_arm_has_count_for_nothing(arm: str) -> None:
    """The parameters of the arm were changed, or a rollback changed the control."""
    experiment, before = Experiment(ARMS, hours=1), EpsilonGreedy(3, 9, 0.4)
    for number in range(400):
        each = "bold" if number % 2 else "control"
        experiment.add(outcome(f"u{number}", each, float(number % 2), policy=before if each == arm else None))
        experiment.add(outcome(f"u{number}", each, 0.0, 1))
    found = {result.arm: result for result in experiment.results(REWARDS, until=2 * HOUR_MS)}
    assert (found[arm].users, found[arm].answers, found[arm].others) == (200, 200, 200)
    assert found[arm].reward == 0, "what came of the other policy is not the arm's"
    assert (found["bold"].difference, found["bold"].finding) == (None, Verdict.UNKNOWN)


def test_an_arm_that_a_user_was_not_in_at_first_is_another_policy() -> None:
    experiment = Experiment(ARMS, hours=1)
    experiment.add(outcome("ann", "control", 0.0))
    experiment.add(outcome("ann", "bold", 1.0, 1))
    control, bold = experiment.results(REWARDS, until=HOUR_MS)
    assert (control.answers, control.others, bold.users) == (1, 1, 0)


def test_users_who_came_before_a_time_do_not_begin_again() -> None:
    experiment = Experiment(ARMS, hours=1, since=10)
    for user, time in (("ann", 9), ("ann", 10), ("ben", 10)):
        experiment.add(outcome(user, "bold", 1.0, time))
    assert experiment.waiting(HOUR_MS) == 1
    _, bold = experiment.results(REWARDS, until=HOUR_MS + 10)
    assert (bold.users, bold.answers) == (1, 1)


def test_a_user_waits_from_the_first_answer_on_of_which_more_may_come() -> None:
    experiment = Experiment(ARMS, hours=1)
    experiment.add(outcome("ann", "bold", 1.0))
    for user, time in (("ann", 5), ("ben", 10)):
        experiment.add_open(outcome(user, "bold", 0.0, time).impression, time)
    assert (experiment.waiting(HOUR_MS - 1), experiment.waiting(HOUR_MS)) == (2, 1)
    _, bold = experiment.results(REWARDS, until=HOUR_MS)
    assert (bold.users, bold.answers) == (1, 1), "what is open is no answer yet"


def test_users_of_an_arm_that_is_gone_do_not_wait() -> None:
    experiment = Experiment(ARMS, hours=1)
    experiment.add(outcome("ann", "gone", 1.0))
    experiment.add(outcome("ben", "bold", 1.0))
    assert (experiment.waiting(HOUR_MS - 1), experiment.waiting(HOUR_MS)) == (1, 0)
