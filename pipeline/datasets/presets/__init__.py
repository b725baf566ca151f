"""Mappings of known data sets, each recognised by looking at its files."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from pipeline.datasets.mapping import UTF8, Layout, Mapping, load_mapping
from pipeline.datasets.records import check_columns, columns_of, files_of, format_of, table_of
from pipeline.datasets.tables import lines
from pipeline.errors import DatasetError

FOLDER = Path(__file__).parent
NAMES = (
    "online-retail",
    "movielens",
    "movielens-dat",
    "sessions",
    "retailrocket",
    "yoochoose",
    "yoochoose-buys",
    "amazon-reviews",
    "mind",
)
"""In the order in which they are tried."""
FIRST_LINES = {
    "movielens-dat": re.compile(r"\d+::\d+::[\d.]+::\d+\s*"),
    "sessions": re.compile(r"\d+ \d+\s*"),
    "mind": re.compile(r"\d+\tU\d+\t\d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M\t[N\d ]*\t[N\d -]+\s*"),
    "yoochoose-buys": re.compile(r"\d+,\d{4}-\d\d-\d\dT[\d:.]+Z,\d+,\d+,\d+\s*"),
    "yoochoose": re.compile(r"\d+,\d{4}-\d\d-\d\dT[\d:.]+Z,\d+,\w+\s*"),
}
"""What the first line looks like of files without a header."""
MOST_LINES = 1_000_000
"""Lines that are looked at; a later one of another encoding ends the reading with its place."""
OLD_ENCODING = "cp1252"
"""Of the films of MovieLens 1M; those of 10M are UTF-8."""


def preset(name: str) -> Mapping:
    """The mapping of a known data set."""
    return load_mapping(FOLDER / f"{name}.toml")


def recognised(source: Path, encoding: str | None = None) -> Mapping | None:
    """Return the mapping of the data set at a path; None if none is known that it fits.

    Args:
        source: a file or a folder.
        encoding: of the interactions' files, if it is not the preset's.
    """
    for name in NAMES:
        mapping = preset(name)
        if encoding is not None:
            layout = mapping.layout.model_copy(update={"encoding": encoding})
            mapping = mapping.model_copy(update={"layout": layout})
        if _fits(source, mapping, FIRST_LINES.get(name)):
            return _with_items_as_found(source, _with_users_as_found(source, mapping))
    return None


def _fits(source: Path, mapping: Mapping, first_line: re.Pattern[str] | None) -> bool:
    try:
        first = files_of(source, mapping.layout)[0]
        if mapping.layout.format not in (None, format_of(first)):
            return False
        if first_line is not None:
            _, line = next(lines(table_of(first, mapping.layout)), ("", ""))
            return first_line.fullmatch(line) is not None
        check_columns(str(first), columns_of(first, mapping.layout), mapping.of_rows())
    except DatasetError:
        return False
    return True


def _with_items_as_found(source: Path, mapping: Mapping) -> Mapping:
    """Leave out items whose files are not there; read films in their encoding."""
    items = mapping.items
    if items is None or items.layout is None:
        return mapping
    try:
        files = files_of(source.parent if source.is_file() else source, items.layout)
    except DatasetError:
        return mapping.model_copy(update={"items": None})
    if is_readable(files[0], items.layout):
        return mapping
    layout = items.layout.model_copy(update={"encoding": OLD_ENCODING})
    return mapping.model_copy(update={"items": items.model_copy(update={"layout": layout})})


def _with_users_as_found(source: Path, mapping: Mapping) -> Mapping:
    """Leave out users whose files are not there."""
    users = mapping.users
    if users is None or users.layout is None:
        return mapping
    try:
        files_of(source.parent if source.is_file() else source, users.layout)
    except DatasetError:
        return mapping.model_copy(update={"users": None})
    return mapping


def is_readable(path: Path, layout: Layout) -> bool:
    """Whether the first lines of a file of text are of the encoding of a layout."""
    try:
        for _ in itertools.islice(lines(table_of(path, layout)), MOST_LINES):
            pass
    except DatasetError:
        return layout.encoding != UTF8
    return True
