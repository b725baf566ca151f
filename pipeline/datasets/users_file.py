"""Users in files: rows that a mapping makes users of, or JSONL whose lines are users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.datasets.cells import unproven_order
from pipeline.datasets.drops import Drops
from pipeline.datasets.mapping import FileFormat, Layout, Mapping
from pipeline.datasets.records import Row, check_headers, check_rows, files_of, read_rows, refuse, refuse_line
from pipeline.datasets.row_reader import CellReader, DropRules, Fields, InvalidField
from pipeline.datasets.user_rows import UserReader, UserRows, user_of_fields
from pipeline.errors import DatasetError, InvalidEvent
from pipeline.events import User, build, check_units, encode

ENVELOPE = {"v": User.version, "kind": User.kind}
"""What a line may leave out."""
NO_USERS = "the mapping {} has no table [users]: it says nothing about users"
JSONL = Layout(format=FileFormat.JSONL)


class UsersFile:
    """The users in a file, or in the files of a folder; of rows, each user once.

    Attributes:
        drops: rows left out in the last iteration, by reason.
    """

    def __init__(self, source: Path, mapping: Mapping | None, time: int) -> None:
        """Open the files.

        Args:
            source: a file, or a folder.
            mapping: of its columns; None for JSONL whose lines are users.
            time: in ms, of users that have none.

        Raises:
            DatasetError: there is no file or no line, or the mapping has no users.
        """
        if mapping is not None and mapping.users is None:
            raise DatasetError(NO_USERS.format(mapping.name))
        self._mapping, self._time = mapping, time
        fields = mapping.users if mapping else None
        self._layout = (fields.layout if fields else None) or (mapping.layout if mapping else JSONL)
        self._sources = list(fields.sources()) if fields else []
        self._sources += [rule.column for rule in mapping.drop_without_acts] if mapping else []
        self.drops = Drops()
        check_rows(source, self._layout, refuse if mapping else refuse_line)
        self._files = files_of(source, self._layout)
        check_headers(self._files, self._layout, self._sources)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the wire form of each user.

        Raises:
            DatasetError: a row is invalid; names file, line, field and reason.
        """
        self.drops = Drops()
        for place, fields in self._of_lines() if self._mapping is None else self._of_rows(self._mapping):
            try:
                user = self._user(fields)
                yield user.user, encode(user)
            except InvalidEvent as error:
                self.drops.refuse(place, error, self._mapping)

    def _user(self, fields: Fields) -> User:
        if self._mapping is not None:
            return user_of_fields(fields)
        user = build(User, fields)
        check_units(user)
        return user

    def _of_lines(self) -> Iterator[tuple[str, Fields]]:
        return ((row.place, {**ENVELOPE, **row.cells}) for row in self._rows())

    def _of_rows(self, mapping: Mapping) -> Iterator[tuple[str, Fields]]:
        assert mapping.users is not None
        cells = CellReader(mapping.time, self._layout, unproven_order)
        reader, rules = UserReader(mapping.users, cells), DropRules(mapping.drop_without_acts, cells)
        described = UserRows(reader)
        for row in self._rows():
            try:
                left_out = _reason_to_drop(row, rules, reader, described)
            except InvalidField as error:
                self.drops.refuse(row.place, error, mapping)
                continue
            if left_out:
                self.drops.add(left_out, row.place)
        return described.users(self._time)

    def _refuse_row(self, place: str, fault: str, details: str) -> None:
        if self._mapping is None:
            refuse_line(place, fault, details)
        self.drops.refuse_row(place, fault, fault + details, self._mapping)

    def _rows(self) -> Iterator[Row]:
        return (
            row
            for file in self._files
            for row in read_rows(file, self._layout, self._sources, self._refuse_row)
        )


def _reason_to_drop(row: Row, rules: DropRules, reader: UserReader, described: UserRows) -> str | None:
    """Add what a row says of a user, or return why it says nothing.

    Raises:
        InvalidField: a cell cannot be read.
    """
    if row.repeats_header:
        return "the header again"
    if reason := rules.reason_for(row.cells):
        return reason
    if not reader.user(row.cells):
        return "a user without id"
    return None if described.add_row(row) else "a user without attributes"
