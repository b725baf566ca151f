"""Decide about each record of a foreign topic: records for the log, a refusal, or a reason to leave it out.

What was decided once is decided again when a record is read again: the id of an interaction follows from the
record's place, so the learner knows it as a duplicate.
"""

from __future__ import annotations

from pipeline.datasets.cells import unproven_order
from pipeline.datasets.each import rows_of
from pipeline.datasets.mapping import Mapping
from pipeline.datasets.records import Row
from pipeline.datasets.row_reader import ActReader, CellReader, Drop, DropRules, InvalidField, ItemReader
from pipeline.datasets.user_rows import UserReader
from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.intake import check_interaction
from pipeline.eventlog.port import Record
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, encode, validate
from producers.bridge.decision import BridgedRecord, Decision, together
from producers.bridge.item_mapper import ItemMapper
from producers.bridge.rows import ROW_FORMS, SourceRow
from producers.bridge.user_mapper import UserMapper
from producers.bridge.values import ReadValue, json_object

DELETED = "a deleted row: what was done stays done"


class RecordMapper:
    """Reads the records of one topic as a mapping says: acts with items and users, or one of these alone.

    Files of items or users, which a mapping may name, are not read here.
    """

    def __init__(self, mapping: Mapping, form: str, topics: Topics, read: ReadValue = json_object) -> None:
        """Create it; `form` is a key of ROW_FORMS, and `read` reads the values of records."""
        cells = CellReader(mapping.time, mapping.layout, unproven_order)
        item_cells = CellReader(mapping.item_times, mapping.layout, unproven_order)
        self._row, self._read = ROW_FORMS[form], read
        self._topics, self._each = topics, mapping.each
        self._acts = ActReader(mapping, cells) if mapping.interactions else None
        self._has_times = mapping.interactions is not None and mapping.interactions.time is not None
        described = mapping.items if mapping.titles_are_in_rows or self._acts is None else None
        self._items = ItemMapper(topics.items, ItemReader(described, item_cells)) if described else None
        of_users = mapping.users if mapping.users_are_in_rows or self._acts is None else None
        self._users = UserMapper(topics.users, UserReader(of_users, cells)) if of_users else None
        self._rules = DropRules(mapping.drop_without_acts, cells)

    def decide(self, record: Record, event_id: str, now: int) -> Decision:
        """Decide about a record; raise LogUnavailable while the Schema Registry does not answer.

        Args:
            record: of the source.
            event_id: of its interaction, unless the mapping names a column for it.
            now: in ms; stands for the time at which the events will be appended.
        """
        try:
            row = self._row(record, self._read)
            if isinstance(row, Drop):
                return Decision(dropped=row.reason)
            if self._acts is not None:
                return self._of_acts(self._acts, row, record, event_id, now)
            return self._without_acts(row, record.append_time)
        except (InvalidField, InvalidEvent) as error:
            return Decision(refusal=_refusal(error))

    def _without_acts(self, row: SourceRow, time: int) -> Decision:
        """Decide about a row of items or of users alone; no rule keeps a deleted one."""
        reason = None if row.deleted else self._rules.reason_for(row.cells)
        if reason:
            return Decision(dropped=reason)
        return Decision(tuple(mapper.record(row, time) for mapper in (self._items, self._users) if mapper))

    def _of_acts(self, acts: ActReader, row: SourceRow, record: Record, event_id: str, now: int) -> Decision:
        """Decide about the acts of a record, each on its own; of several refusals the first counts."""
        if record.value is None and record.key is None:
            raise InvalidEvent("event", "the record has neither value nor key", RefusalReason.NO_VALUE)
        if row.deleted:
            return Decision(dropped=DELETED)
        found, ids = list[Decision](), set[str]()
        for number, part in enumerate(rows_of(Row("", row.cells), self._each), start=1):
            try:
                found.append(self._of_act(acts, part, record, (event_id, number), ids, now))
            except (InvalidField, InvalidEvent) as error:
                found.append(Decision(refusal=_refusal(error)))
        return together(found)

    def _of_act(
        self, acts: ActReader, row: Row, record: Record, place: tuple[str, int], ids: set[str], now: int
    ) -> Decision:
        act = acts.read(row, 0, 0)
        if isinstance(act, Drop):
            if act.field is None:
                return Decision(dropped=act.reason)
            raise InvalidEvent(act.field, act.reason, act.code)
        time = act.time if self._has_times else record.append_time
        given = {"event_id": _event_id(act.fields.get("event_id"), place, ids), "time": time}
        event = validate(Interaction, {**act.fields, **given})
        check_interaction(event, now)
        ids.add(event.event_id)
        items = self._items.description(SourceRow(row.cells), event.item, time) if self._items else ()
        users = self._users.description(SourceRow(row.cells), event.user, time) if self._users else ()
        made = BridgedRecord(self._topics.interactions, event.user, encode(event), event.kind)
        return Decision((*items, *users, made))


def _event_id(given: object, place: tuple[str, int], ids: set[str]) -> str:
    """Return the id that the mapping gives, or that of the place; acts of one record differ by a number."""
    event_id, number = place
    if isinstance(given, str) and given not in ids:
        return given
    event_id = given if isinstance(given, str) else event_id
    return event_id if number == 1 else f"{event_id}-{number}"


def _refusal(error: InvalidField | InvalidEvent) -> InvalidEvent:
    if isinstance(error, InvalidEvent):
        return error
    return InvalidEvent(error.column, error.problem, error.code)
