"""The embedded engine: one SQLite file in WAL mode, shared by the processes of one machine.

Appends are committed in groups: a flush, a full buffer or a few milliseconds end a group, and
threads that flush together share one fsync. `sqlite_database` has the file's layout.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Self

from pipeline.errors import (
    DeliveryError,
    Fenced,
    InvalidSettings,
    LogUnavailable,
    OffsetsExpired,
    TopicError,
)
from pipeline.eventlog.fairness import fair_shares
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import (
    Offsets,
    Record,
    TopicPartition,
    TopicSpec,
    check_record,
)
from pipeline.eventlog.sqlite_database import (
    OFFSET_MASK,
    Database,
    Slot,
    append_rows,
    first_at,
    slots_of,
    upkeep,
)

logger = logging.getLogger(__name__)

_COMMIT_AFTER_SECONDS = 0.005
_COMMIT_RECORDS = 5_000
_UPKEEP_SECONDS = 10.0
_UPKEEP_RECORDS = 2_000
_SHORTEST_NAP_SECONDS = 0.001
_LONGEST_NAP_SECONDS = 0.01

Clock = Callable[[], int]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteLog:
    """An event log in one file. `clock` gives append times in ms; tests bring their own."""

    def __init__(self, path: Path, clock: Clock = _now_ms) -> None:
        self._path = path
        self._clock = clock
        self._database = Database(path)

    def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """See `EventLog.create_topics`."""
        with self._database.transaction() as connection:
            present = {name for (name,) in connection.execute("SELECT name FROM topics")}
            fresh = [spec for spec in specs if spec.name not in present]
            for spec in fresh:
                if spec.partitions < 1:
                    raise InvalidSettings(f"{spec.name}: a topic needs a partition")
                lag_ms = spec.compaction_lag_ms if spec.compacted else 0
                connection.execute(
                    "INSERT INTO topics VALUES (?, ?, ?, ?, ?)",
                    (spec.name, spec.partitions, spec.compacted, spec.retention_ms, lag_ms),
                )
                connection.executemany(
                    "INSERT INTO partitions (topic, partition) VALUES (?, ?)",
                    [(spec.name, partition) for partition in range(spec.partitions)],
                )
        return [spec.name for spec in fresh]

    def describe_topics(self) -> dict[str, TopicSpec]:
        """See `EventLog.describe_topics`."""
        with self._database.transaction("DEFERRED") as connection:
            rows = connection.execute("SELECT * FROM topics").fetchall()
        return {
            name: TopicSpec(name, partitions, bool(compacted), retention_ms, lag_ms)
            for name, partitions, compacted, retention_ms, lag_ms in rows
        }

    def writer(self, *, max_in_flight: int = 20_000) -> SqliteWriter:
        """See `EventLog.writer`."""
        return SqliteWriter(Database(self._path), self._clock, max_in_flight)

    def reader(self, offsets: Offsets) -> SqliteReader:
        """See `EventLog.reader`."""
        slots = {TopicPartition(s.topic, s.partition): s for s in self._slots({tp.topic for tp in offsets})}
        missing = [str(source) for source in offsets if source not in slots]
        if missing:
            raise TopicError(f"no such partition: {', '.join(missing)}")
        return SqliteReader(Database(self._path), {slots[source]: at for source, at in offsets.items()})

    def fenced_writer(self, topic: str, owner: str) -> SqliteFencedWriter:
        """See `EventLog.fenced_writer`."""
        slots = self._slots([topic])
        if len(slots) != 1:
            raise TopicError(f"{topic}: has {len(slots)} partitions; a fenced writer needs exactly one")
        return SqliteFencedWriter(Database(self._path), self._clock, slots[0], owner)

    def begin_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """See `EventLog.begin_offsets`."""
        return {TopicPartition(slot.topic, slot.partition): slot.begin for slot in self._slots(topics)}

    def end_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """See `EventLog.end_offsets`."""
        return {TopicPartition(slot.topic, slot.partition): slot.end for slot in self._slots(topics)}

    def offsets_at(self, topics: Iterable[str], append_time: int) -> dict[TopicPartition, int]:
        """See `EventLog.offsets_at`; a search by halving in each partition."""
        with self._database.transaction("DEFERRED") as connection:
            return {
                TopicPartition(slot.topic, slot.partition): first_at(connection, slot, append_time)
                for slot in _existing_slots(connection, topics)
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
        """Expire and compact all that is due, at once; writers do the same bit by bit."""
        while upkeep(self._database, self._clock(), _UPKEEP_RECORDS):
            pass

    def close(self) -> None:
        """Close the log's own connection; readers and writers have theirs."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _slots(self, topics: Iterable[str]) -> list[Slot]:
        with self._database.transaction("DEFERRED") as connection:
            return _existing_slots(connection, topics)


