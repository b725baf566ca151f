"""Prequential quality figures as a table."""

from __future__ import annotations

from rich.table import Table

from pipeline.evaluation.prequential import Report

FIGURES = ("hr@20", "mrr@20", "ndcg@20", "log_loss")
RECALL = "recall@20"


def quality_table(quality: Report) -> Table:
    """One row per slice and scorer, one column per figure; the best value of each slice is bold."""
    every = [figures for by_slice in quality.values() for figures in by_slice.values()]
    shown = (*FIGURES, *(RECALL for _ in every[:1] if any(RECALL in figures for figures in every)))
    table = Table(title="prequential quality", title_justify="left")
    for heading in ("slice", "scorer", "n", *shown):
        table.add_column(heading, justify="left" if heading in ("slice", "scorer") else "right")
    for name in dict.fromkeys(name for by_slice in quality.values() for name in by_slice):
        rows = {scorer: by_slice[name] for scorer, by_slice in quality.items() if name in by_slice}
        best = {figure: _best(figure, [figures.get(figure) for figures in rows.values()]) for figure in shown}
        for scorer, figures in rows.items():
            cells = [_cell(figures.get(figure), best[figure]) for figure in shown]
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
