"""Candidates as a table: champion, outcome and reasons of each."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType

from pipeline.reports.layout import table
from pipeline.retraining.candidates import Candidate


def candidates_table(candidates: Iterable[Candidate]) -> RenderableType:
    """One row per candidate: champion, outcome and reasons."""
    return table(
        "candidates",
        ("candidate", "champion", "outcome", "log-loss gain", "reasons"),
        map(_row, candidates),
        whole=("candidate", "champion"),
    )


def _row(candidate: Candidate) -> tuple[str, ...]:
    decision = candidate.decision()
    gain = decision.figures.get("log_loss.all.gain") if decision else None
    return (
        candidate.name,
        candidate.plan().champion,
        decision.outcome if decision else "in progress",
        "" if gain is None else f"{gain:+.4f}",
        "\n".join(decision.reasons) if decision else "",
    )
