"""Evaluations of policies, and arms of experiments, as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from pipeline.config import PolicyConfig, PolicyParameters
from pipeline.evaluation.experiments import ArmResult
from pipeline.evaluation.off_policy.confidence import Interval
from pipeline.evaluation.off_policy.evaluation import ESTIMATORS, Evaluation
from pipeline.policy.arms import has_ended
from pipeline.policy.changes import PolicyChange
from pipeline.policy.policies import make_policy
from pipeline.reports.layout import table
from pipeline.reports.numbers import utc


def evaluations_table(evaluations: Sequence[Evaluation]) -> RenderableType:
    """One row per policy: what it would have earned an answer, and what may be said of it."""
    headings = (
        "policy",
        "answers",
        "effective",
        "cut",
        "shown",
        *ESTIMATORS,
        "value, 95 %",
        "gain, 95 %",
        "verdict",
    )
    return table(
        "reward of an answer",
        headings,
        map(_row, evaluations),
        whole=("policy", "verdict"),
        right=("answers", "effective", "cut", "shown", *ESTIMATORS),
    )


def _row(found: Evaluation) -> tuple[str, ...]:
    return (
        found.policy,
        f"{found.answers:,}",
        f"{found.effective:,.0f}",
        f"{found.cut:.1%}",
        f"{found.shown:.4f}",
        *(f"{estimate:.4f}" for estimate in found.estimates.values()),
        _interval(found.value),
        _interval(found.gain),
        found.verdict.value,
    )


def policies_table(config: PolicyConfig, promotion: PolicyChange | None) -> RenderableType:
    """One row per policy of the settings, and the promoted one; the first is in use."""
    rows = [_policy("[policy]", config, "" if promotion else "in use")]
    if promotion is not None:
        role = f"in use since {utc(promotion.changed_at)}"
        rows.insert(0, _policy(promotion.policy, promotion.parameters, role))
    rows += [_policy(name, shadow, "shadow") for name, shadow in config.shadows.items()]
    arm = f"arm of {config.experiment}{', which has ended' if has_ended(config, promotion) else ''}"
    rows += [_policy(name, of_arm, arm) for name, of_arm in config.arms.items()]
    return table("policies", ("policy", "parameters", "role"), rows, whole=("policy",))


def _policy(name: str, parameters: PolicyParameters, role: str) -> tuple[str, str, str]:
    policy = make_policy(parameters)
    return name, f"{policy.name} {policy.version}", role


def changes_table(changes: Sequence[PolicyChange]) -> RenderableType:
    """One row per change, oldest first."""
    return table(
        "changes",
        ("at (UTC)", "change", "policy", "reason"),
        ((utc(change.changed_at), change.verb, change.policy, change.reason) for change in changes),
        whole=("at (UTC)", "policy"),
    )


def arms_table(experiment: str, results: Sequence[ArmResult]) -> RenderableType:
    """One row per arm: what its users have got, and how sure it is that this is more than the control's."""
    numbers = ("users", "answers", "reward", "rewarded", "MRR")
    return table(
        f"experiment {experiment}",
        ("arm", *numbers, "difference, 95 %", "finding"),
        map(_arm_row, results),
        whole=("arm", "finding"),
        right=numbers,
    )


def _arm_row(found: ArmResult) -> tuple[str, ...]:
    return (
        found.arm,
        f"{found.users:,}",
        f"{found.answers:,}",
        "" if found.reward is None else f"{found.reward:.4f}",
        "" if found.rewarded is None else f"{found.rewarded:.2%}",
        "" if found.mrr is None else f"{found.mrr:.4f}",
        _interval(found.difference) if found.difference else "",
        found.finding.value if found.finding else "",
    )


def _interval(interval: Interval) -> str:
    return "none: contradicted" if interval.is_empty else f"{interval.lower:.4f} to {interval.upper:.4f}"
