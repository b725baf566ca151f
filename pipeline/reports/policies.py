"""Evaluations of policies as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

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
        f"{found.slates:,}",
        f"{found.effective:,.0f}",
        f"{found.shown:.4f}",
        *(f"{estimate:.4f}" for estimate in found.estimates.values()),
        *(f"{lower:.4f} to {upper:.4f}" for lower, upper in (found.value, found.gain)),
        found.verdict.value,
    )
