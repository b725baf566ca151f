"""Classification figures as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import RenderableType

from pipeline.evaluation.classification import ClassificationReport
from pipeline.reports.layout import table
from pipeline.reports.numbers import figure

FIGURES = {
    "yes": "positive",
    "from": "threshold",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "accuracy": "accuracy",
    "ROC AUC": "roc_auc",
    "calibration error": "calibration_error",
    "Brier": "brier",
    "log-loss": "log_loss",
}


HEADINGS = ("decision", "n", *FIGURES)


def classification_rows(by_name: Mapping[str, ClassificationReport]) -> list[tuple[str, ...]]:
    """One row per name, in the columns of `HEADINGS`."""
    return [
        (name, f"{found.n:,.0f}", *(figure(getattr(found, attribute)) for attribute in FIGURES.values()))
        for name, found in by_name.items()
    ]


def classification_table(title: str, by_name: Mapping[str, ClassificationReport]) -> RenderableType:
    """One row per name: how well its decisions were predicted."""
    rows = classification_rows(by_name)
    return table(title, HEADINGS, rows, whole=("decision",), right=("n", *FIGURES))
