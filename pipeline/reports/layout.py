"""The layout of tables: text folds where the terminal is narrow, and what people copy stays whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

NARROWEST = 12
"""Terminal cells that a column folds to, at least."""
BORDERS = 3
"""Terminal cells between the texts of two columns."""


def table(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    whole: Collection[str] = (),
    right: Collection[str] = (),
) -> RenderableType:
    """Make a table of plain texts, whose cells may have several lines.

    Print it with `soft_wrap`: it is wider than the terminal where its columns need that.

    Args:
        title, headings, rows: texts; none is read as markup.
        whole: headings of columns that are never folded or cut off.
        right: headings of columns that end at the right.
    """
    cells, least = list(rows), 1
    made = Table(title=escape(title), title_justify="left")
    for index, heading in enumerate(headings):
        made.add_column(
            heading,
            justify="right" if heading in right else "left",
            overflow="fold",
            no_wrap=heading in whole,
        )
        widest = _widest([heading, *(row[index] for row in cells)])
        least += BORDERS + (widest if heading in whole else min(widest, NARROWEST))
    for row in cells:
        made.add_row(*map(Text, row))
    return _AtLeast(made, least)


class _AtLeast:
    """Gives a table the terminal's width, but not less than it needs: rich would drop columns."""

    def __init__(self, content: Table, width: int) -> None:
        self._content, self._width = content, width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._content, options.update_width(max(options.max_width, self._width)))


def _widest(texts: Iterable[str]) -> int:
    """Terminal cells of the widest line."""
    return max(cell_len(line) for text in texts for line in text.split("\n"))
