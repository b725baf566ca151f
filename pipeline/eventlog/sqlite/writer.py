"""Commit appends in groups, and run the file's upkeep in between.

A flush, a full buffer or a few milliseconds end a group; threads that flush at the same time
share one fsync.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from threading import Event, Lock, Thread
from typing import Self

from pipeline.errors import DeliveryError, LogUnavailable, TopicError
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import check_record
from pipeline.eventlog.sqlite.database import Clock, Database, append_rows, existing_slots
from pipeline.eventlog.sqlite.upkeep import upkeep
from pipeline.wording import counted

logger = logging.getLogger(__name__)

_COMMIT_AFTER_SECONDS = 0.005
_COMMIT_RECORDS = 5_000
_UPKEEP_SECONDS = 10.0


class SqliteWriter:
    """Commits appends in groups. See `LogWriter`."""

    def __init__(self, database: Database, clock: Clock, max_in_flight: int) -> None:
        self._database = database
        self._clock = clock
        # Half of the window: one half fills while the other is being committed.
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
        if self._closing.is_set():
            raise DeliveryError(f"{topic}: the writer is closed")
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
            DeliveryError: an append was not acknowledged.
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
            slots = existing_slots(connection, [topic])
            row = connection.execute("SELECT compacted FROM topics WHERE name = ?", (topic,)).fetchone()
        return [slot.slot for slot in slots], bool(row[0])

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise DeliveryError(str(self._error)) from self._error

    def _commit(self) -> None:
        # A thread that waited for another's commit finds its own records already committed by it,
        # or commits them with the next group.
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
                self._error = DeliveryError(f"not stored: {counted(len(batch), 'record')}: {error}")
                raise self._error from error

    def _commit_soon(self) -> None:
        """Commit appended records within milliseconds without a flush; runs in its own thread."""
        while not self._closing.is_set():
            self._appended.wait()
            self._appended.clear()
            self._closing.wait(_COMMIT_AFTER_SECONDS)
            try:
                self._commit()
                self._run_upkeep()
            except DeliveryError as error:
                logger.error("event log writer failed: %s", error)
                return
            except LogUnavailable as error:
                logger.warning("event log upkeep postponed: %s", error)

    def _run_upkeep(self) -> None:
        if time.monotonic() >= self._next_upkeep:
            self._next_upkeep = time.monotonic() + _UPKEEP_SECONDS  # also if it fails: no storm of warnings
            if upkeep(self._database, self._clock()):
                self._next_upkeep = 0.0