def _existing_slots(connection: sqlite3.Connection, topics: Iterable[str]) -> list[Slot]:
    names = sorted(set(topics))
    slots = slots_of(connection, names)
    missing = set(names) - {slot.topic for slot in slots}
    if missing:
        raise TopicError(f"no such topic: {', '.join(sorted(missing))} (millstream topics create)")
    return slots


class SqliteReader:
    """Polls range scans of the file. See `LogReader`."""

    def __init__(self, database: Database, positions: dict[Slot, int]) -> None:
        self._database = database
        self._positions = {slot.slot: offset for slot, offset in positions.items()}
        self._sources = {slot.slot: TopicPartition(slot.topic, slot.partition) for slot in positions}
        self._topics = sorted({slot.topic for slot in positions})
        self._turn = 0

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """See `LogReader.poll`; waits by watching the file's version, a few microseconds a look."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            version = self._database.data_version()
            records = self._next(max_records)
            if records or not self._changed(version, deadline):
                return records

    def seek(self, offsets: Offsets) -> None:
        """See `LogReader.seek`."""
        slots = {source: slot for slot, source in self._sources.items()}
        foreign = [str(source) for source in offsets if source not in slots]
        if foreign:
            raise TopicError(f"not assigned to this reader: {', '.join(foreign)}")
        self._positions.update({slots[source]: offset for source, offset in offsets.items()})

    def positions(self) -> dict[TopicPartition, int]:
        """See `LogReader.positions`."""
        return {self._sources[slot]: offset for slot, offset in self._positions.items()}

    def close(self) -> None:
        """Close the reader's connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _changed(self, version: int, deadline: float) -> bool:
        nap = _SHORTEST_NAP_SECONDS
        while self._database.data_version() == version:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(nap, left))
            nap = min(2 * nap, _LONGEST_NAP_SECONDS)
        return True

    def _next(self, max_records: int) -> list[Record]:
        # One read transaction: upkeep cannot take records away between the look at the bounds
        # and the scan, which would skip them in silence.
        with self._database.transaction("DEFERRED") as connection:
            slots = {s.slot: s for s in slots_of(connection, self._topics) if s.slot in self._sources}
            shares = fair_shares(self._waiting(slots), max_records)
            records: list[Record] = []
            for slot, share in shares.items():
                if share:
                    records += self._scan(connection, slots[slot], share)
        return records

    def _scan(self, connection: sqlite3.Connection, slot: Slot, max_records: int) -> list[Record]:
        rows = connection.execute(
            "SELECT id, append_time, key, value FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (slot.id_at(self._positions[slot.slot]), slot.id_at(slot.end), max_records),
        ).fetchall()
        full = len(rows) == max_records
        self._positions[slot.slot] = (rows[-1][0] & OFFSET_MASK) + 1 if full else slot.end
        return [
            Record(slot.topic, slot.partition, record_id & OFFSET_MASK, append_time, key, value)
            for record_id, append_time, key, value in rows
        ]

    def _waiting(self, slots: dict[int, Slot]) -> dict[int, int]:
        """Upper bounds of the records that wait, another partition first at each turn."""
        self._turn = (self._turn + 1) % max(1, len(slots))
        order = list(slots.values())
        for slot in order:
            position = self._positions[slot.slot]
            if not slot.begin <= position <= slot.end:
                raise OffsetsExpired(slot.topic, slot.partition, position, slot.begin, slot.end)
        rotated = order[self._turn :] + order[: self._turn]
        return {slot.slot: slot.end - self._positions[slot.slot] for slot in rotated}


