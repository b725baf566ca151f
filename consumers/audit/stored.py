"""Checkpoints, snapshots and announcements: each is whole, and what the journal says of its version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from consumers.audit.check import AuditCheck
from pipeline.checkpoints.manifest import MANIFEST, is_of_earlier_release, read_verified
from pipeline.checkpoints.store import Checkpoints
from pipeline.errors import CheckpointCorrupt, SnapshotCorrupt
from pipeline.eventlog.port import EventLog, Offsets, read
from pipeline.eventlog.topics import Topics
from pipeline.sealing import BrokenSeal, open_record
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.filesystem import FORMAT
from pipeline.snapshots.snapshot import Manifest
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.wording import counted

Versions = Mapping[Version, Offsets]
"""End offsets of each version in the journal."""
NAMED = 3
"""Versions of an earlier release that are named, the last ones."""
NO_VERSION = Version(-1, -1)


@dataclass(frozen=True)
class Stored:
    """The checkpoints and snapshots that were there at one moment; retention may remove some meanwhile."""

    checkpoints: Checkpoints
    snapshots: SnapshotStore
    checkpoint_versions: list[Version]
    snapshot_versions: list[Version]

    @classmethod
    def now(cls, checkpoints: Checkpoints, snapshots: SnapshotStore) -> Self:
        """List what is there now."""
        return cls(checkpoints, snapshots, checkpoints.versions(), snapshots.versions())


class Announced(NamedTuple):
    """Announcements in their order, and the places of records that are none."""

    found: list[Announcement]
    unreadable: list[str]


def read_announcements(event_log: EventLog, topics: Topics) -> Announced:
    """Read what was announced."""
    announced = Announced([], [])
    for record in read(event_log, topics.snapshots):
        try:
            announced.found.append(Announcement.decode(record.value or b""))
        except ValueError:
            if _is_of_earlier_release(record.value or b""):
                continue  # a server skips it, too
            announced.unreadable.append(f"{record.source}/{record.offset} is no announcement")
    return announced


def _is_of_earlier_release(wire: bytes) -> bool:
    """Whether a record is the whole announcement of an earlier format."""
    try:
        form = open_record(wire).get("format")
    except BrokenSeal:
        return False
    return isinstance(form, int) and form < FORMAT


def check_checkpoints(stored: Stored, versions: Versions) -> AuditCheck:
    """Check every checkpoint: its files against its manifest, its position against the journal."""
    kept, findings, old = stored.checkpoint_versions, list[str](), list[Version]()
    for version in kept:
        path = stored.checkpoints.folder / str(version) / MANIFEST
        try:
            manifest, _ = read_verified(path)
        except CheckpointCorrupt as error:
            if is_of_earlier_release(path):
                old.append(version)
            else:
                findings += [str(error)] if version in stored.checkpoints.versions() else []
        else:
            findings += _faults("checkpoint", version, manifest.position.offsets, versions)
    return AuditCheck.of(
        "checkpoints", f"{counted(len(kept), 'checkpoint')}{_of_earlier_releases(old)}", findings
    )


def check_snapshots(
    event_log: EventLog, topics: Topics, stored: Stored, announced: Announced, keep: int, versions: Versions
) -> tuple[AuditCheck, list[Manifest]]:
    """Check every snapshot and announcement; return the manifests of the good ones, too, oldest first.

    `announced` was read before the list of what is stored.
    """
    store, kept = stored.snapshots, stored.snapshot_versions
    findings, good, old = list(announced.unreadable), list[Manifest](), list[Version]()
    for version in kept:
        try:
            manifest = store.load(version).manifest
        except SnapshotCorrupt as error:
            if store.is_of_earlier_release(version):
                old.append(version)
            else:
                findings += [str(error)] if version in store.versions() else []
        else:
            good.append(manifest)
            findings += _faults("snapshot", version, manifest.learned_offsets, versions)
    findings += _announcement_faults(stored, announced.found, keep)
    findings += _unannounced(event_log, topics, stored)
    checked = (
        f"{counted(len(kept), 'snapshot')}{_of_earlier_releases(old)}, "
        f"{counted(len(announced.found), 'announcement')}"
    )
    return AuditCheck.of("snapshots", checked, findings), good


def _of_earlier_releases(old: Sequence[Version]) -> str:
    """Say of which versions only the seals could be checked."""
    if not old:
        return ""
    named = ", ".join(map(str, old[-NAMED:]))
    return (
        f" ({len(old)} by an earlier release, up to {named}: none is damaged, and what is in them cannot be "
        "checked by this one)"
    )


def _announcement_faults(stored: Stored, announced: Sequence[Announcement], keep: int) -> Iterator[str]:
    """Find announcements that lead nowhere, except to what was pruned: `keep` later versions remain of it."""
    kept = stored.snapshot_versions
    for one in announced:
        version = Version.parse(one.version)
        if version in kept:
            if _seal(stored.snapshots, version) not in (None, one.digest):
                yield f"snapshot {version} is not the one that was announced"
        elif sum(later > version for later in kept) < keep:
            yield f"snapshot {version} was announced, but is not in the store"


def _unannounced(event_log: EventLog, topics: Topics, stored: Stored) -> Iterator[str]:
    """Find the newest snapshot if neither it nor a later one is announced by now."""
    announced = [Version.parse(one.version) for one in read_announcements(event_log, topics).found]
    newest = stored.snapshot_versions[-1:]
    if newest and max(announced, default=NO_VERSION) < newest[0]:
        yield f"snapshot {newest[0]} is in the store, but was not announced"


def _seal(store: SnapshotStore, version: Version) -> str | None:
    """Digest of a manifest; None if it cannot be read, which is a finding of its own."""
    try:
        return store.seal(version).digest
    except SnapshotCorrupt:
        return None


def _faults(kind: str, version: Version, offsets: Offsets, versions: Versions) -> Iterator[str]:
    """Compare the offsets of a version with the journal's, unless it has expired there."""
    if version not in versions:
        if version > min(versions):
            yield f"{kind} {version} is not in the journal"
    elif not offsets.items() <= versions[version].items():  # a snapshot has none of impressions
        yield f"{kind} {version} has other offsets than the journal"
