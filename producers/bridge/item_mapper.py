"""Make catalogue records of rows: whole items, changes, and removals."""

from __future__ import annotations

from pipeline.datasets.row_reader import Fields, ItemReader
from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.events import Item, ItemChange, check_units, encode, validate
from producers.bridge.decision import BridgedRecord
from producers.bridge.described import Described
from producers.bridge.rows import SourceRow

REMOVAL, CHANGE = "removal", "change"


class ItemMapper:
    """Makes records of the items topic; not for several threads."""

    def __init__(self, topic: str, reader: ItemReader) -> None:
        self._topic = topic
        self._reader = reader
        self._described = Described()

    def record(self, row: SourceRow, time: int) -> BridgedRecord:
        """Make the record of a catalogue's row: an upsert, or the removal of what was deleted.

        Args:
            row: of the source.
            time: of a whole item whose row has none, in ms.

        Raises:
            InvalidEvent, InvalidField: the row names no item, or its fields are none of an item.
        """
        item = self._reader.item(row.cells)
        if not item:
            reason = "missing: map the item to a column that all rows have, or to $key"
            raise InvalidEvent("item", reason, RefusalReason.MISSING_FIELD)
        if not row.deleted:
            return self._upsert(item, self._fields(row), time)
        validate(Item, {"item": item, "title": ""})  # the id is within bounds
        return BridgedRecord(self._topic, item, None, REMOVAL)

    def description(self, row: SourceRow, item: str, time: int) -> tuple[BridgedRecord, ...]:
        """Make the record that describes the item of an act, if the row says what was not said last.

        Raises:
            InvalidEvent, InvalidField: see `record`.
        """
        fields = self._fields(row)
        if not self._described.is_news(item, fields):
            return ()
        made = self._upsert(item, fields, time)
        self._described.note(item, fields)
        return (made,)

    def _fields(self, row: SourceRow) -> Fields:
        title = self._reader.title(row.cells)
        return {**({"title": title} if title else {}), **self._reader.others(row.cells)}

    def _upsert(self, item: str, fields: Fields, time: int) -> BridgedRecord:
        """Without a title, the fields that there are change the item, and no others."""
        if fields and "title" not in fields:
            change = validate(ItemChange, {**fields, "item": item})
            check_units(change)
            return BridgedRecord(self._topic, item, encode(change), CHANGE)
        made = validate(Item, {"time": max(0, time), **fields, "item": item})
        check_units(made)
        return BridgedRecord(self._topic, item, encode(made), made.kind)
