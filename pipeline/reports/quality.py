"""Prequential quality figures as a table."""

from __future__ import annotations

from rich.table import Table

from pipeline.evaluation.prequential import Report

FIGURES = ("hr@20", "mrr@20", "ndcg@20", "log_loss")


def quality_table(quality: Report) -> Table:
    """One row per slice and scorer, one column per figure; the best value of each slice is bold."""
    table = Table(title="prequential quality", title_justify="left")
    for heading in ("slice", "scorer", "n", *FIGURES):
        table.add_column(heading, justify="left" if heading in ("slice", "scorer") else "right")
    slices = list(next(iter(quality.values()), {}))
    for name in slices:
        for scorer, by_slice in quality.items():
            figures = by_slice[name]
            best = {f: _best(f, [quality[other][name][f] for other in quality]) for f in FIGURES}
            cells = [_cell(figures[figure], best[figure]) for figure in FIGURES]
            table.add_row(name, scorer, f"{figures['n'] or 0:,.0f}", *cells)
        table.add_section()
    return table


def _best(figure: str, values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return min(known) if figure == "log_loss" else max(known)


def _cell(value: float | None, best: float | None) -> str:
    if value is None:
        return "–"
    return f"[bold]{value:.4f}[/]" if value == best else f"{value:.4f}"
