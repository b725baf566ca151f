"""Audit: find the version of a time, and compare a rebuilt learner with what was written then."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.checkpoints.capture import capture, update_of
from pipeline.checkpoints.store import Checkpoints
from pipeline.errors import SnapshotCorrupt
from pipeline.journal.position import Position
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.compression import compressed
from pipeline.snapshots.digest import snapshot_digest
from pipeline.snapshots.snapshot import Snapshot
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
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
