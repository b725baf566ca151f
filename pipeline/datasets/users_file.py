"""Users in files: rows that a mapping makes users of, or JSONL whose lines are users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.datasets.cells import unproven_order
from pipeline.datasets.mapping import FileFormat, Layout, Mapping
from pipeline.datasets.records import check_rows, files_of, read_rows
from pipeline.datasets.row_reader import CellReader, InvalidField
from pipeline.datasets.user_rows import UserReader, UserRows, user_of_fields
from pipeline.errors import DatasetError, InvalidEvent
from pipeline.events import User, build, check_units

ENVELOPE = {"v": User.version, "kind": User.kind}
"""What a line may leave out."""
NO_USERS = "the mapping {} has no table [users]: it says nothing about users"
JSONL = Layout(format=FileFormat.JSONL)


def read_users(source: Path, mapping: Mapping | None, time: int) -> Iterator[User]:
    """Yield the users of a file, or of the files of a folder; of rows, each user once.

    Args:
        source: a file, or a folder.
        mapping: of its columns; None for JSONL whose lines are users.
        time: in ms, of users that have none.

    Raises:
        DatasetError: there is no file or no line, the mapping has no users, or a line is no user; names file,
            line, field and reason.
    """
    return _of_lines(source) if mapping is None else _of_rows(source, mapping, time)


def _of_rows(source: Path, mapping: Mapping, time: int) -> Iterator[User]:
    if mapping.users is None:
        raise DatasetError(NO_USERS.format(mapping.name))
    layout, sources = mapping.users.layout or mapping.layout, list(mapping.users.sources())
    reader = UserReader(mapping.users, CellReader(mapping.time, layout, unproven_order))
    described = UserRows(reader)
    check_rows(source, layout)
    for file in files_of(source, layout):
        for row in read_rows(file, layout, sources):
            try:
                if not row.repeats_header:
                    described.add_row(row)
            except InvalidField as error:
                raise DatasetError(f"{row.place}: {error.detail}") from None
    for place, fields in described.users(time):
        try:
            yield user_of_fields(fields)
        except InvalidEvent as error:
            raise DatasetError(f"{place}: {error}") from None


def _of_lines(source: Path) -> Iterator[User]:
    check_rows(source, JSONL)
    for file in files_of(source, JSONL):
        for row in read_rows(file, JSONL):
            try:
                user = build(User, {**ENVELOPE, **row.cells})
                check_units(user)
            except InvalidEvent as error:
                raise DatasetError(f"{row.place}: {error}") from None
            yield user
