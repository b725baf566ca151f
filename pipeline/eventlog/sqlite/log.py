"""The log in one file: topics, offsets, and the factory of readers and writers."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Self
from uuid import uuid4

from pipeline.clock import now_ms
from pipeline.errors import InvalidSettings, TopicError
from pipeline.eventlog.port import Offsets, TopicPartition, TopicSpec
from pipeline.eventlog.sqlite.database import (
    BUSY_SECONDS,
    Clock,
    Database,
    Slot,
    existing_slots,
    first_at,
)
from pipeline.eventlog.sqlite.fenced import SqliteFencedWriter
from pipeline.eventlog.sqlite.reader import SqliteReader
from pipeline.eventlog.sqlite.upkeep import upkeep
from pipeline.eventlog.sqlite.writer import SqliteWriter

_ALTERABLE = {"compacted", "retention_ms", "compaction_lag_ms"}
"""The settings that this engine has; they are columns of the same names."""


class SqliteLog:
    """An event log in one file. `clock` returns append times in ms; tests inject their own.

    `busy_seconds` is how long a transaction waits for the lock of another process.
    """

    def __init__(
        self, path: Path, clock: Clock = now_ms, busy_seconds: float = BUSY_SECONDS, *, create: bool = True
    ) -> None:
        self._path = path
        self._clock = clock
        self._busy_seconds = busy_seconds
        self._database = Database(path, busy_seconds, create=create, follow=True)

    def ping(self, timeout_seconds: float) -> None:
        """See `EventLog.ping`; takes the file's write lock for a moment."""
        database = Database(self._path, timeout_seconds, create=False)
        try:
            with database.transaction():
                pass
        finally:
            database.close()

    def version(self) -> str:
        """See `EventLog.version`."""
        return f"SQLite {sqlite3.sqlite_version}"

    def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """See `EventLog.create_topics`."""
        with self._database.transaction() as connection:
            present = {name for (name,) in connection.execute("SELECT name FROM topics")}
            missing = [spec for spec in specs if spec.name not in present]
            for spec in missing:
                if spec.partitions < 1:
                    raise InvalidSettings(f"{spec.name}: a topic needs a partition")
                lag_ms = spec.compaction_lag_ms if spec.compacted else 0
                connection.execute(
                    "INSERT INTO topics VALUES (?, ?, ?, ?, ?, ?)",
                    (spec.name, spec.partitions, spec.compacted, spec.retention_ms, lag_ms, uuid4().hex),
                )
                connection.executemany(
                    "INSERT INTO partitions (topic, partition) VALUES (?, ?)",
                    [(spec.name, partition) for partition in range(spec.partitions)],
                )
        return [spec.name for spec in missing]

    def describe_topics(self) -> dict[str, TopicSpec]:
        """See `EventLog.describe_topics`."""
        with self._database.transaction("DEFERRED") as connection:
            rows = connection.execute(
                "SELECT name, partitions, compacted, retention_ms, compaction_lag_ms FROM topics"
            ).fetchall()
        return {
            name: TopicSpec(name, partitions, bool(compacted), retention_ms, lag_ms)
            for name, partitions, compacted, retention_ms, lag_ms in rows
        }

    def alter_topic(self, spec: TopicSpec, fields: Collection[str]) -> None:
        """See `EventLog.alter_topic`."""
        with self._database.transaction() as connection:
            for field in _ALTERABLE & set(fields):
                connection.execute(
                    f"UPDATE topics SET {field} = ? WHERE name = ?", (getattr(spec, field), spec.name)
                )

    def alter_command(self, spec: TopicSpec, field: str) -> str:
        """See `EventLog.alter_command`."""
        return "millstream topics alter"

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """See `EventLog.topic_ids`."""
        return {name: topic_id for name, topic_id, _ in self._topics(topics)}

    def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """See `EventLog.partition_counts`."""
        return {name: partitions for name, _, partitions in self._topics(topics)}

    def writer(self, *, max_in_flight: int = 20_000) -> SqliteWriter:
        """See `EventLog.writer`."""
        return SqliteWriter(self._open(), self._clock, max_in_flight)

    def reader(self, offsets: Offsets) -> SqliteReader:
        """See `EventLog.reader`."""
        slots = {TopicPartition(s.topic, s.partition): s for s in self._slots({tp.topic for tp in offsets})}
        missing = [str(source) for source in offsets if source not in slots]
        if missing:
            raise TopicError(f"no such partition: {', '.join(missing)}")
        return SqliteReader(self._open(), {slots[source]: at for source, at in offsets.items()})

    def fenced_writer(self, topic: str, owner: str) -> SqliteFencedWriter:
        """See `EventLog.fenced_writer`."""
        slots = self._slots([topic])
        if len(slots) != 1:
            raise TopicError(f"{topic}: has {len(slots)} partitions; a fenced writer needs exactly one")
        return SqliteFencedWriter(self._open(), self._clock, slots[0], owner)

    def begin_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """See `EventLog.begin_offsets`."""
        return {TopicPartition(slot.topic, slot.partition): slot.begin for slot in self._slots(topics)}

    def end_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """See `EventLog.end_offsets`."""
        return {TopicPartition(slot.topic, slot.partition): slot.end for slot in self._slots(topics)}

    def offsets_at(self, topics: Iterable[str], append_time: int) -> dict[TopicPartition, int]:
        """See `EventLog.offsets_at`; a binary search in each partition."""
        with self._database.transaction("DEFERRED") as connection:
            return {
                TopicPartition(slot.topic, slot.partition): first_at(connection, slot, append_time)
                for slot in existing_slots(connection, topics)
            }

    def report(self, group: str, offsets: Offsets) -> None:
        """See `EventLog.report`."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO reported VALUES (?, ?, ?, ?)",
                [(group, topic, partition, offset) for (topic, partition), offset in offsets.items()],
            )

    def reported(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """See `EventLog.reported`."""
        wanted = set(topics)
        with self._database.transaction("DEFERRED") as connection:
            rows = connection.execute(
                "SELECT topic, partition, next_offset FROM reported WHERE reader_group = ?", (group,)
            ).fetchall()
        return {TopicPartition(topic, partition): at for topic, partition, at in rows if topic in wanted}

    def upkeep(self) -> None:
        """Expire and compact everything that is due; writers do the same in small steps."""
        while upkeep(self._database, self._clock()):
            pass

    def close(self) -> None:
        """Close the log's own connection; readers and writers have their own."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> Database:
        return Database(self._path, self._busy_seconds, create=False)

    def _topics(self, topics: Iterable[str]) -> list[tuple[str, str, int]]:
        wanted = set(topics)
        with self._database.transaction("DEFERRED") as connection:
            rows = connection.execute("SELECT name, id, partitions FROM topics").fetchall()
        return [row for row in rows if row[0] in wanted]

    def _slots(self, topics: Iterable[str]) -> list[Slot]:
        with self._database.transaction("DEFERRED") as connection:
            return existing_slots(connection, topics)
