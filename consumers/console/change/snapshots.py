"""The snapshots of the store, read from their manifests alone: without torch, and without a model."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import orjson
from pydantic import BaseModel, ConfigDict

from pipeline.bounded import Reason, VersionText, fault_of
from pipeline.config import Settings
from pipeline.events import Milliseconds
from pipeline.sealing import unseal
from pipeline.snapshots.filesystem import FORMAT, MANIFEST, StoreFiles, open_filesystem

MOST_SHOWN = 12
"""Snapshots: the newest, then ever fewer of the older ones."""
VERSION = re.compile(r"[0-9]{1,9}-[0-9]{1,15}", re.ASCII)

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


def read_snapshots(settings: Settings) -> list[SnapshotLine]:
    """Read snapshots, newest first; one that cannot be read is logged and left out.

    Raises:
        InvalidSettings, StorageUnavailable, OSError: the store cannot be opened or listed.
    """
    files, path = open_filesystem(settings.snapshots.store)
    root = f"{path}/{settings.log.prefix}"
    found = (name.split("/")[-2] for name in files.glob(f"{root}/*/{MANIFEST}"))
    versions = sorted((name for name in found if VERSION.fullmatch(name)), key=_order, reverse=True)
    secret = settings.snapshots.key
    key = secret.get_secret_value().encode() if secret else None
    chosen = [versions[2**n - 1] for n in range(MOST_SHOWN) if 2**n <= len(versions)]
    chosen += versions[-1:] if versions and versions[-1] not in chosen else []
    read = (_read(files, f"{root}/{version}/{MANIFEST}", key) for version in chosen)
    return [snapshot for snapshot in read if snapshot is not None]


def _order(version: str) -> tuple[int, int]:
    generation, _, step = version.partition("-")
    return int(generation), int(step)


def _read(files: StoreFiles, path: str, key: bytes | None) -> SnapshotLine | None:
    try:
        return SnapshotLine.model_validate(orjson.loads(unseal(files.read(path), FORMAT, key)))
    except (OSError, ValueError) as error:  # pruned since it was listed, or not of this millstream
        log.warning("%s cannot be read: %s", path, fault_of(error))
        return None
