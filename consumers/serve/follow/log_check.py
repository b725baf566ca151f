"""The check that a snapshot was learned from the log that is followed: elsewhere its offsets mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from pipeline.errors import SnapshotCorrupt
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.replaced import replacements


class LogCheck:
    """Refuses snapshots of another log.

    Attributes:
        refused: why the last of them was refused; empty before.
    """

    def __init__(self, event_log: EventLog, inputs: Sequence[str]) -> None:
        self._log = event_log
        self._inputs = inputs
        self.refused = ""

    def __call__(self, snapshot: LoadedSnapshot) -> None:
        """Check a snapshot.

        Raises:
            SnapshotCorrupt: it was learned from another log.
            TopicError: a topic is missing.
            LogUnavailable: the log does not answer.
        """
        fault = self.fault_of(snapshot)
        if fault:
            self.refused = fault
            raise SnapshotCorrupt(fault)

    def fault_of(self, snapshot: LoadedSnapshot) -> str:
        """Say how the log is not the one that a snapshot was learned from; empty if it is."""
        ends, ids = self._log.end_offsets(self._inputs), self._log.topic_ids(self._inputs)
        lost = replacements(snapshot.offsets, snapshot.manifest.topic_ids, ends, ids)
        return f"not the log of snapshot {snapshot.version}: {'; '.join(lost)}" if lost else ""
