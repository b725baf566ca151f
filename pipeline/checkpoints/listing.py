"""The checkpoints that a folder holds, by their names and manifests alone; without torch."""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.checkpoints.manifest import MANIFEST, CheckpointManifest, named_manifest
from pipeline.config import Settings
from pipeline.errors import CheckpointCorrupt
from pipeline.snapshots.version import Version

CANDIDATES, CANDIDATE_CHECKPOINT = "candidates", "checkpoint"
"""Folders below the model's checkpoints, and below a candidate's."""

log = logging.getLogger(__name__)


def folder_of(settings: Settings) -> Path:
    """Return the folder of the checkpoints of the model that the settings name."""
    return settings.checkpoints.folder / settings.log.prefix


def folders_in(folder: Path) -> list[Path]:
    """Return the folders that are named after a version, oldest first; an empty one is a stranger's."""
    folders = (path for path in folder.glob("*-*") if path.is_dir() and any(path.iterdir()))
    found = ((Version.named(path.name), path) for path in folders)
    return [path for _, path in sorted((version, path) for version, path in found if version is not None)]


def manifests_in(folder: Path) -> list[Path]:
    """Return the manifests that exist, oldest first."""
    return [path for one in folders_in(folder) if (path := one / MANIFEST).exists()]


def readable_in(folder: Path) -> list[CheckpointManifest]:
    """Read the manifests, oldest first; one that cannot be read is logged and left out."""
    found = list[CheckpointManifest]()
    for path in manifests_in(folder):
        try:
            found.append(named_manifest(path))
        except CheckpointCorrupt as error:
            log.error("%s; it is left out", error)
    return found
