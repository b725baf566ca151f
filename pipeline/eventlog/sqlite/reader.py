"""Read by range scans of the file, and wait by polling for commits of other connections."""

from __future__ import annotations

import time
from typing import Self

from pipeline.errors import OffsetsExpired, TopicError
from pipeline.eventlog.fairness import fair_shares
from pipeline.eventlog.port import Offsets, Record, TopicPartition
from pipeline.eventlog.sqlite.database import Database, Slot, slots_of
from pipeline.eventlog.sqlite.rows import read_rows

_MIN_PAUSE_SECONDS = 0.001
_MAX_PAUSE_SECONDS = 0.01
"""Between two looks; commits to other topics do not make them more frequent."""


class SqliteReader:
    """Polls the file by range scans. See `LogReader`."""

    def __init__(self, database: Database, positions: dict[Slot, int]) -> None:
        self._database = database
        self._positions = {slot.slot: offset for slot, offset in positions.items()}
        self._sources = {slot.slot: TopicPartition(slot.topic, slot.partition) for slot in positions}
        self._topics = sorted({slot.topic for slot in positions})
        self._turn = 0
        self._read_all_at: int | None = None
        """The file's version at which there was nothing more to read."""

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """See `LogReader.poll`; waits by polling the file's version, which costs microseconds."""
        deadline, pause = time.monotonic() + timeout_seconds, _MIN_PAUSE_SECONDS
        self._database.check_file()
        while True:
            version = self._database.data_version()
            records = [] if version == self._read_all_at else self._next(max_records, version)
            left = deadline - time.monotonic()
            if records or left <= 0:
                return records
            time.sleep(min(pause, left))
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    def seek(self, offsets: Offsets) -> None:
        """See `LogReader.seek`."""
        slots = {source: slot for slot, source in self._sources.items()}
        unassigned = [str(source) for source in offsets if source not in slots]
        if unassigned:
            raise TopicError(f"not assigned to this reader: {', '.join(unassigned)}")
        self._positions.update({slots[source]: offset for source, offset in offsets.items()})
        self._read_all_at = None

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

    def _next(self, max_records: int, version: int) -> list[Record]:
        # One read transaction: otherwise upkeep could delete records between reading the bounds
        # and the scan, which would then skip them without an error.
        with self._database.transaction("DEFERRED") as connection:
            slots = {s.slot: s for s in slots_of(connection, self._topics) if s.slot in self._sources}
            shares = fair_shares(self._waiting(slots), max_records)
            records: list[Record] = []
            positions: dict[int, int] = {}  # taken over only when every partition has been read
            for slot, share in shares.items():
                if share:
                    found, after = read_rows(connection, slots[slot], self._positions[slot], share)
                    records += found
                    positions[slot] = after
        self._positions.update(positions)
        is_read = all(self._positions[slot.slot] == slot.end for slot in slots.values())
        self._read_all_at = version if is_read else None
        return records

    def _waiting(self, slots: dict[int, Slot]) -> dict[int, int]:
        """Upper bounds of the unread records by slot, starting with another partition in each call."""
        self._turn = (self._turn + 1) % max(1, len(slots))
        order = list(slots.values())
        for slot in order:
            position = self._positions[slot.slot]
            if not slot.begin <= position <= slot.end:
                raise OffsetsExpired(slot.topic, slot.partition, position, slot.begin, slot.end)
        rotated = order[self._turn :] + order[: self._turn]
        return {slot.slot: slot.end - self._positions[slot.slot] for slot in rotated}
