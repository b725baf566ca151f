"""Folders that the daemons write: whether they may, and whether the disk has room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import Settings
from pipeline.doctor.finding import Finding, fault, ok, warning
from pipeline.snapshots.filesystem import local_path

MIB, GIB = 2**20, 2**30
LEAST_FREE, SCARCE = 256 * MIB, 2 * GIB
"""Bytes below which a disk is full within minutes, and below which somebody should look."""
CHECKPOINTS = 3
"""So many like the newest one must fit: some are written before the oldest are removed."""


def check(settings: Settings) -> Iterator[Finding]:
    """Check each folder, and the disk below it."""
    named = _folders(settings)
    for setting, folder in named.items():
        yield _permission(setting, folder)
    for device, settings_there in _by_disk(named).items():
        newest = _newest_checkpoint(settings.checkpoints.folder / settings.log.prefix)
        yield _room(settings_there, _existing(named[settings_there[0]]), newest, device)


def _folders(settings: Settings) -> dict[str, Path]:
    """The folders of this machine, by the setting that names them."""
    found = {"checkpoints.folder": settings.checkpoints.folder, "model.cache": settings.model.cache}
    if settings.media.encoders:
        found["media.folder"] = settings.media.folder
    store = local_path(settings.snapshots.store)
    if store is not None:
        found["snapshots.store"] = store
    scheme, _, file = settings.log.url.partition("://")
    if scheme == "sqlite":
        found["log.url"] = Path(file.removeprefix("/")).parent
    return found


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if _is_there(path))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False  # below a folder that this user may not enter: that one is the fault


def _permission(setting: str, folder: Path) -> Finding:
    existing = _existing(folder)
    if not existing.is_dir():
        text = f"{setting} is {folder}, but {existing} is a file"
        return fault("folders", text, f"move the file away, or set `{setting}`")
    if not os.access(existing, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        text = f"{setting} is {folder}, and {existing} may not be written by this user"
        return fault("folders", text, f"`chown $(id -u) {existing}`, or set `{setting}`")
    return ok("folders", f"{setting}: {folder} may be written")


def _by_disk(folders: dict[str, Path]) -> dict[int, list[str]]:
    """The settings whose folders are on the same disk."""
    disks: dict[int, list[str]] = {}
    for setting, folder in folders.items():
        disks.setdefault(_existing(folder).stat().st_dev, []).append(setting)
    return disks


def _room(settings: list[str], folder: Path, checkpoint: int, device: int) -> Finding:
    free, names = shutil.disk_usage(folder).free, ", ".join(settings)
    needed = max(LEAST_FREE, CHECKPOINTS * checkpoint if "checkpoints.folder" in settings else 0)
    text = f"{free / GIB:,.1f} GiB are free for {names}"
    if free < needed:
        remedy = f"make room, or move {names} to another disk"
        return fault("disk", f"{text}, {needed / GIB:,.1f} GiB are needed", remedy)
    if free < SCARCE:
        return warning("disk", text, f"make room, or set `snapshots.keep` lower, or move {names}")
    return ok("disk", text)


def _newest_checkpoint(folder: Path) -> int:
    """Bytes of the newest checkpoint's files; 0 without one."""
    found = [path.parent for path in folder.glob("*/manifest.json")]
    if not found:
        return 0
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return sum(file.stat().st_size for file in newest.iterdir() if file.is_file())
