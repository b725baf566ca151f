"""Evaluations of policies, and arms of experiments, as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from pipeline.evaluation.experiments import ArmResult
from pipeline.evaluation.off_policy.confidence import Interval
from pipeline.evaluation.off_policy.evaluation import ESTIMATORS, Evaluation
from pipeline.reports.layout import table


def evaluations_table(evaluations: Sequence[Evaluation]) -> RenderableType:
    """One row per policy: what it would have earned an answer, and what may be said of it."""
    headings = (
        "policy",
        "answers",
        "effective",
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
        right=("answers", "effective", "shown", *ESTIMATORS),
    )


def _row(found: Evaluation) -> tuple[str, ...]:
    return (
        found.policy,
        f"{found.answers:,}",
        f"{found.effective:,.0f}",
        f"{found.shown:.4f}",
        *(f"{estimate:.4f}" for estimate in found.estimates.values()),
        _interval(found.value),
        _interval(found.gain),
        found.verdict.value,
    )


def arms_table(experiment: str, results: Sequence[ArmResult]) -> RenderableType:
    """One row per arm: what its users have got, and how sure it is that this is more than the control's."""
    numbers = ("users", "answers", "reward", "rewarded")
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
        f"{found.reward:.4f}",
        f"{found.rewarded:.2%}",
        _interval(found.difference) if found.difference else "",
        found.finding.value if found.finding else "",
    )


def _interval(interval: Interval) -> str:
    return f"{interval.lower:.4f} to {interval.upper:.4f}"
