"""Errors of predicted ratings as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import RenderableType

from pipeline.evaluation.ratings import RatingReport
from pipeline.reports.layout import table
from pipeline.reports.numbers import figure

FIGURES = "MAE", "RMSE"
TITLE = "predicted ratings"
HEADINGS = ("rating", "n", *FIGURES)


def ratings_rows(by_slice: Mapping[str, RatingReport]) -> list[tuple[str, ...]]:
    """One row per slice, in the columns of `HEADINGS`."""
    return [(name, f"{n:,.0f}", *map(figure, errors)) for name, (n, *errors) in by_slice.items()]


def ratings_table(by_slice: Mapping[str, RatingReport]) -> RenderableType:
    """One row per slice: how wrong its ratings were predicted."""
    return table(TITLE, HEADINGS, ratings_rows(by_slice), whole=("rating",), right=("n", *FIGURES))
