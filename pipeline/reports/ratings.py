"""Errors of predicted ratings as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import RenderableType

from pipeline.evaluation.ratings import RatingReport
from pipeline.reports.layout import table

FIGURES = "MAE", "RMSE"


def ratings_table(by_slice: Mapping[str, RatingReport]) -> RenderableType:
    """One row per slice: how wrong its ratings were predicted."""
    rows = (
        (name, f"{n:,.0f}", *("–" if value is None else f"{value:.4f}" for value in errors))
        for name, (n, *errors) in by_slice.items()
    )
    columns = "rating", "n", *FIGURES
    return table("predicted ratings", columns, rows, whole=("rating",), right=("n", *FIGURES))
