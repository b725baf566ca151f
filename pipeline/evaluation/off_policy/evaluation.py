"""What policies that were not used would have earned, from the outcomes of the slates that were shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.off_policy.confidence import (
    Baseline,
    GainSequence,
    Interval,
    Range,
    ValueSequence,
    Verdict,
)
from pipeline.evaluation.off_policy.estimators import (
    SHRINK,
    SWITCH,
    Estimator,
    LoggedSlates,
    WeightRule,
    clipped_ips,
    direct_method,
    doubly_robust,
    ips,
    snips,
    tuned,
)
from pipeline.evaluation.off_policy.reward_model import RewardModel, with_model
from pipeline.events import Impression
from pipeline.policy.policies import SHADOW
from pipeline.policy.recorded import known_policy, least_propensity
from pipeline.state.outcomes import Outcome

CLIPPED = 10.0
"""The largest weight of the clipped estimate."""
LEAST_EFFECTIVE = 100.0
"""Effective slates below which nothing is said: few large weights decide then."""
PARAMETERS = (1.0, 10.0, 100.0, 1_000.0, np.inf)
"""Among which the parameters of Switch-DR and DRos are chosen."""
Floats = NDArray[np.float64]


def _tuned(rule: WeightRule) -> Estimator:
    return lambda slates: rule.estimator(tuned(rule, slates, PARAMETERS))(slates)


ESTIMATORS: dict[str, Estimator] = {
    "IPS": ips,
    "clipped IPS": clipped_ips(CLIPPED),
    "SNIPS": snips,
    "DM": direct_method,
    "DR": doubly_robust,
    "Switch-DR": _tuned(SWITCH),
    "DRos": _tuned(SHRINK),
}


@dataclass(frozen=True)
class Evaluation:
    """What one policy would have earned.

    Attributes:
        policy: its name.
        answers: outcomes that say how probable their slate was under it.
        effective: slates of its own that would tell as much.
        cut: share of its own slates that the clipped estimate leaves out, where their weights are too large.
        shown: mean reward of these slates as they were shown.
        estimates: of its mean reward, by estimator.
        value: interval of its mean reward, at all times of looking.
        gain: the same of what it earns more than what was shown.
    """

    policy: str
    answers: int
    effective: float
    cut: float
    shown: float
    estimates: dict[str, float]
    value: Interval
    gain: Interval

    @property
    def verdict(self) -> Verdict:
        """What may be said with an error probability of 5 %, however often one looks."""
        return Verdict.UNKNOWN if self.effective < LEAST_EFFECTIVE else self.gain.verdict


def evaluate(outcomes: Iterable[Outcome], rewards: Range, window: int) -> list[Evaluation]:
    """Evaluate every policy that outcomes name, in the order of their names.

    What came of an answer is known `window` ms after it was shown.
    """
    by_policy: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.shown_at):
        for policy in outcome.impression.shadows:
            by_policy.setdefault(policy, []).append(outcome)
    return [_evaluation(policy, found, rewards, window) for policy, found in sorted(by_policy.items())]


def _evaluation(policy: str, outcomes: list[Outcome], rewards: Range, window: int) -> Evaluation:
    plain = slates_of(policy, outcomes)
    model = RewardModel(plain, outcomes, window)
    slates = with_model(plain, model.cross_fitted())
    most = [most_weight(policy, outcome.impression) for outcome in outcomes]
    baseline = Baseline(model.foreseen(), np.array(most))
    value, gain = ValueSequence(rewards), GainSequence(rewards)
    value.add(slates, baseline)
    gain.add(slates, baseline)
    return Evaluation(
        policy,
        len(outcomes),
        slates.effective_size,
        cut_by(CLIPPED, slates),
        float(slates.rewards.sum(axis=1).mean()),
        {name: float(estimator(slates).mean()) for name, estimator in ESTIMATORS.items()},
        value.interval,
        gain.interval,
    )


def cut_by(most: float, slates: LoggedSlates) -> float:
    """Return the share of the evaluated policy's slates that clipping at `most` leaves out.

    Weights have a mean of 1, whatever is drawn, so what their clipped mean lacks is what was cut.
    """
    return max(0.0, 1.0 - float(np.minimum(slates.weights[:, -1], most).mean()))


def most_weight(policy: str, impression: Impression) -> float:
    """Return the largest weight that a policy could have given to a slate, before it was drawn.

    A drawn place has a propensity of ε divided by the pool at least; under `epsilon_greedy` the best item has
    1 - ε at least, and no other item is what `greedy` would have shown. Infinity if neither is known.
    """
    used = known_policy(impression.policy, impression.policy_version)
    if used is None:
        return np.inf
    epsilon: float = getattr(used, "epsilon", 0.0)
    floor = least_propensity(used, impression.pool or 0) if epsilon else 0.0
    if policy == SHADOW and used.name == "epsilon_greedy":
        floor = max(floor, 1 - epsilon)
    drawn = min(used.explored_places, len(impression.items))
    with np.errstate(over="ignore"):  # to infinity, which says that nothing is known
        return float(np.divide(1.0, floor) ** drawn) if floor else np.inf


def slates_of(policy: str, outcomes: Sequence[Outcome]) -> LoggedSlates:
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
