"""Users as rows describe them: the attributes of each, those of the latest row that has any."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.datasets.mapping import UserMapping
from pipeline.datasets.records import Cells, Row
from pipeline.datasets.row_reader import CellReader, Fields
from pipeline.events import User, validate


class UserReader:
    """Reads users from rows."""

    def __init__(self, mapping: UserMapping, cells: CellReader) -> None:
        self._fields = mapping
        self._cells = cells

    def user(self, cells: Cells) -> str:
        """Return a user's id, empty if it is missing."""
        return self._cells.identifier(cells, self._fields.user)

    def attributes(self, cells: Cells) -> Fields:
        """Return the attributes that have values.

        Raises:
            InvalidField: a cell cannot be read.
        """
        found = ((name, self._cells.value(cells, source)) for name, source in self._fields.attributes.items())
        return {name: value for name, value in found if value is not None}


class UserRows:
    """What rows say of users."""

    def __init__(self, reader: UserReader | None) -> None:
        """Know nobody yet; without a reader, rows say nothing."""
        self._reader = reader
        self._known: dict[str, tuple[int, str, Fields]] = {}
        self._described: set[str] = set()

    def add_row(self, row: Row, time: int = 0) -> bool:
        """Add what a row says, unless one of a later time said it; return whether it has user and attributes.

        Raises:
            InvalidField: a cell cannot be read.
        """
        if self._reader is None or not (user := self._reader.user(row.cells)):
            return False
        attributes = self._reader.attributes(row.cells)
        if attributes and time >= self._known.get(user, (time,))[0]:
            self._known[user] = time, row.place, attributes
        return bool(attributes)

    def users(self, time: int) -> Iterator[tuple[str, Fields]]:
        """Yield place and fields of each user."""
        for user in self._known:
            yield self._of(user, time)

    def before_first_act(self, user: str, time: int) -> Iterator[tuple[str, Fields]]:
        """Yield place and fields of a user whose first act follows."""
        if user in self._known and user not in self._described:
            self._described.add(user)
            yield self._of(user, time)

    def _of(self, user: str, time: int) -> tuple[str, Fields]:
        _, place, attributes = self._known[user]
        return place, {"user": user, "attributes": attributes, "time": time}


def user_of_fields(fields: Fields) -> User:
    """Make a user.

    Raises:
        InvalidEvent: a field is out of bounds.
    """
    return validate(User, fields)
