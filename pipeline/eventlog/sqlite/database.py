"""The file of the SQLite engine: schema, transactions, appends and searches.

The rowid of a record is ``slot << 44 | offset``, where a slot is one partition of one topic. So a
partition is one contiguous range of the table, an append goes to its right edge, and a poll is a
range scan.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from pipeline.errors import InvalidSettings, LogUnavailable, TopicError

OFFSET_BITS = 44
OFFSET_MASK = (1 << OFFSET_BITS) - 1

Clock = Callable[[], int]
"""Returns append times in ms."""

FORMAT = 2  # 2: topics have an id
BUSY_SECONDS = 30.0
"""How long a transaction waits for the lock of another process."""

_WAL_BYTES = 64 << 20
_SCHEMA = f"""
CREATE TABLE topics (
    name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, compacted INTEGER NOT NULL,
    retention_ms INTEGER, compaction_lag_ms INTEGER NOT NULL, id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE partitions (
    slot INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    begin_offset INTEGER NOT NULL DEFAULT 0, end_offset INTEGER NOT NULL DEFAULT 0,
    last_append_time INTEGER NOT NULL DEFAULT 0, compacted_to INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, append_time INTEGER NOT NULL, key TEXT, value BLOB
);
CREATE TABLE latest (
    slot INTEGER, key TEXT, record_offset INTEGER NOT NULL, tombstone_time INTEGER,
    PRIMARY KEY (slot, key)
) WITHOUT ROWID;
CREATE INDEX tombstones ON latest (slot, tombstone_time) WHERE tombstone_time IS NOT NULL;
CREATE TABLE leases (topic TEXT PRIMARY KEY, epoch INTEGER NOT NULL, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE reported (
    reader_group TEXT, topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL,
    PRIMARY KEY (reader_group, topic, partition)
) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
"""
_FROM_FORMAT_1 = """
ALTER TABLE topics ADD COLUMN id TEXT NOT NULL DEFAULT '';
UPDATE topics SET id = lower(hex(randomblob(16)));
PRAGMA user_version = 2;
"""
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process holds its lock; wait until that process, perhaps a backup, ends",
    sqlite3.SQLITE_FULL: "free space on its volume; what was not acknowledged is not stored",
    sqlite3.SQLITE_CANTOPEN: "check that its volume is mounted and that this user may write there",
    sqlite3.SQLITE_READONLY: "let this user write to the file and its folder",
    sqlite3.SQLITE_IOERR: "check its volume",
    sqlite3.SQLITE_CORRUPT: "restore it from a backup",
}
_NO_LOG = "restore the log from a backup, or set `log.url` to another file"


class Slot(NamedTuple):
    """One partition of one topic, and the offsets that it holds: ``[begin, end)``."""

    slot: int
    topic: str
    partition: int
    begin: int
    end: int

    def id_at(self, offset: int) -> int:
        """Return the rowid of an offset."""
        return self.slot << OFFSET_BITS | offset


class Database:
    """One connection to the file, guarded by a lock: threads may share it, each process opens its own.

    `create` lets it make a missing file. `follow` lets it continue with another file that has taken
    the place of the one it opened; without it, every transaction then fails.

    Raises:
        InvalidSettings: the file is no event log, or one of another format.
        LogUnavailable: it cannot be opened.
    """

    def __init__(
        self, path: Path, busy_seconds: float = BUSY_SECONDS, *, create: bool = True, follow: bool = False
    ) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._follow = follow
        self._lock = RLock()
        with self._unavailable():
            if create:
                _check_leftover(path)
                path.parent.mkdir(parents=True, exist_ok=True)
            elif not path.exists():
                raise LogUnavailable(f"{path}: the file is missing; put it back")
            self._connect("rwc" if create else "rw")

    @contextmanager
    def transaction(self, mode: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Run a transaction, rolled back on an exception; use DEFERRED only for reading.

        Raises:
            LogUnavailable: SQLite failed; names the path and the reason.
        """
        with self._lock, self._unavailable():
            self._check_file()
            self._connection.execute(f"BEGIN {mode}")
            try:
                yield self._connection
                if mode != "DEFERRED":  # nothing to commit, and a commit fails after a damaged row
                    self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def check_file(self) -> None:
        """Raise LogUnavailable if the path no longer leads to the open file, which SQLite never checks."""
        with self._lock, self._unavailable():
            self._check_file()

    def data_version(self) -> int:
        """Return a number that changes when another connection commits; costs microseconds."""
        with self._lock, self._unavailable():
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def close(self) -> None:
        """Close the connection; a second time is harmless."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", None) or 0
            remedy = _REMEDIES.get(code & 0xFF)
            hint = f" ({remedy})" if remedy else ""
            raise LogUnavailable(f"{self._path}: {error}{hint}") from error

    def _connect(self, mode: str) -> None:
        # As a URI, because only a URI can say that a missing file is not to be created.
        self._connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            self._prepare(time.monotonic() + self._busy_seconds)
            self._file = _identity(self._path)
        except BaseException as error:
            self._connection.close()
            if _is_no_log(error):
                raise InvalidSettings(f"{self._path}: no event log: {error}; {_NO_LOG}") from error
            raise

    def _check_file(self) -> None:
        """Do what `check_file` does; the lock is held."""
        try:
            file = _identity(self._path)
        except FileNotFoundError:
            raise LogUnavailable(f"{self._path}: the file is missing; put it back") from None
        if file == self._file:
            return
        if not self._follow:
            raise LogUnavailable(f"{self._path}: another file has taken its place; open it again")
        self._connection.close()
        self._connect("rw")

    def _prepare(self, deadline: float) -> None:
        """Create the schema in a new file, or migrate an older one."""
        while 0 <= self._format() < FORMAT:
            try:
                # Turning WAL on needs an exclusive lock, for which SQLite does not wait: retry.
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    # Another process may have been faster.
                    _execute_all(self._connection, {0: _SCHEMA, 1: _FROM_FORMAT_1}.get(self._format(), ""))
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        if self._format() != FORMAT:
            raise InvalidSettings(f"{self._path}: not an event log of format {FORMAT}; use another file")

    def _format(self) -> int:
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and self._connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return -1  # a database of another application
        return version


def _is_no_log(error: BaseException) -> bool:
    """Whether the file is no database, or one whose schema cannot be read: waiting would mend neither."""
    code = getattr(error, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_NOTADB or str(error).startswith("malformed database schema")


def _identity(path: Path) -> tuple[int, int]:
    file = path.stat()
    return file.st_dev, file.st_ino


def _execute_all(connection: sqlite3.Connection, script: str) -> None:
    # executescript() would first commit the open transaction, which these statements belong to.
    for statement in script.split(";"):
        connection.execute(statement)


def slots_of(connection: sqlite3.Connection, topics: Sequence[str]) -> list[Slot]:
    """Return every partition of those topics that exist, in order."""
    marks = ",".join("?" * len(topics))
    rows = connection.execute(
        "SELECT slot, topic, partition, begin_offset, end_offset FROM partitions"
        f" WHERE topic IN ({marks}) ORDER BY topic, partition",
        topics,
    )
    return [Slot(*row) for row in rows]


def existing_slots(connection: sqlite3.Connection, topics: Iterable[str]) -> list[Slot]:
    """Return every partition of the topics, in order.

    Raises:
        TopicError: a topic does not exist.
    """
    names = sorted(set(topics))
    slots = slots_of(connection, names)
    missing = set(names) - {slot.topic for slot in slots}
    if missing:
        raise TopicError(f"no such topic: {', '.join(sorted(missing))} (millstream topics create)")
    return slots


def _check_leftover(path: Path) -> None:
    """Refuse to begin a file where SQLite would delete the newest records of the one that was there.

    Raises:
        LogUnavailable: the file is missing, but not the one with its newest records.
    """
    newest = path.with_name(f"{path.name}-wal")
    if newest.exists() and not path.exists():
        raise LogUnavailable(
            f"{path}: the file is missing, but not {newest.name} with its newest records; put it back, "
            "or move the other one away, too, to begin another log"
        )


def append_rows(
    connection: sqlite3.Connection, rows: Mapping[int, Sequence[tuple[str | None, bytes | None]]], now: int
) -> dict[int, int]:
    """Append (key, value) rows to slots; return each slot's first new offset.

    The append time is `now`, or the slot's last one if the clock has stepped back: it never
    decreases within a partition, because the binary search of `first_at` relies on that.
    """
    first: dict[int, int] = {}
    for slot, pairs in rows.items():
        end, last = connection.execute(
            "SELECT end_offset, last_append_time FROM partitions WHERE slot = ?", (slot,)
        ).fetchone()
        append_time = max(now, last)
        base = slot << OFFSET_BITS | end
        connection.executemany(
            "INSERT INTO records VALUES (?, ?, ?, ?)",
            [(base + i, append_time, key, value) for i, (key, value) in enumerate(pairs)],
        )
        connection.execute(
            "UPDATE partitions SET end_offset = ?, last_append_time = ? WHERE slot = ?",
            (end + len(pairs), append_time, slot),
        )
        first[slot] = end
    return first


def first_at(connection: sqlite3.Connection, slot: Slot, append_time: int) -> int:
    """Return the first offset of a slot appended at or after a time, or its end; a binary search."""
    low, high = slot.begin, slot.end
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT id, append_time FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
            (slot.id_at(middle), slot.id_at(high)),
        ).fetchone()
        if row is None or row[1] >= append_time:
            high = middle
        else:
            low = (row[0] & OFFSET_MASK) + 1
    return low
