"""The only writer of a topic: every append checks the lease, which a successor takes over."""

from __future__ import annotations

import sqlite3
from typing import Self

from pipeline.errors import DeliveryError, Fenced, LogUnavailable
from pipeline.eventlog.port import check_record
from pipeline.eventlog.sqlite.database import Clock, Database, Slot, append_rows


class SqliteFencedWriter:
    """Checks its lease and appends in one transaction. See `FencedWriter`."""

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
        """Close the connection; the lease remains until another writer takes it."""
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
