"""One snapshot of the store in the place of the newest announced: for comparison with what is served."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotLoader
from pipeline.eventlog.port import Record
from pipeline.snapshots.version import Version

Check = Callable[[LoadedSnapshot], None]


class SnapshotSource(Protocol):
    """Where a follower gets snapshots from."""

    def observe(self, records: Iterable[Record]) -> None:
        """Read records of the snapshots topic."""

    def load_newest(self, check: Check = ..., before: LoadedSnapshot | None = None) -> LoadedSnapshot | None:
        """Load the snapshot to be served next; None while there is none but `before`."""


class OneSnapshot:
    """Loads one version, whatever is announced."""

    def __init__(self, loader: SnapshotLoader, version: Version) -> None:
        self._loader, self._version = loader, version

    def observe(self, records: Iterable[Record]) -> None:
        """Read nothing: no announcement matters here."""

    def load_newest(
        self, check: Check = lambda snapshot: None, before: LoadedSnapshot | None = None
    ) -> LoadedSnapshot | None:
        """Load the version, unless it is served.

        Raises:
            SnapshotCorrupt, SnapshotMissing: it is not to be served, or not in the store any more.
            OSError: the store cannot be read.
        """
        if before is not None:
            return None
        snapshot = self._loader.load(self._version)
        check(snapshot)
        return snapshot
