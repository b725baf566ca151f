"""An answer as it was given beside the one that the same question gets again."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from consumers.audit.answers import AskedAgain


def answers_table(found: AskedAgain) -> Table:
    """A row a place: the item shown then and now, each with its propensity."""
    table = Table(title=f"impression {found.then.impression_id}", title_justify="left")
    for heading in ("place", "then", "propensity", "now", "propensity"):
        table.add_column(heading, justify="left" if heading in ("then", "now") else "right")
    before = [*zip(found.then.items, found.then.propensities, strict=True)]
    after = [(shown.item, shown.score) for shown in found.now.items]
    for place in range(max(len(before), len(after))):
        table.add_row(str(place + 1), *_cells(before, place), *_cells(after, place))
    return table


def _cells(answer: list[tuple[str, float]], place: int) -> tuple[str, str]:
    if place >= len(answer):
        return "–", "–"
    item, propensity = answer[place]
    return escape(item), f"{propensity:.6f}"
