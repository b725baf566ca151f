"""A policy is promoted on a certain gain, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.evaluation.experiments import ArmResult
from pipeline.evaluation.off_policy.confidence import Interval, Verdict
from pipeline.evaluation.off_policy.evaluation import LEAST_EFFECTIVE, Evaluation
from pipeline.retraining.gate.policies import PolicyOutcome, decide_on_arm, decide_on_shadow


def shadow(gain: Interval, effective: float = 900.0) -> Evaluation:
    return Evaluation("bold", 12_000, effective, 0.0, 0.5, {}, Interval(0.0, 1.0), gain)


@pytest.mark.parametrize(
    ("gain", "outcome"),
    [
        (Interval(0.01, 0.05), PolicyOutcome.PROMOTED),
        (Interval(-0.05, -0.01), PolicyOutcome.REJECTED),
        (Interval(-0.01, 0.05), PolicyOutcome.UNKNOWN),
        (Interval(0.0, 0.05), PolicyOutcome.UNKNOWN),
    ],
)
def test_a_shadow_is_decided_on_by_its_gain(gain: Interval, outcome: PolicyOutcome) -> None:
    found = decide_on_shadow(shadow(gain))
    assert found.outcome is outcome
    assert found.figures["gain.low"] == gain.lower
    assert "by 12,000 answers (900 effective)" in found.reason


def test_answers_that_no_gain_fits_decide_nothing() -> None:
    found = decide_on_shadow(shadow(Interval(30.0, -30.0)))
    assert found.outcome is PolicyOutcome.UNKNOWN
    assert "these answers contradict what their policy could draw" in found.reason


def test_few_effective_answers_decide_nothing() -> None:
    found = decide_on_shadow(shadow(Interval(0.01, 0.05), LEAST_EFFECTIVE - 1))
    assert found.outcome is PolicyOutcome.UNKNOWN


@pytest.mark.parametrize(
    ("finding", "outcome", "says"),
    [
        (Verdict.BETTER, PolicyOutcome.PROMOTED, "+0.0100 to +0.0500"),
        (Verdict.WORSE, PolicyOutcome.REJECTED, "by 70 users"),
        (Verdict.UNKNOWN, PolicyOutcome.UNKNOWN, "by 70 users"),
        (Verdict.MISMATCH, PolicyOutcome.UNKNOWN, "do not have their shares"),
    ],
)
def test_an_arm_is_decided_on_by_its_experiment(finding: Verdict, outcome: PolicyOutcome, says: str) -> None:
    found = decide_on_arm(arm(finding, Interval(0.01, 0.05)), CONTROL)
    assert found.outcome is outcome
    assert says in found.reason


def arm(finding: Verdict, difference: Interval | None, users: int = 70, others: int = 0) -> ArmResult:
    return ArmResult("bold", users, 200, others, 0.5 if users else None, 0.4, 0.3, difference, finding)


CONTROL = ArmResult("control", 70, 200, 0, 0.4, 0.3, 0.2, None, None)


@pytest.mark.parametrize(
    ("found", "control", "says"),
    [
        (arm(Verdict.UNKNOWN, None, others=7), CONTROL, "7 answers of bold had another policy"),
        (arm(Verdict.UNKNOWN, None), replace(CONTROL, others=1), "1 answer of control had another policy"),
        (arm(Verdict.UNKNOWN, None, users=0), CONTROL, "no user of bold has the first policy.experiment_"),
        (arm(Verdict.UNKNOWN, None), replace(CONTROL, users=0), "no user of control has the first"),
    ],
)
def test_an_arm_that_nothing_compares_is_not_decided_on(
    found: ArmResult, control: ArmResult, says: str
) -> None:
    verdict = decide_on_arm(found, control)
    assert (verdict.outcome, verdict.figures) == (PolicyOutcome.UNKNOWN, {})
    assert says in verdict.reason
