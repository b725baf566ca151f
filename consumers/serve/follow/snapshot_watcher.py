"""Announcements: which snapshot is the newest, and whether it is fit to be served."""

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
    """Hears announcements of one model and loads the highest version that was not heard before.

    A snapshot that is refused is not tried again; one that the store does not give is, until
    a higher one is announced.
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
        self._waiting: Announcement | None = None
        self._not_before = 0.0

    def hear(self, records: Iterable[Record]) -> None:
        """Take in records of the snapshots topic."""
        for record in records:
            if record.key == self._model and record.value is not None:
                self._hear(record.value, f"{record.source}/{record.offset}")

    def take(self) -> LoadedSnapshot | None:
        """The newest snapshot, if there is one that was neither taken nor refused."""
        announced = self._waiting
        if announced is None or self._clock() < self._not_before:
            return None
        try:
            base = self._load(self._highest, announced.digest)
        except OSError as error:
            log.warning("snapshot %s: the store does not give it (%s); trying again", self._highest, error)
            self._not_before = self._clock() + RETRY_SECONDS
            return None
        self._waiting = None
        if base is not None:
            self._current.refusal = None
        return base

    def older(self) -> LoadedSnapshot | None:
        """The newest fit snapshot below the announced one: for a server with nothing else to serve.

        Raises:
            OSError: the store does not answer.
        """
        older = (version for version in reversed(self._loader.versions()) if version < self._highest)
        bases = (self._load(version) for version in older)
        return next((base for base in bases if base is not None), None)

    def _hear(self, wire: bytes, where: str) -> None:
        try:
            announced = Announcement.model_validate_json(wire)
            version = Version.parse(announced.version)
        except ValueError:
            self._refuse(where, f"{where} is no announcement")
            return
        if version > self._highest:
            self._highest, self._waiting, self._not_before = version, announced, 0.0

    def _load(self, version: Version, digest: str | None = None) -> LoadedSnapshot | None:
        try:
            return self._loader.load(version, digest)
        except SnapshotCorrupt as error:
            if version in self._loader.versions():
                self._refuse(str(version), str(error))
            else:
                log.info("snapshot %s was pruned before it was loaded: a newer one comes", version)
            return None

    def _refuse(self, version: str, reason: str) -> None:
        log.error("snapshot refused: %s", reason)
        metrics.REFUSED_SNAPSHOTS.inc()
        self._current.refusal = Refusal(version, reason)
