"""Audit: find the version of a time, and compare a rebuilt learner with what was written then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.checkpoints.capture import capture, update_of
from pipeline.checkpoints.store import Checkpoints
from pipeline.errors import SnapshotCorrupt, TopicError
from pipeline.eventlog.port import EventLog, TopicPartition
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import read_journal
from pipeline.journal.position import Position
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.compression import compressed
from pipeline.snapshots.digest import snapshot_digest
from pipeline.snapshots.snapshot import Snapshot, Version
from pipeline.snapshots.store import SnapshotStore
from pipeline.training.learner import Learner

DAMAGED = ""
"""What stands for the digest of something that is there and cannot be read: it equals no digest."""


@dataclass(frozen=True)
class Agreement:
    """A rebuilt learner beside what was written when it was learned.

    Attributes:
        version: of the learner.
        digest: of its whole state.
        checkpoint, snapshot: whether the one written then is the same; None if it is not kept.
    """

    version: str
    digest: str
    checkpoint: bool | None
    snapshot: bool | None

    @property
    def differs(self) -> bool:
        """Whether the checkpoint or the snapshot written then is not the same."""
        return self.checkpoint is False or self.snapshot is False

    def __str__(self) -> str:
        words = {True: "agrees", False: "DIFFERS", None: "is not there"}
        found = f"checkpoint {words[self.checkpoint]}, snapshot {words[self.snapshot]}"
        return f"{self.version} {self.digest}: {found}"


def agreement(
    learner: Learner,
    supervisor: Supervisor,
    position: Position,
    checkpoints: Checkpoints,
    store: SnapshotStore,
) -> Agreement:
    """Compare a rebuilt learner and supervisor with checkpoint and snapshot, as far as they are kept."""
    digest = checkpoints.digest(capture(learner, supervisor, position))
    return Agreement(
        position.version,
        digest,
        _equal(digest, _kept(checkpoints, position.version)),
        _is_published(learner, position, store),
    )


def version_at(event_log: EventLog, topics: Topics, moment: str) -> Version:
    """Return the version that a moment names.

    Args:
        event_log, topics: where the journal is.
        moment: a version (``3-120``); or the last version before a time in ISO 8601, UTC if it
            has no zone, or before an offset of the journal (``@1234``).

    Raises:
        ValueError: the moment is none of these.
        TopicError: nothing was learned by then, or the journal no longer holds it.
    """
    if moment.replace("-", "", 1).isdigit() and "-" in moment:
        return Version.parse(moment)
    end = int(moment[1:]) if moment.startswith("@") else _journal_end(event_log, topics, moment)
    entries = read_journal(event_log, topics.journal)
    reached = [entry.version for entry, after in entries if after <= end]
    if not reached:
        raise TopicError(f"{topics.journal} holds nothing that was learned by {moment}")
    return Version.parse(reached[-1])


def time_of(text: str) -> datetime:
    """Parse a time in ISO 8601; without a zone it is UTC.

    Raises:
        ValueError: it is not one.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _journal_end(event_log: EventLog, topics: Topics, moment: str) -> int:
    """Offset of the first journal entry at or after a time."""
    ends = event_log.offsets_at([topics.journal], int(time_of(moment).timestamp() * 1000))
    return ends[TopicPartition(topics.journal, 0)]


def _kept(checkpoints: Checkpoints, version: str) -> str | None:
    """Digest of a version's checkpoint; None if it is no longer there, DAMAGED if it cannot be read."""
    if not checkpoints.holds(version):
        return None
    return checkpoints.digests().get(version, DAMAGED)


def _is_published(learner: Learner, position: Position, store: SnapshotStore) -> bool | None:
    """Whether a version's snapshot says what the learner would publish, compressed as it is.

    None if it is no longer there, False if it cannot be read.
    """
    version = Version.parse(position.version)
    if version not in store.versions():
        return None
    try:
        written = store.manifest(version)
    except SnapshotCorrupt:
        return False
    update = compressed(update_of(learner, "", position, {}, ""), written.compression)
    return snapshot_digest(Snapshot.of(update)) == written.digest


def _equal(digest: str, written: str | None) -> bool | None:
    return None if written is None else digest == written
