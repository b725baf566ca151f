"""The Gate for policies: one is promoted if it certainly earns more than the policy that is used."""

from __future__ import annotations

from collections.abc import Iterable
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
    reason = f"{_gain(found.gain)}, by {counted(found.answers, 'answer')} ({found.effective:,.0f} effective)"
    if found.gain.is_empty:
        reason = f"these answers contradict what their policy could draw: no gain fits all {found.answers:,}"
    figures = {"answers": float(found.answers), "effective": found.effective, "shown": found.shown}
    return _verdict(found.verdict, reason, found.gain, figures)


def decide_on_arm(found: ArmResult, control: ArmResult) -> PolicyVerdict:
    """Decide on the policy of an arm by its experiment; the control has the one in use."""
    if (mixed := mixed_answers([found, control])) or found.difference is None or found.reward is None:
        missing = next((one.arm for one in (found, control) if not one.users), found.arm)
        return nothing_to_judge(mixed or f"no user of {missing} has the first policy.experiment_hours behind")
    reason = f"{_gain(found.difference)}, by {counted(found.users, 'user')} of the arm"
    if found.difference.is_empty:
        reason = "no difference fits what users got: something else than chance decides who is in which arm"
    if found.finding is Verdict.MISMATCH:
        reason = "arms do not have their shares of the users, so they cannot be compared"
    figures = {"users": float(found.users), "answers": float(found.answers), "reward": found.reward}
    return _verdict(found.finding or Verdict.UNKNOWN, reason, found.difference, figures)


def mixed_answers(results: Iterable[ArmResult]) -> str:
    """Say how many answers of arms were of other policies than these have, and the remedy; empty if none."""
    others = [f"{counted(one.others, 'answer')} of {one.arm}" for one in results if one.others]
    if not others:
        return ""
    return (
        f"{' and '.join(others)} had another policy, or other parameters, than that has now, so it cannot "
        "be compared: give the experiment another name (policy.experiment)"
    )


def nothing_to_judge(reason: str) -> PolicyVerdict:
    """Return the verdict where there is nothing to decide on yet, for a reason."""
    return PolicyVerdict(PolicyOutcome.UNKNOWN, reason, {})


def _verdict(verdict: Verdict, reason: str, gain: Interval, figures: dict[str, float]) -> PolicyVerdict:
    bounds = {"gain.low": gain.lower, "gain.high": gain.upper}
    return PolicyVerdict(OUTCOMES.get(verdict, PolicyOutcome.UNKNOWN), reason, figures | bounds)


def _gain(interval: Interval) -> str:
    return f"it earns {interval.lower:+.4f} to {interval.upper:+.4f} more an answer than the policy in use"
