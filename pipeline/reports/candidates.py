"""Candidates as a table: champion, outcome and reasons of each."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from pipeline.retraining.candidates import Candidate


def candidates_table(candidates: Iterable[Candidate]) -> Table:
    """One row per candidate: champion, outcome and reasons."""
    table = Table(title="candidates", title_justify="left")
    for heading in ("candidate", "champion", "outcome", "log-loss gain", "reasons"):
        table.add_column(heading, overflow="fold")
    for candidate in candidates:
        decision = candidate.decision()
        gain = decision.figures.get("log_loss.all.gain") if decision else None
        table.add_row(
            candidate.name,
            candidate.plan().champion,
            decision.outcome if decision else "in progress",
            "" if gain is None else f"{gain:+.4f}",
            "\n".join(decision.reasons) if decision else "",
        )
    return table
