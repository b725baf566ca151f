"""Read rows of the table of records; a damaged row costs that record and not the reader."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from pipeline.clock import now_ms
from pipeline.eventlog.port import Record
from pipeline.eventlog.sqlite.database import OFFSET_MASK, Slot
from pipeline.eventlog.unreadable import unreadable

_SOUND = (
    "typeof(append_time) = 'integer' AND typeof(key) IN ('text', 'null')"
    " AND typeof(value) IN ('blob', 'null')"
)


def read_rows(
    connection: sqlite3.Connection, slot: Slot, start: int, max_records: int
) -> tuple[list[Record], int]:
    """Read at most so many records of a slot from an offset on; return them, and where to continue."""
    try:
        return _scan(connection, slot, start, max_records)
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
    end = min(slot.end, start + max_records)
    return list(_one_by_one(connection, slot, start, end)), end


def _scan(
    connection: sqlite3.Connection, slot: Slot, start: int, max_records: int
) -> tuple[list[Record], int]:
    rows = connection.execute(
        f"SELECT id, append_time, key, value, {_SOUND} FROM records"
        " WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (slot.id_at(start), slot.id_at(slot.end), max_records),
    ).fetchall()
    records = [
        Record(slot.topic, slot.partition, record_id & OFFSET_MASK, append_time, key, value)
        if sound
        else _damaged(slot, record_id & OFFSET_MASK, append_time)
        for record_id, append_time, key, value, sound in rows
    ]
    full = len(rows) == max_records  # if not, the rest of the partition is a gap: skip it
    return records, records[-1].offset + 1 if full else slot.end


def _one_by_one(connection: sqlite3.Connection, slot: Slot, start: int, end: int) -> Iterator[Record]:
    for offset in range(start, end):
        try:
            row = connection.execute(
                f"SELECT append_time, CAST(key AS BLOB), value, {_SOUND} FROM records WHERE id = ?",
                (slot.id_at(offset),),
            ).fetchone()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            yield unreadable(slot.topic, slot.partition, offset, now_ms(), f"damaged row: {error}")
            continue
        if row is not None:  # else compaction removed it
            append_time, key, value, sound = row
            if not sound:
                yield _damaged(slot, offset, append_time)
                continue
            # A key written by another program may not be UTF-8; it must not stop the reader.
            text = None if key is None else key.decode("utf-8", "backslashreplace")
            yield Record(slot.topic, slot.partition, offset, append_time, text, value)


def _damaged(slot: Slot, offset: int, append_time: object) -> Record:
    known = append_time if isinstance(append_time, int) else now_ms()
    return unreadable(slot.topic, slot.partition, offset, known, "the row has values of other types")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Return whether a row is damaged; a read error may pass, so it makes the log unavailable."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python's module itself: a text is not UTF-8
        return isinstance(error, sqlite3.OperationalError) and "UTF-8" in str(error)
    primary: int = code & 0xFF
    return primary == sqlite3.SQLITE_CORRUPT
