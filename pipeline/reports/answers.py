"""A recorded answer beside the reproduced one, as a table."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from consumers.audit.answers import AnswerComparison


def answers_table(comparison: AnswerComparison) -> Table:
    """One row per position: the recorded and the reproduced item, each with its propensity."""
    table = Table(title=f"impression {comparison.recorded.impression_id}", title_justify="left")
    for heading in ("position", "recorded", "propensity", "reproduced", "propensity"):
        table.add_column(heading, justify="left" if heading in ("recorded", "reproduced") else "right")
    recorded = [*zip(comparison.recorded.items, comparison.recorded.propensities, strict=True)]
    reproduced = [(shown.item, shown.score) for shown in comparison.reproduced.items]
    for index in range(max(len(recorded), len(reproduced))):
        table.add_row(str(index + 1), *_cells(recorded, index), *_cells(reproduced, index))
    return table


def _cells(answer: list[tuple[str, float]], index: int) -> tuple[str, str]:
    if index >= len(answer):
        return "–", "–"
    item, propensity = answer[index]
    return escape(item), f"{propensity:.6f}"
