"""Announcements: find the newest snapshot and load it if it is fit to be served.

Whatever was announced, a server serves: a snapshot that is refused costs an entry in the log, in
``/readyz`` and in the metrics, and the newest good one before it is served.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from consumers.serve.state.current import CurrentState, Refusal
from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotLoader
from pipeline import metrics
from pipeline.errors import SnapshotCorrupt, SnapshotMissing
from pipeline.eventlog.port import Record
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.version import Version

Check = Callable[[LoadedSnapshot], None]
RETRY_SECONDS = 2.0
NO_VERSION = Version(-1, -1)
MOST_PENDING = 8
"""Announcements that wait to be loaded; the oldest gives way, so that a flood of them costs nothing."""
MOST_REFUSED = 1_000
"""Refused records that are remembered, so that each is told once."""


class Pending(NamedTuple):
    """An announcement to be loaded, its number in the order of the announcements, and its record's hash.

    The hash is of place and bytes: the same announcement may come again, once its snapshot is whole.
    """

    number: int
    announcement: Announcement
    record: int


log = logging.getLogger(__name__)


class SnapshotWatcher:
    """Observes the announcements of one model and loads the highest new version.

    A refused snapshot is not tried again, and does not stand in the way of lower versions that are
    announced. A snapshot that the store cannot read is tried again until a higher one is loaded.
    A server that serves none falls back to the newest good version in the store: the announcement of
    that version is refused, or gone with the log that held it.
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
        self._loaded = NO_VERSION
        self._pending: dict[Version, Pending] = {}
        self._number = 0
        self._refused = deque[int](maxlen=MOST_REFUSED)
        self._refused_number = 0
        self._falls_back = True
        self._ceiling: Version | None = None
        self._retry_at = 0.0

    def observe(self, records: Iterable[Record]) -> None:
        """Read records of the snapshots topic."""
        for record in records:
            if record.key == self._model and record.value is not None:
                self._observe(record.value, f"{record.source}/{record.offset}")

    def load_newest(
        self, check: Check = lambda snapshot: None, before: LoadedSnapshot | None = None
    ) -> LoadedSnapshot | None:
        """Load the newest fit snapshot that is announced, or one to fall back to.

        None if all were loaded or refused before, or if the store must be waited for.

        Args:
            check: raises SnapshotCorrupt for a snapshot that is not to be served.
            before: what is served, which may be updated in place; None if it must stay as it is.
        """
        if not (self._pending or self._falls_back) or self._clock() < self._retry_at:
            return None
        try:
            snapshot = self._load_announced(check, before)
        except OSError as error:
            snapshot = None
            self._wait_for_store(error)
        return snapshot or self._fall_back(check)

    def _observe(self, wire: bytes, where: str) -> None:
        record = hash((where, wire))
        if record in self._refused:  # a follower reads the topic again when it reads from a snapshot
            return
        self._number += 1
        try:
            announced = Announcement.decode(wire)
            version = Version.parse(announced.version)
        except ValueError:
            reason = "damaged, of an older millstream, or no announcement: let the learner publish again"
            self._refuse(where, f"{where} is {reason}", self._number, record)
            return
        self._ceiling = max(version, self._ceiling or version)
        if version > self._loaded:
            self._pending.pop(version, None)
            self._pending[version], self._retry_at = Pending(self._number, announced, record), 0.0
            if len(self._pending) > MOST_PENDING:
                del self._pending[next(iter(self._pending))]

    def _load_announced(self, check: Check, before: LoadedSnapshot | None) -> LoadedSnapshot | None:
        """Load the highest announced version that is fit; forget those that are not."""
        while self._pending:
            version = max(self._pending)
            number, announced, record = self._pending[version]
            try:
                snapshot = self._loader.load(version, announced.seal, before)
                check(snapshot)
            except SnapshotCorrupt as error:
                del self._pending[version]
                missing = isinstance(error, SnapshotMissing)
                self._refuse(str(version), str(error), number, record, missing)
                continue
            if number >= self._refused_number:
                self._current.refusal = None
            return self._keep(snapshot)
        return None

    def _fall_back(self, check: Check) -> LoadedSnapshot | None:
        """Load the newest fit version below those that were announced; None if one is served already."""
        if self._loaded != NO_VERSION or not self._falls_back:
            return None
        self._falls_back = False
        for version in self._older_versions():
            try:
                snapshot = self._loader.load(version)
                check(snapshot)
            except SnapshotCorrupt as error:
                log.error("snapshot refused: %s", error)
                metrics.REFUSED_SNAPSHOTS.inc()
            except OSError as error:
                self._wait_for_store(error)
            else:
                log.warning("falling back to snapshot %s, which is not the one announced", version)
                return self._keep(snapshot)
        return None

    def _older_versions(self) -> list[Version]:
        """Versions in the store below the highest announced one, newest first."""
        try:
            found = reversed(self._loader.versions())
        except OSError as error:
            self._wait_for_store(error)
            return []
        return [version for version in found if self._ceiling is None or version < self._ceiling]

    def _wait_for_store(self, error: OSError) -> None:
        """Try again in a moment; a server that serves none falls back meanwhile."""
        version = str(max(self._pending, default="")) or "to fall back to"
        log.warning("snapshot %s: the store cannot read it (%s); trying again", version, error)
        self._current.refusal = Refusal(version, f"the store cannot read it ({error}); trying again")
        self._retry_at = self._clock() + RETRY_SECONDS
        self._falls_back = self._loaded == NO_VERSION

    def _keep(self, snapshot: LoadedSnapshot) -> LoadedSnapshot:
        self._loaded = snapshot.version
        self._pending = {version: of for version, of in self._pending.items() if version > self._loaded}
        self._falls_back = False
        return snapshot

    def _refuse(self, version: str, reason: str, number: int, record: int, missing: bool = False) -> None:
        """Tell of an announcement that does not lead to a snapshot, and remember it."""
        self._refused.append(record)
        log.error("snapshot refused: %s", reason, extra={"snapshot": version})
        (metrics.MISSING_SNAPSHOTS if missing else metrics.REFUSED_SNAPSHOTS).inc()
        self._current.refusal = Refusal(version, reason)
        self._refused_number = max(number, self._refused_number)
        self._falls_back = self._loaded == NO_VERSION
