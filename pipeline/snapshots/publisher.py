"""Publishing: write the histories, store the snapshot, then announce it, in this order.

A server that reads the announcement therefore finds the complete snapshot, and in the
histories topic every act that the snapshot's offsets cover.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import SnapshotCorrupt
from pipeline.eventlog.port import LogWriter
from pipeline.eventlog.topics import Topics
from pipeline.snapshots.codec import encode_delta, encode_full
from pipeline.snapshots.digest import snapshot_digest
from pipeline.snapshots.history_records import history_record
from pipeline.snapshots.snapshot import Announcement, Manifest, Seal, Snapshot, Version
from pipeline.snapshots.store import SnapshotStore, digest_of
from pipeline.state.acted_items import NO_ITEMS, OlderItems
from pipeline.state.histories import History

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publication:
    """A learner's public state as of one position, and the records to publish with it.

    Attributes:
        snapshot: its manifest still lacks files, kind and parent.
        histories: of the users who acted since the last publication, each with the offset of
            the user's partition where it ends.
        dead_letters: keys and values of records for the dead-letters topic.
        append_times: ms, of the interactions learned since the last publication.
        control: keys and values of records for the control topic.
        older: items of the acts that have left these histories, by user.
    """

    snapshot: Snapshot
    histories: dict[str, tuple[History, int]]
    dead_letters: list[tuple[str, bytes]]
    append_times: list[int]
    control: Sequence[tuple[str, bytes]] = ()
    older: Mapping[str, OlderItems] = field(default_factory=dict)


class Publisher:
    """Stores and announces snapshots: a full one after `full_every` deltas, and keeps `keep` versions."""

    def __init__(
        self, store: SnapshotStore, writer: LogWriter, topics: Topics, full_every: int, keep: int
    ) -> None:
        self._store = store
        self._writer = writer
        self._topics = topics
        self._full_every = full_every
        self._keep = keep
        self._full: Snapshot | None = None
        self._full_digest: str | None = None
        self._deltas = 0
        self._parent: str | None = None

    def last_version(self) -> Version | None:
        """The newest version in the store."""
        versions = self._store.versions()
        return versions[-1] if versions else None

    def publish(self, publication: Publication) -> Manifest:
        """Write histories, dead letters and control records, then the snapshot, then its announcement.

        Raises:
            DeliveryError: the log did not acknowledge a record; no snapshot was announced.
        """
        for user, (history, offset) in publication.histories.items():
            older = publication.older.get(user, NO_ITEMS)
            record = history_record(user, history, offset, older)
            self._writer.append(self._topics.histories, user, record)
        for key, letter in publication.dead_letters:
            self._writer.append(self._topics.dead_letters, key, letter)
        for key, record in publication.control:
            self._writer.append(self._topics.control, key, record)
        self._writer.flush()
        manifest, seal = self._store_snapshot(publication.snapshot)
        self._announce(manifest, seal)
        self._parent = manifest.version
        return manifest

    def announce(self, version: Version) -> None:
        """Announce a version of the store, once more if it was announced; a damaged one is left out.

        Raises:
            DeliveryError: the log did not acknowledge it.
        """
        try:
            manifest, seal = self._store.manifest(version), self._store.seal(version)
        except SnapshotCorrupt as error:
            log.error("%s; it is not announced", error)
            return
        self._announce(manifest, seal)

    def _announce(self, manifest: Manifest, seal: Seal) -> None:
        announcement = Announcement.of(manifest, seal).encode()
        self._writer.append(self._topics.snapshots, manifest.model, announcement)
        self._writer.flush()

    def _store_snapshot(self, snapshot: Snapshot) -> tuple[Manifest, Seal]:
        base = self._base_for(snapshot)
        if base is None:
            files, items = encode_full(snapshot), snapshot.items
            self._store.prune(self._keep)
        else:
            changed, changed_texts = _differences(base, snapshot)
            files = encode_delta(snapshot, changed, changed_texts)
            items = _select(snapshot.items, changed_texts)
        manifest = snapshot.manifest.model_copy(
            update={
                "kind": "delta" if base else "full",
                "base": base.manifest.version if base else None,
                "base_digest": self._full_digest if base else None,
                "parent": self._parent,
                "digest": snapshot_digest(snapshot),
                "files": {name: digest_of(content) for name, content in files.items()},
                "items": dict(items),
                "published_at": int(time.time() * 1000),
            }
        )
        seal = self._store.publish(manifest, files)
        if base is None:  # only now: a delta must not build on what the store refused
            self._full, self._full_digest, self._deltas = snapshot, seal.digest, 0
        else:
            self._deltas += 1
        return manifest, seal

    def _base_for(self, snapshot: Snapshot) -> Snapshot | None:
        """Return the full snapshot that a delta can build on.

        None if it has too many deltas or another generation (only a new generation may change
        the encoder), or if the covisitation's levels were merged since.
        """
        full = self._full
        if full is None or self._deltas >= self._full_every or _generation(full) != _generation(snapshot):
            return None
        # Growing shares the array of counts, merging makes a new one.
        old, new = full.covisitation_base.data, snapshot.covisitation_base.data
        return full if old.size == new.size and (np.shares_memory(old, new) or not new.size) else None


def _differences(full: Snapshot, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
    """Return the rows whose residual or bias, and the rows whose content, differ from the full one's."""
    known = full.bias.shape[0]
    changed = torch.ones(snapshot.bias.shape[0], dtype=torch.bool)
    changed[:known] = (snapshot.residual[:known] != full.residual).any(dim=1) | (
        snapshot.bias[:known] != full.bias
    )
    texts = enumerate(snapshot.items.items())
    changed_texts = [row for row, (item, text) in texts if full.items.get(item) != text]
    return changed.nonzero().squeeze(1), torch.tensor(changed_texts, dtype=torch.int64)


def _generation(snapshot: Snapshot) -> int:
    return Version.parse(snapshot.manifest.version).generation


def _select(items: Mapping[str, str], rows: Tensor) -> dict[str, str]:
    names = list(items)
    return {names[row]: items[names[row]] for row in rows.tolist()}
