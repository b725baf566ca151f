"""Publishing: write the histories, store the snapshot, then announce it, in this order.

A server that reads the announcement therefore finds the complete snapshot, and in the
histories topic every act that the snapshot's offsets cover.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.config import CompressionConfig
from pipeline.errors import SnapshotCorrupt
from pipeline.eventlog.port import LogWriter
from pipeline.eventlog.topics import Topics
from pipeline.snapshots.announcement import Announcement, Seal
from pipeline.snapshots.compression import compressed
from pipeline.snapshots.history_records import history_record
from pipeline.snapshots.layer_list import LayerList
from pipeline.snapshots.snapshot import Manifest, Update
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.state.acted_items import NO_ITEMS, OlderItems
from pipeline.state.histories import History

PRUNE_EVERY = 8
"""Versions; to look which are there costs a listing of the store."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publication:
    """A learner's public state as of one position, and the records to publish with it.

    Attributes:
        update: what changed since the last publication, or all.
        histories: of the users who acted since the last publication, each with the offset of
            the user's partition where it ends.
        dead_letters: keys and values of records for the dead-letters topic.
        append_times: ms, of the interactions learned since the last publication.
        control: keys and values of records for the control topic.
        older: items of the acts that have left these histories, by user.
        outcomes: keys and values of records for the outcomes topic.
    """

    update: Update
    histories: dict[str, tuple[History, int]]
    dead_letters: list[tuple[str, bytes]]
    append_times: list[int]
    control: Sequence[tuple[str, bytes]] = ()
    older: Mapping[str, OlderItems] = field(default_factory=dict)
    outcomes: Sequence[tuple[str, bytes]] = ()


class Publisher:
    """Stores and announces snapshots, and keeps at least `keep` versions."""

    def __init__(
        self,
        store: SnapshotStore,
        writer: LogWriter,
        topics: Topics,
        keep: int,
        layers: LayerList | None = None,
        compression: CompressionConfig = CompressionConfig(),  # noqa: B008 (frozen)
    ) -> None:
        """Begin with the layers of the publisher before this one, if the log interrupted one."""
        self._store = store
        self._writer = writer
        self._topics = topics
        self._keep = keep
        self._layers = LayerList() if layers is None else layers
        self._compression = compression
        self._stored = 0
        self._parent: str | None = None

    def begins_anew(self, generation: int) -> bool:
        """Whether the next update must be whole."""
        return self._layers.begins_anew(generation)

    def last_version(self) -> Version | None:
        """The newest version in the store."""
        versions = self._store.versions()
        return versions[-1] if versions else None

    def publish(self, publication: Publication) -> Manifest:
        """Write histories and other records to the log, then the snapshot, then its announcement.

        Raises:
            DeliveryError: the log did not acknowledge a record; no snapshot was announced.
            OSError: the store refused the snapshot; what changed is in the next one.
        """
        update = compressed(publication.update, self._compression)
        self._layers.add(update)
        for user, (history, offset) in publication.histories.items():
            older = publication.older.get(user, NO_ITEMS)
            record = history_record(user, history, offset, older)
            self._writer.append(self._topics.histories, user, record)
        for key, letter in publication.dead_letters:
            self._writer.append(self._topics.dead_letters, key, letter)
        for key, record in publication.control:
            self._writer.append(self._topics.control, key, record)
        for key, outcome in publication.outcomes:
            self._writer.append(self._topics.outcomes, key, outcome)
        self._writer.flush()
        manifest, seal = self._layers.store(update, self._store, self._parent)
        self._announce(manifest, seal)
        self._parent = manifest.version
        self._tidy()
        return manifest

    def announce(self, version: Version) -> bool:
        """Announce a version of the store, once more if it was announced; False if it cannot be read.

        Raises:
            DeliveryError: the log did not acknowledge it.
        """
        try:
            manifest, seal = self._store.manifest(version), self._store.seal(version)
        except SnapshotCorrupt as error:
            log.error("%s; it is not announced", error)
            return False
        self._announce(manifest, seal)
        return True

    def _announce(self, manifest: Manifest, seal: Seal) -> None:
        announcement = Announcement.of(manifest, seal).encode()
        self._writer.append(self._topics.snapshots, manifest.model, announcement)
        self._writer.flush()

    def _tidy(self) -> None:
        """Merge layers for the next version, and remove old versions, once this one is announced."""
        self._layers.shorten(self._store)
        self._stored += 1
        if self._stored % PRUNE_EVERY == 1:
            self._store.prune(self._keep)
