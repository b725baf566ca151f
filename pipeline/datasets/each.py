"""Make several rows of one: the lines of an order, the items of a list, the news that were clicked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pipeline.datasets.mapping import RowLines
from pipeline.datasets.records import Cells, Row


def rows_of(row: Row, each: RowLines | None) -> Iterator[Row]:
    """Yield a row for each part of a column; the row as it is, if it has none.

    So a row without parts lacks what they would have, and is left out with that reason, not in silence.
    """
    parts = _parts(row.cells, each) if each else []
    if each is None or not parts:
        yield row
        return
    pattern = re.compile(each.pattern) if each.pattern else None
    for part in parts:
        cells = _replaced(row.cells, each.column.split("."), part)
        match = pattern.fullmatch(part) if pattern and isinstance(part, str) else None
        yield row._replace(cells={**cells, **match.groupdict()} if match else cells)


def _parts(cells: Cells, each: RowLines) -> list[object]:
    found: object = cells
    for name in [each.column] if each.column in cells else each.column.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    if isinstance(found, str) and each.split:
        return [part for part in found.split(each.split) if part.strip()]
    return list(found) if isinstance(found, list | tuple) else []


def _replaced(cells: Cells, path: list[str], value: object) -> Cells:
    """Return cells with another value at a path that is there."""
    name = ".".join(path)
    if name in cells or len(path) == 1:
        return {**cells, name: value}
    inner = cells[path[0]]
    assert isinstance(inner, Mapping)
    return {**cells, path[0]: _replaced(inner, path[1:], value)}
