"""Make users of rows: upserts of their attributes, and removals."""

from __future__ import annotations

from pipeline.datasets.row_reader import Fields
from pipeline.datasets.user_rows import UserReader
from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.events import User, check_units, encode, validate
from producers.bridge.decision import BridgedRecord
from producers.bridge.described import Described
from producers.bridge.item_mapper import REMOVAL
from producers.bridge.rows import SourceRow


class UserMapper:
    """Makes records of the users topic; not for several threads."""

    def __init__(self, topic: str, reader: UserReader) -> None:
        self._topic = topic
        self._reader = reader
        self._described = Described()

    def record(self, row: SourceRow, time: int) -> BridgedRecord:
        """Make the record of a row about a user: an upsert, or the removal of what was deleted.

        Raises:
            InvalidEvent, InvalidField: the row names no user, or its fields are none of a user.
        """
        user = self._reader.user(row.cells)
        if not user:
            reason = "missing: map the user to a column that all rows have, or to $key"
            raise InvalidEvent("user", reason, RefusalReason.MISSING_FIELD)
        if not row.deleted:
            return self._upsert(user, self._reader.attributes(row.cells), time)
        validate(User, {"user": user})  # the id is within bounds
        return BridgedRecord(self._topic, user, None, REMOVAL)

    def description(self, row: SourceRow, user: str, time: int) -> tuple[BridgedRecord, ...]:
        """Make the record that describes the user of an act, if the row says what was not said last.

        Raises:
            InvalidEvent, InvalidField: see `record`.
        """
        attributes = self._reader.attributes(row.cells)
        if not self._described.is_news(user, attributes):
            return ()
        made = self._upsert(user, attributes, time)
        self._described.note(user, attributes)
        return (made,)

    def _upsert(self, user: str, attributes: Fields, time: int) -> BridgedRecord:
        made = validate(User, {"user": user, "attributes": attributes, "time": max(0, time)})
        check_units(made)
        return BridgedRecord(self._topic, user, encode(made), made.kind)