class SqliteWriter:
    """Commits appends in groups. See `LogWriter`."""

    def __init__(self, database: Database, clock: Clock, max_in_flight: int) -> None:
        self._database = database
        self._clock = clock
        # While one half is being committed, the other fills.
        self._buffer_records = max(1, min(max_in_flight // 2, _COMMIT_RECORDS))
        self._buffer: list[tuple[int, str | None, bytes | None]] = []
        self._buffer_lock = Lock()
        self._commit_lock = Lock()
        self._topics: dict[str, tuple[list[int], bool]] = {}
        self._error: DeliveryError | None = None
        self._next_upkeep = 0.0
        self._appended = Event()
        self._closing = Event()
        self._committer = Thread(target=self._commit_soon, name="sqlite-committer", daemon=True)
        self._committer.start()

    def append(
        self, topic: str, key: str | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        """See `LogWriter.append`."""
        check_record(key, value)
        slot = self._slot(topic, key, partition)
        with self._buffer_lock:
            self._raise_if_failed()
            self._buffer.append((slot, key, value))
            waiting = len(self._buffer)
        if waiting == 1:
            self._appended.set()
        if waiting >= self._buffer_records:
            self._commit()

    def flush(self) -> None:
        """See `LogWriter.flush`."""
        self._commit()

    def close(self) -> None:
        """Flush, then close; a second time is harmless.

        Raises:
            DeliveryError: some append was not acknowledged.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        self._appended.set()
        self._committer.join()
        try:
            self._commit()
        finally:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _slot(self, topic: str, key: str | None, partition: int | None) -> int:
        if topic not in self._topics:
            self._topics[topic] = self._look_up(topic)
        slots, compacted = self._topics[topic]
        if compacted and key is None:
            raise DeliveryError(f"{topic}: a record of a compacted topic needs a key")
        if partition is None:
            return slots[partition_of(key, len(slots))]
        if not 0 <= partition < len(slots):
            raise TopicError(f"{topic}: has no partition {partition}, only {len(slots)}")
        return slots[partition]

    def _look_up(self, topic: str) -> tuple[list[int], bool]:
        with self._database.transaction("DEFERRED") as connection:
            slots = _existing_slots(connection, [topic])
            row = connection.execute("SELECT compacted FROM topics WHERE name = ?", (topic,)).fetchone()
        return [slot.slot for slot in slots], bool(row[0])

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise DeliveryError(str(self._error)) from self._error

    def _commit(self) -> None:
        # Who waits here for another's commit finds its own records in the next group, or done.
        with self._commit_lock:
            with self._buffer_lock:
                self._raise_if_failed()
                batch, self._buffer = self._buffer, []
            if not batch:
                return
            rows: dict[int, list[tuple[str | None, bytes | None]]] = defaultdict(list)
            for slot, key, value in batch:
                rows[slot].append((key, value))
            try:
                with self._database.transaction() as connection:
                    append_rows(connection, rows, self._clock())
            except LogUnavailable as error:
                self._error = DeliveryError(f"{len(batch)} records were not stored: {error}")
                raise self._error from error

    def _commit_soon(self) -> None:
        """The committer thread: what nobody flushes becomes durable all the same."""
        while not self._closing.is_set():
            self._appended.wait()
            self._appended.clear()
            self._closing.wait(_COMMIT_AFTER_SECONDS)
            try:
                self._commit()
                self._keep_up()
            except DeliveryError as error:
                logger.error("event log writer failed: %s", error)
                return
            except LogUnavailable as error:
                logger.warning("event log upkeep put off: %s", error)

    def _keep_up(self) -> None:
        if time.monotonic() >= self._next_upkeep:
            more = upkeep(self._database, self._clock(), _UPKEEP_RECORDS)
            self._next_upkeep = time.monotonic() + (0 if more else _UPKEEP_SECONDS)


class SqliteFencedWriter:
    """Appends while its lease holds, both in one transaction. See `FencedWriter`."""

    def __init__(self, database: Database, clock: Clock, slot: Slot, owner: str) -> None:
        self._database = database
        self._clock = clock
        self._slot = slot
        with database.transaction() as connection:
            (self._epoch,) = connection.execute(
                "INSERT INTO leases VALUES (?, 1, ?) ON CONFLICT (topic)"
                " DO UPDATE SET epoch = epoch + 1, owner = excluded.owner RETURNING epoch",
                (slot.topic, owner),
            ).fetchone()

    def append(self, value: bytes) -> int:
        """See `FencedWriter.append`."""
        check_record(None, value)
        slot = self._slot.slot
        try:
            with self._database.transaction() as connection:
                self._check_lease(connection)
                return append_rows(connection, {slot: [(None, value)]}, self._clock())[slot]
        except LogUnavailable as error:
            raise DeliveryError(f"{self._slot.topic}: {error}") from error

    def close(self) -> None:
        """Close the connection; the lease stays until somebody else takes it."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_lease(self, connection: sqlite3.Connection) -> None:
        epoch, owner = connection.execute(
            "SELECT epoch, owner FROM leases WHERE topic = ?", (self._slot.topic,)
        ).fetchone()
        if epoch != self._epoch:
            raise Fenced(f"{self._slot.topic}: {owner} has taken over; this process must stop")
