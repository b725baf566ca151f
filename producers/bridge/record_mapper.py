"""Decide about each record of a foreign topic: records for the log, a refusal, or a reason to leave it out.

What was decided once is decided again when a record is read again: the id of an interaction follows from the
record's place, so the learner knows it as a duplicate.
"""

from __future__ import annotations

from pipeline.datasets.cells import DateForm
from pipeline.datasets.mapping import Mapping
from pipeline.datasets.records import Row
from pipeline.datasets.row_reader import ActReader, CellReader, Drop, InvalidField, ItemReader
from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.intake import check_interaction
from pipeline.eventlog.port import Record
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, encode, validate
from producers.bridge.decision import BridgedRecord, Decision
from producers.bridge.item_mapper import ItemMapper
from producers.bridge.rows import ROW_FORMS, SourceRow

DELETED = "a deleted row: what was done stays done"


class RecordMapper:
    """Reads the records of one topic as a mapping says: acts, items, or both.

    A catalogue's own files, which a mapping may name, are not read here.
    """

    def __init__(self, mapping: Mapping, form: str, topics: Topics) -> None:
        cells = CellReader(mapping, mapping.layout, _unproven_order)
        self._row = ROW_FORMS[form]
        self._topics = topics
        self._acts = ActReader(mapping, cells) if mapping.interactions else None
        self._has_times = mapping.interactions is not None and mapping.interactions.time is not None
        described = mapping.items if mapping.titles_are_in_rows or self._acts is None else None
        self._items = ItemMapper(topics.items, ItemReader(described, cells)) if described else None

    def decide(self, record: Record, event_id: str, now: int) -> Decision:
        """Decide about a record.

        Args:
            record: of the source.
            event_id: of its interaction, unless the mapping names a column for it.
            now: in ms; stands for the time at which the events will be appended.
        """
        try:
            row = self._row(record)
            if isinstance(row, Drop):
                return Decision(dropped=row.reason)
            if self._acts is not None:
                return self._of_act(self._acts, row, record, event_id, now)
            return Decision((self._items.record(row, record.append_time),) if self._items else ())
        except InvalidField as error:
            return Decision(refusal=InvalidEvent(error.column, error.problem, error.code))
        except InvalidEvent as error:
            return Decision(refusal=error)

    def _of_act(self, acts: ActReader, row: SourceRow, record: Record, event_id: str, now: int) -> Decision:
        if record.value is None:
            raise InvalidEvent("event", "the record has no value", RefusalReason.NO_VALUE)
        if row.deleted:
            return Decision(dropped=DELETED)
        act = acts.read(Row("", row.cells), 0, 0)
        if isinstance(act, Drop):
            if act.field is None:
                return Decision(dropped=act.reason)
            raise InvalidEvent(act.field, act.reason, act.code)
        time = act.time if self._has_times else record.append_time
        event = validate(Interaction, {"event_id": event_id, **act.fields, "time": time})
        check_interaction(event, now)
        items = self._items.description(row, event.item, time) if self._items else ()
        made = BridgedRecord(self._topics.interactions, event.user, encode(event), event.kind)
        return Decision((*items, made))


def _unproven_order() -> DateForm:
    """A stream has no other dates that could prove the order."""
    raise ValueError("has day and month in an unknown order: name the format in [time]")
