"""The snapshots of the store, read from their manifests alone: without torch, and without a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import orjson
from pydantic import BaseModel, ConfigDict

from pipeline.bounded import Reason, VersionText, fault_of
from pipeline.config import Settings
from pipeline.errors import StorageUnavailable
from pipeline.events import Milliseconds
from pipeline.sealing import unseal
from pipeline.snapshots.filesystem import FORMAT, MANIFEST, StoreFiles, open_model, versions_in

MOST_SHOWN = 12
"""Snapshots: the newest, then ever fewer of the older ones."""

log = logging.getLogger(__name__)


class SnapshotLine(BaseModel):
    """What a manifest says of its snapshot to a person."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: VersionText
    kind: str
    reason: Reason
    published_at: Milliseconds
    events: int
    quality: Mapping[str, Mapping[str, Mapping[str, float | None]]]

    def figure(self, scorer: str, name: str) -> float | None:
        """Return a prequential figure of all targets at publication."""
        return self.quality.get(scorer, {}).get("all", {}).get(name)


def listed_snapshots(settings: Settings) -> tuple[list[SnapshotLine], str]:
    """Read snapshots as `read_snapshots` does; return them and, where they cannot be listed, why."""
    try:
        return read_snapshots(settings), ""
    except (StorageUnavailable, OSError) as error:
        return [], str(error)


def read_snapshots(settings: Settings) -> list[SnapshotLine]:
    """Read snapshots, newest first; one that cannot be read is logged and left out.

    Raises:
        InvalidSettings, StorageUnavailable, OSError: the store cannot be opened or listed.
    """
    files, root = open_model(settings.snapshots.store, settings.log.prefix)
    versions = versions_in(files, root)[::-1]
    secret = settings.snapshots.key
    key = secret.get_secret_value().encode() if secret else None
    chosen = [versions[2**n - 1] for n in range(MOST_SHOWN) if 2**n <= len(versions)]
    chosen += versions[-1:] if versions and versions[-1] not in chosen else []
    read = (_read(files, f"{root}/{version}/{MANIFEST}", key) for version in chosen)
    return [snapshot for snapshot in read if snapshot is not None]


def _read(files: StoreFiles, path: str, key: bytes | None) -> SnapshotLine | None:
    try:
        return SnapshotLine.model_validate(orjson.loads(unseal(files.read(path), FORMAT, key)))
    except (OSError, ValueError) as error:  # pruned since it was listed, or not of this millstream
        log.warning("%s cannot be read: %s", path, fault_of(error))
        return None
