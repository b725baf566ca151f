"""What policies that were not used would have earned, from the outcomes of the slates that were shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.off_policy.confidence import GainSequence, Interval, Range, ValueSequence, Verdict
from pipeline.evaluation.off_policy.estimators import Estimator, LoggedSlates, clipped_ips, ips, snips
from pipeline.state.outcomes import Outcome

CLIPPED = 10.0
"""The largest weight of the clipped estimate."""
LEAST_EFFECTIVE = 100.0
"""Effective slates below which nothing is said: few large weights decide then."""
ESTIMATORS: dict[str, Estimator] = {"IPS": ips, "clipped IPS": clipped_ips(CLIPPED), "SNIPS": snips}


@dataclass(frozen=True)
class Evaluation:
    """What one policy would have earned.

    Attributes:
        policy: its name.
        answers: outcomes that say how probable their slate was under it.
        effective: slates of its own that would tell as much.
        shown: mean reward of these slates as they were shown.
        estimates: of its mean reward, by estimator.
        value: interval of its mean reward, at all times of looking.
        gain: the same of what it earns more than what was shown.
    """

    policy: str
    answers: int
    effective: float
    shown: float
    estimates: dict[str, float]
    value: Interval
    gain: Interval

    @property
    def verdict(self) -> Verdict:
        """What may be said with an error probability of 5 %, however often one looks."""
        return Verdict.UNKNOWN if self.effective < LEAST_EFFECTIVE else self.gain.verdict


def evaluate(outcomes: Iterable[Outcome], rewards: Range) -> list[Evaluation]:
    """Evaluate every policy that outcomes name, in the order of their names."""
    by_policy: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        for policy in outcome.impression.shadows:
            by_policy.setdefault(policy, []).append(outcome)
    return [_evaluation(policy, found, rewards) for policy, found in sorted(by_policy.items())]


def _evaluation(policy: str, outcomes: list[Outcome], rewards: Range) -> Evaluation:
    slates = slates_of(policy, outcomes)
    value, gain = ValueSequence(rewards), GainSequence(rewards)
    value.add(slates)
    gain.add(slates)
    return Evaluation(
        policy,
        len(outcomes),
        slates.effective_size,
        float(slates.rewards.sum(axis=1).mean()),
        {name: float(estimator(slates).mean()) for name, estimator in ESTIMATORS.items()},
        value.interval,
        gain.interval,
    )


def slates_of(policy: str, outcomes: list[Outcome]) -> LoggedSlates:
    """Weigh the slates of outcomes by the propensities that a policy would have had."""
    longest = max(len(outcome.rewards) for outcome in outcomes)
    shadows = [outcome.impression.shadows[policy] for outcome in outcomes]
    logged = [outcome.impression.propensities or () for outcome in outcomes]
    return LoggedSlates.of(
        _filled(shadows, longest, 1.0),
        _filled(logged, longest, 1.0),
        _filled((outcome.rewards for outcome in outcomes), longest, 0.0),
    )


def _filled(rows: Iterable[tuple[float, ...]], length: int, rest: float) -> NDArray[np.float64]:
    """Make ``[n, length]`` of rows that may be shorter."""
    return np.array([row + (rest,) * (length - len(row)) for row in rows], dtype=np.float64)
