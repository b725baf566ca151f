"""The versions that a learner can return to: those that the journal or a checkpoint knows."""

from __future__ import annotations

from pipeline.checkpoints.store import Checkpoints
from pipeline.errors import VersionUnknown
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import read_journal
from pipeline.snapshots.snapshot import Version


def check_known(event_log: EventLog, topics: Topics, checkpoints: Checkpoints, version: Version) -> None:
    """Refuse a version that cannot be rebuilt; read the journal from the nearest checkpoint on.

    Raises:
        VersionUnknown: neither journal nor checkpoints hold it; names the one before it.
        OffsetsExpired: the log does not hold the journal after the nearest checkpoint any more.
    """
    begins = [at for at in checkpoints.positions() if Version.parse(at.version) <= version]
    newest = Version.parse(begins[-1].version) if begins else None
    for entry, _ in read_journal(event_log, topics.journal, begins[-1].journal if begins else None):
        reached = Version.parse(entry.version)
        if reached > version:
            break
        newest = reached
    if newest != version:
        raise VersionUnknown(
            f"version {version} was never learned, or is not known any more: before it, {topics.journal} and "
            f"the checkpoints in {checkpoints.folder} hold {newest or 'none'}; see `millstream history`"
        )
