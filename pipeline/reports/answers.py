"""A recorded answer beside the reproduced one, as a table."""

from __future__ import annotations

from rich.console import RenderableType

from consumers.audit.answers import AnswerComparison
from pipeline.reports.layout import table


def answers_table(comparison: AnswerComparison) -> RenderableType:
    """One row per position: the recorded and the reproduced item, each with its propensity."""
    recorded = [*zip(comparison.recorded.items, comparison.recorded.propensities, strict=True)]
    reproduced = [(shown.item, shown.score) for shown in comparison.reproduced.items]
    rows = [
        (str(index + 1), *_cells(recorded, index), *_cells(reproduced, index))
        for index in range(max(len(recorded), len(reproduced)))
    ]
    return table(
        f"impression {comparison.recorded.impression_id}",
        ("position", "recorded", "propensity", "reproduced", "propensity"),
        rows,
        whole=("recorded", "reproduced"),
        right=("position", "propensity"),
    )


def _cells(answer: list[tuple[str, float]], index: int) -> tuple[str, str]:
    if index >= len(answer):
        return "–", "–"
    item, propensity = answer[index]
    return item, f"{propensity:.6f}"
