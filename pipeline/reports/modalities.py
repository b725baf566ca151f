"""What the model reads of items beside their texts, as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import RenderableType

from pipeline.model.fusion import ModalityFigures
from pipeline.reports.layout import table

FIGURES = ModalityFigures._fields
TITLE = "beside texts of items"
HEADINGS = ("modality", *FIGURES)


def modalities_rows(by_name: Mapping[str, ModalityFigures]) -> list[tuple[str, ...]]:
    """One row per modality, in the columns of `HEADINGS`."""
    return [(name, *(f"{value:.3f}" for value in figures)) for name, figures in by_name.items()]


def modalities_table(by_name: Mapping[str, ModalityFigures]) -> RenderableType:
    """One row per modality: its learned gate, and how long what it adds is."""
    return table(TITLE, HEADINGS, modalities_rows(by_name), whole=("modality",), right=FIGURES)
