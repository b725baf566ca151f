"""Announcements: find the newest snapshot and load it if it is fit to be served."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from consumers.serve.state.current import CurrentState, Refusal
from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotLoader
from pipeline import metrics
from pipeline.errors import SnapshotCorrupt
from pipeline.eventlog.port import Record
from pipeline.snapshots.snapshot import Announcement, Version

RETRY_SECONDS = 2.0
NO_VERSION = Version(-1, -1)

log = logging.getLogger(__name__)


class SnapshotWatcher:
    """Observes the announcements of one model and loads the highest new version.

    A refused snapshot is not tried again. A snapshot that the store cannot read is tried again
    until a higher version is announced.
    """

    def __init__(
        self,
        loader: SnapshotLoader,
        model: str,
        current: CurrentState,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loader = loader
        self._model = model
        self._current = current
        self._clock = clock
        self._highest = NO_VERSION
        self._pending: Announcement | None = None
        self._retry_at = 0.0

    def observe(self, records: Iterable[Record]) -> None:
        """Read records of the snapshots topic."""
        for record in records:
            if record.key == self._model and record.value is not None:
                self._observe(record.value, f"{record.source}/{record.offset}")

    def load_newest(self) -> LoadedSnapshot | None:
        """Load the newest announced snapshot; None if it was loaded or refused before, or must wait."""
        announced = self._pending
        if announced is None or self._clock() < self._retry_at:
            return None
        try:
            snapshot = self._load(self._highest, announced.digest)
        except OSError as error:
            log.warning("snapshot %s: the store cannot read it (%s); trying again", self._highest, error)
            self._retry_at = self._clock() + RETRY_SECONDS
            return None
        self._pending = None
        if snapshot is not None:
            self._current.refusal = None
        return snapshot

    def load_older(self) -> LoadedSnapshot | None:
        """Load the newest fit snapshot below the announced one, for a server that has no other.

        Raises:
            OSError: the store does not answer.
        """
        older = (version for version in reversed(self._loader.versions()) if version < self._highest)
        snapshots = (self._load(version) for version in older)
        return next((snapshot for snapshot in snapshots if snapshot is not None), None)

    def _observe(self, wire: bytes, where: str) -> None:
        try:
            announced = Announcement.model_validate_json(wire)
            version = Version.parse(announced.version)
        except ValueError:
            self._refuse(where, f"{where} is no announcement")
            return
        if version > self._highest:
            self._highest, self._pending, self._retry_at = version, announced, 0.0

    def _load(self, version: Version, digest: str | None = None) -> LoadedSnapshot | None:
        try:
            return self._loader.load(version, digest)
        except SnapshotCorrupt as error:
            if version in self._loader.versions():
                self._refuse(str(version), str(error))
            else:
                log.info("snapshot %s was pruned before it was loaded; waiting for a newer one", version)
            return None

    def _refuse(self, version: str, reason: str) -> None:
        log.error("snapshot refused: %s", reason)
        metrics.REFUSED_SNAPSHOTS.inc()
        self._current.refusal = Refusal(version, reason)
