"""The Gate for policies: one is promoted if it certainly earns more than the policy that is used."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from pipeline.evaluation.experiments import ArmResult
from pipeline.evaluation.off_policy.confidence import Interval, Verdict
from pipeline.evaluation.off_policy.evaluation import Evaluation
from pipeline.wording import counted


class PolicyOutcome(StrEnum):
    """The Gate's outcome for a policy."""

    PROMOTED = "promoted"
    """The lower bound of what it earns more than the policy that is used is above 0."""
    REJECTED = "rejected"
    """The upper bound is below 0."""
    UNKNOWN = "cannot tell"


class PolicyVerdict(NamedTuple):
    """The outcome, its reason, and the figures behind it."""

    outcome: PolicyOutcome
    reason: str
    figures: dict[str, float]


OUTCOMES = {Verdict.BETTER: PolicyOutcome.PROMOTED, Verdict.WORSE: PolicyOutcome.REJECTED}


def decide_on_shadow(found: Evaluation) -> PolicyVerdict:
    """Decide on a policy by answers that the one in use has drawn."""
    reason = f"{_gain(found.gain)}, by {found.answers:,} answers ({found.effective:,.0f} effective)"
    if found.gain.is_empty:
        reason = f"these answers contradict what their policy could draw: no gain fits all {found.answers:,}"
    figures = {"answers": float(found.answers), "effective": found.effective, "shown": found.shown}
    return _verdict(found.verdict, reason, found.gain, figures)


def decide_on_arm(found: ArmResult) -> PolicyVerdict:
    """Decide on the policy of an arm by its experiment; the control has the one in use."""
    gain = found.difference or Interval(0.0, 0.0)
    reason = f"{_gain(gain)}, by {counted(found.users, 'user')} of the arm"
    if gain.is_empty:
        reason = "no difference fits what users got: something else than chance decides who is in which arm"
    if found.finding is Verdict.MISMATCH:
        reason = "arms do not have their shares of the users, so they cannot be compared"
    figures = {"users": float(found.users), "answers": float(found.answers), "reward": found.reward}
    return _verdict(found.finding or Verdict.UNKNOWN, reason, gain, figures)


def _verdict(verdict: Verdict, reason: str, gain: Interval, figures: dict[str, float]) -> PolicyVerdict:
    bounds = {"gain.low": gain.lower, "gain.high": gain.upper}
    return PolicyVerdict(OUTCOMES.get(verdict, PolicyOutcome.UNKNOWN), reason, figures | bounds)


def _gain(interval: Interval) -> str:
    return f"it earns {interval.lower:+.4f} to {interval.upper:+.4f} more an answer than the policy in use"
