"""Prequential quality figures as a table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table

from pipeline.evaluation.prequential import Report
from pipeline.evaluation.regret import LESS_IS_BETTER, Regret, regret
from pipeline.reports.layout import table

FIGURES = ("hr@20", "mrr@20", "ndcg@20", "log_loss")
RECALL = "recall@20"


class QualityCell(NamedTuple):
    """A figure as text, and whether it is the best of its slice."""

    text: str
    is_best: bool


class QualityRow(NamedTuple):
    """The figures of one scorer in one slice."""

    slice: str
    scorer: str
    n: str
    cells: list[QualityCell]


def quality_headings(quality: Report) -> tuple[str, ...]:
    """Name the columns of `quality_rows`."""
    every = [figures for by_slice in quality.values() for figures in by_slice.values()]
    recall = (RECALL for _ in every[:1] if any(RECALL in figures for figures in every))
    return ("slice", "scorer", "n", *FIGURES, *recall)


def slices_with_targets(quality: Report) -> list[str]:
    """Name the slices of a report that any target was in."""
    figures = ((name, found) for by_slice in quality.values() for name, found in by_slice.items())
    return list(dict.fromkeys(name for name, found in figures if found["n"]))


def quality_rows(quality: Report) -> Iterator[QualityRow]:
    """One row per slice and scorer, those of a slice together."""
    shown = quality_headings(quality)[3:]
    for name in slices_with_targets(quality):
        rows = {scorer: by_slice[name] for scorer, by_slice in quality.items() if name in by_slice}
        best = {figure: _best(figure, [figures.get(figure) for figures in rows.values()]) for figure in shown}
        for scorer, figures in rows.items():
            cells = [_cell(figures.get(figure), best[figure]) for figure in shown]
            yield QualityRow(name, scorer, f"{figures['n'] or 0:,.0f}", cells)


def quality_table(quality: Report) -> Table:
    """One row per slice and scorer, one column per figure; the best value of each slice is bold."""
    made = Table(title="prequential quality", title_justify="left")
    for heading in quality_headings(quality):
        made.add_column(heading, justify="left" if heading in ("slice", "scorer") else "right")
    for _, rows in groupby(quality_rows(quality), key=attrgetter("slice")):
        for row in rows:
            shown = (f"[bold]{cell.text}[/]" if cell.is_best else cell.text for cell in row.cells)
            made.add_row(row.slice, row.scorer, row.n, *shown)
        made.add_section()
    return made


def _best(figure: str, values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return min(known) if figure == "log_loss" else max(known)


def _cell(value: float | None, best: float | None) -> QualityCell:
    return QualityCell("–", False) if value is None else QualityCell(f"{value:.4f}", value == best)


def regret_table(quality: Report) -> RenderableType:
    """One row per slice: how much worse the mixture is than the best of its parts, and which that is."""
    rows = (
        (name, *(_regret_cell(by_figure[figure]) for figure in LESS_IS_BETTER))
        for name, by_figure in regret(quality).items()
    )
    title = "regret of the mixture: how much worse than its best part (below 0: better)"
    return table(title, ("slice", *LESS_IS_BETTER), rows, right=tuple(LESS_IS_BETTER))


def _regret_cell(found: Regret) -> str:
    return f"{found.value:+.4f} {found.best}"
