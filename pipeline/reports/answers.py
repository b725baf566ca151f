"""A recorded answer beside the reproduced one, as a table."""

from __future__ import annotations

from itertools import zip_longest

from rich.console import RenderableType

from consumers.audit.answers import AnswerComparison
from pipeline.reports.layout import table
from pipeline.reports.numbers import UNKNOWN

Shown = tuple[str | None, float | None, float | None]


def answers_table(comparison: AnswerComparison) -> RenderableType:
    """One row per position: the recorded and the reproduced item, each with its score and propensity."""
    then, now = comparison.recorded, comparison.reproduced.items
    recorded = [*zip_longest(then.items, then.scores, then.propensities or ())]
    reproduced = [
        *zip_longest((one.item for one in now), (one.score for one in now), comparison.propensities)
    ]
    rows = [
        (str(index + 1), *_cells(recorded, index), *_cells(reproduced, index))
        for index in range(max(len(recorded), len(reproduced)))
    ]
    return table(
        f"impression {comparison.recorded.impression_id}",
        ("position", "recorded", "score", "propensity", "reproduced", "score", "propensity"),
        rows,
        whole=("recorded", "reproduced"),
        right=("position", "score", "propensity"),
    )


def _cells(answer: list[Shown], index: int) -> tuple[str, str, str]:
    item, score, propensity = answer[index] if index < len(answer) else (None, None, None)
    return item or UNKNOWN, _figure(score), _figure(propensity)


def _figure(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.6f}"
