"""Retention and compaction, which a Kafka broker does in the background.

They run in bounded steps, so that no writer waits long for the database lock.
"""

from __future__ import annotations

import sqlite3

from pipeline.eventlog.sqlite.database import OFFSET_BITS, OFFSET_MASK, Database, Slot, first_at

TOMBSTONE_RETENTION_MS = 24 * 3600 * 1000
"""How long a tombstone stays after its compaction, for slow readers; Kafka's delete.retention.ms."""

_STEP_RECORDS = 2_000


def upkeep(database: Database, now: int) -> bool:
    """Expire and compact one step of each partition; return whether more work remains."""
    with database.transaction("DEFERRED") as connection:
        work = connection.execute(
            "SELECT p.slot, t.compacted, t.retention_ms, t.compaction_lag_ms"
            " FROM partitions p JOIN topics t ON t.name = p.topic"
            " WHERE t.compacted OR t.retention_ms IS NOT NULL"
        ).fetchall()
    more = False
    for slot, compacted, retention_ms, lag_ms in work:
        with database.transaction() as connection:
            if retention_ms is not None:
                more |= _expire(connection, slot, now - retention_ms)
            if compacted:
                more |= _compact(connection, slot, now - lag_ms)
                more |= _drop_tombstones(connection, slot, now - lag_ms - TOMBSTONE_RETENTION_MS)
    return more


def _expire(connection: sqlite3.Connection, slot: int, before: int) -> bool:
    row = connection.execute(
        "SELECT slot, topic, partition, begin_offset, end_offset FROM partitions WHERE slot = ?", (slot,)
    ).fetchone()
    partition = Slot(*row)
    step = partition._replace(end=min(partition.end, partition.begin + _STEP_RECORDS))
    begin = first_at(connection, step, before)
    expired = (partition.id_at(partition.begin), partition.id_at(begin))
    connection.execute(
        "DELETE FROM latest WHERE slot = ? AND record_offset < ?"
        " AND key IN (SELECT key FROM records WHERE id >= ? AND id < ?)",
        (slot, begin, *expired),
    )
    connection.execute("DELETE FROM records WHERE id >= ? AND id < ?", expired)
    connection.execute("UPDATE partitions SET begin_offset = ? WHERE slot = ?", (begin, slot))
    return begin == step.end < partition.end


def _compact(connection: sqlite3.Connection, slot: int, before: int) -> bool:
    """Delete records superseded by ones appended before a time, continuing after the last step."""
    (start,) = connection.execute("SELECT compacted_to FROM partitions WHERE slot = ?", (slot,)).fetchone()
    rows = connection.execute(
        "SELECT id, append_time, key, value IS NULL FROM records"
        " WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (slot << OFFSET_BITS | start, (slot + 1) << OFFSET_BITS, _STEP_RECORDS),
    ).fetchall()
    due = [row for row in rows if row[1] < before]
    for record_id, append_time, key, is_tombstone in due:
        _supersede(connection, slot, key, record_id, append_time if is_tombstone else None)
    if due:
        start = (due[-1][0] & OFFSET_MASK) + 1
        connection.execute("UPDATE partitions SET compacted_to = ? WHERE slot = ?", (start, slot))
    return len(due) == _STEP_RECORDS


def _supersede(
    connection: sqlite3.Connection, slot: int, key: str, record_id: int, tombstone_time: int | None
) -> None:
    previous = connection.execute(
        "SELECT record_offset FROM latest WHERE slot = ? AND key = ?", (slot, key)
    ).fetchone()
    if previous:
        connection.execute("DELETE FROM records WHERE id = ?", (slot << OFFSET_BITS | previous[0],))
    connection.execute(
        "INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)",
        (slot, key, record_id & OFFSET_MASK, tombstone_time),
    )


def _drop_tombstones(connection: sqlite3.Connection, slot: int, before: int) -> bool:
    rows = connection.execute(
        "SELECT key, record_offset FROM latest WHERE slot = ? AND tombstone_time < ? LIMIT ?",
        (slot, before, _STEP_RECORDS),
    ).fetchall()
    for key, offset in rows:
        connection.execute("DELETE FROM records WHERE id = ?", (slot << OFFSET_BITS | offset,))
        connection.execute("DELETE FROM latest WHERE slot = ? AND key = ?", (slot, key))
    return len(rows) == _STEP_RECORDS
