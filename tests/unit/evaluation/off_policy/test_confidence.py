"""Confidence sequences hold at all times, and close in on the value."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.off_policy.confidence import (
    SHARES,
    Baseline,
    GainSequence,
    Interval,
    LowerBound,
    Range,
    ValueSequence,
    Verdict,
)
from pipeline.evaluation.off_policy.estimators import LoggedSlates

CHANCES, EVALUATED = np.array([0.1, 0.3, 0.6]), np.array([0.1, 0.1, 0.8])
VALUE = float(CHANCES @ EVALUATED)


def simulated(seed: int, amount: int) -> LoggedSlates:
    """Slates of one item with a reward of 0 or 1, shown by a policy that learns meanwhile."""
    random, shown, rewarded = np.random.default_rng(seed), np.ones(3), np.full(3, 0.5)
    actions, rewards, logged = [], [], []
    for _ in range(amount):
        chances = np.full(3, 0.1)
        chances[(rewarded / shown).argmax()] += 0.7
        action = int(random.choice(3, p=chances))
        reward = float(random.random() < CHANCES[action])
        actions.append(action)
        rewards.append(reward)
        logged.append(chances[action])
        shown[action] += 1
        rewarded[action] += reward
    evaluated, shown_with, got = (np.array(each)[:, None] for each in (EVALUATED[actions], logged, rewards))
    return LoggedSlates.of(evaluated, shown_with, got)


def part(slates: LoggedSlates, start: int, stop: int) -> LoggedSlates:
    return LoggedSlates(
        *(each[start:stop] for each in (slates.weights, slates.rewards, slates.expected, slates.direct))
    )


def test_the_value_is_in_it_at_every_time() -> None:
    """Of 40 logs at 95 %, more than 6 would miss in one of 70 cases; measured, none does."""
    missed = 0
    for seed in range(40):
        slates, sequence = simulated(seed, 400), ValueSequence(Range(0, 1))
        inside = []
        for start in range(0, 400, 20):
            sequence.add(part(slates, start, start + 20))
            inside.append(sequence.interval.lower <= VALUE <= sequence.interval.upper)
        missed += not all(inside)
    assert missed <= 6


def test_it_never_widens_and_closes_in() -> None:
    slates, sequence, widths = simulated(0, 4_000), ValueSequence(Range(0, 1)), []
    for start in range(0, 4_000, 500):
        sequence.add(part(slates, start, start + 500))
        widths.append(sequence.interval.upper - sequence.interval.lower)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.25


def test_nothing_is_known_of_nothing() -> None:
    assert ValueSequence(Range(-5, 10)).interval == (-5, 10)
    assert GainSequence(Range(-5, 10)).interval == (-15, 15)


@pytest.mark.parametrize("amount", [0, 1, 400])
def test_ends_are_plain_numbers_whatever_was_seen(amount: int) -> None:
    """Programs read them as JSON, which knows no others; of few answers nothing is rejected yet."""
    for sequence in (ValueSequence(Range(0, 1)), GainSequence(Range(0, 1))):
        sequence.add(simulated(0, amount))
        assert [type(end) for end in sequence.interval] == [float, float]


@pytest.mark.parametrize("mean", [0.002, 0.5, 0.998])
def test_a_bound_is_near_the_mean_also_at_the_ends(mean: float) -> None:
    random, bound = np.random.default_rng(3), LowerBound(0.05, SHARES)
    bound.add((random.random(20_000) < mean).astype(float))
    assert 0.5 * mean < bound.value <= mean


def test_one_large_weight_proves_little() -> None:
    bound = LowerBound(0.05, SHARES)
    bound.add(np.zeros(100))
    bound.add(np.array([20.0]))
    assert bound.value < 0.05


def test_rewards_beyond_the_range_count_as_its_ends() -> None:
    inside, beyond = ValueSequence(Range(0, 1)), ValueSequence(Range(0, 1))
    slates = simulated(1, 200)
    inside.add(slates)
    beyond.add(
        LoggedSlates(slates.weights, np.where(slates.rewards > 0, 7.0, -3.0), slates.expected, slates.direct)
    )
    assert inside.interval == beyond.interval


def test_a_range_scales_the_interval() -> None:
    one, other, slates = ValueSequence(Range(0, 1)), ValueSequence(Range(0, 10)), simulated(2, 300)
    one.add(slates)
    other.add(LoggedSlates(slates.weights, 10 * slates.rewards, slates.expected, slates.direct))
    assert np.allclose(10 * np.array(one.interval), other.interval)


OF_USERS = np.array([[0.05, 0.1, 0.15], [0.8, 0.85, 0.95]])
"""Chances of a reward of each action, by kind of user."""
MOST = float((EVALUATED / 0.25).max())
"""Each action is logged with a probability of .25 at least."""


def of_users(seed: int, amount: int) -> tuple[LoggedSlates, Baseline, float]:
    """Slates of one item for two kinds of users, what is foreseen of them, and the mean gain."""
    random, earned, counts = np.random.default_rng(seed), np.full((2, 3), 0.5), np.ones((2, 3))
    rows, gains, foreseen = [], [], []
    for _ in range(amount):
        kind = int(random.random() < 0.5)
        chances = np.full(3, 0.25)
        chances[(earned[kind] / counts[kind]).argmax()] += 0.25
        action = int(random.choice(3, p=chances))
        reward = float(random.random() < OF_USERS[kind, action])
        foreseen.append(earned[kind].sum() / counts[kind].sum())
        gains.append(OF_USERS.mean(axis=0) @ EVALUATED - OF_USERS[kind] @ chances)
        rows.append((EVALUATED[action], chances[action], reward))
        earned[kind, action] += reward
        counts[kind, action] += 1
    evaluated, logged, rewards = (np.array(column)[:, None] for column in zip(*rows, strict=True))
    baseline = Baseline(np.array(foreseen), np.full(amount, MOST))
    return LoggedSlates.of(evaluated, logged, rewards), baseline, float(np.mean(gains))


def some(baseline: Baseline, start: int, stop: int) -> Baseline:
    return Baseline(*(each[start:stop] for each in baseline))


def test_with_a_baseline_the_value_is_in_it_at_every_time() -> None:
    """As above, of 40 logs at most 6 may miss. What is foreseen differs between users, as values do."""
    missed, value = 0, float(OF_USERS.mean(axis=0) @ EVALUATED)
    for seed in range(40):
        (slates, baseline, _), sequence, inside = of_users(seed, 400), ValueSequence(Range(0, 1)), []
        for start in range(0, 400, 20):
            sequence.add(part(slates, start, start + 20), some(baseline, start, start + 20))
            inside.append(sequence.interval.lower <= value <= sequence.interval.upper)
        missed += not all(inside)
    assert missed <= 6


def test_with_a_baseline_a_gain_is_found_and_not_overstated() -> None:
    missed, found = 0, 0
    for seed in range(20):
        (slates, baseline, gain), sequence = of_users(seed, 1_000), GainSequence(Range(0, 1))
        sequence.add(slates, baseline)
        missed += not sequence.interval.lower <= gain <= sequence.interval.upper
        found += sequence.interval.upper - sequence.interval.lower < 0.25
    assert missed <= 3
    assert found == 20


@pytest.mark.parametrize("kind", [ValueSequence, GainSequence])
def test_a_baseline_narrows_the_interval_where_weights_are_bounded(
    kind: type[ValueSequence | GainSequence],
) -> None:
    slates, baseline, _ = of_users(0, 3_000)
    plain, modelled = kind(Range(-5, 5)), kind(Range(-5, 5))
    plain.add(slates)
    modelled.add(slates, baseline)
    widths = [one.interval.upper - one.interval.lower for one in (plain, modelled)]
    assert widths[1] < 0.6 * widths[0]


def test_without_a_bound_of_the_weights_a_baseline_changes_nothing() -> None:
    slates, baseline, _ = of_users(1, 600)
    plain, other = ValueSequence(Range(0, 1)), ValueSequence(Range(0, 1))
    plain.add(slates)
    other.add(slates, Baseline(baseline.expected, np.full(600, np.inf)))
    assert plain.interval == other.interval


def test_no_bet_can_lose_more_than_half_of_itself() -> None:
    """The worst that can be: much was expected, the weight is the largest, and there is no reward."""
    slates = LoggedSlates.of(np.ones((50, 1)), np.full((50, 1), 1 / 8), np.zeros((50, 1)))
    for sequence in (ValueSequence(Range(0, 1)), GainSequence(Range(0, 1))):
        sequence.add(slates, Baseline(np.ones(50), np.full(50, 8.0)))
        assert np.isfinite(sequence.interval).all()
        assert sequence.interval.lower <= 0


def test_a_weight_that_could_not_be_drawn_counts_as_the_largest_that_could() -> None:
    """Else a bet would lose more than all of itself, and what follows would be no number."""
    beyond = LoggedSlates.of(np.ones((50, 1)), np.full((50, 1), 1e-9), np.zeros((50, 1)))
    largest = LoggedSlates.of(np.ones((50, 1)), np.full((50, 1), 1 / 8), np.zeros((50, 1)))
    for kind in (ValueSequence, GainSequence):
        found = []
        for slates in (beyond, largest):
            sequence = kind(Range(0, 1))
            sequence.add(slates, Baseline(np.ones(50), np.full(50, 8.0)))
            found.append(sequence.interval)
        assert found[0] == found[1]


def test_an_empty_interval_is_no_verdict() -> None:
    assert Interval(30.0, -30.0).is_empty
    assert Interval(30.0, -30.0).verdict is Verdict.UNKNOWN
    assert Interval(0.1, 0.1).verdict is Verdict.BETTER
