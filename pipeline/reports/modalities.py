"""What the model reads of items beside their texts, as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import RenderableType

from pipeline.model.fusion import ModalityFigures
from pipeline.reports.layout import table

FIGURES = ModalityFigures._fields


def modalities_table(by_name: Mapping[str, ModalityFigures]) -> RenderableType:
    """One row per modality: its learned gate, and how long what it adds is."""
    rows = ((name, *(f"{value:.3f}" for value in figures)) for name, figures in by_name.items())
    return table("beside texts of items", ("modality", *FIGURES), rows, whole=("modality",), right=FIGURES)
