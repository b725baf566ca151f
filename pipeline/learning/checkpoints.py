"""Checkpoints: private, resumable; learned state, stream state and position, one unit.

Written to a temporary name, fsynced, renamed; read only if every file is what the manifest
says. Recovery is a checkpoint plus the journalled batches after it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import CheckpointCorrupt
from pipeline.eventlog.port import TopicPartition, named
from pipeline.learning.batches import Position
from pipeline.learning.frozen import Frozen, restore, to_files
from pipeline.learning.learner import Learner

log = logging.getLogger(__name__)

FORMAT: Literal[1] = 1
MANIFEST = "manifest.json"
KEEP_LAST = 5
HOUR_MS = 3_600_000
LADDER = ((HOUR_MS, 24), (24 * HOUR_MS, 30))
"""Besides the last ones: one an hour for a day, one a day for a month."""


class CheckpointManifest(BaseModel):
    """What a checkpoint is.

    Attributes:
        files: name to sha256.
        digest: over all files; equal states have equal digests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    generation: int
    step: int
    fingerprint: str
    journal: int
    offsets: dict[str, int]
    written_at: int
    files: dict[str, str]
    digest: str


class Checkpoints:
    """The checkpoints of one model in a folder, ``<generation>-<step>`` each."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self._folder = folder
        self._partitions = partitions
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, frozen: Frozen) -> CheckpointManifest:
        """Store a frozen state; several seconds for a large one, so call it in the background."""
        files = to_files(frozen, self._partitions)
        manifest = _manifest(frozen.position, files)
        name = f"{manifest.generation}-{manifest.step}"
        for torn in self._folder.glob(".*.part"):  # a crash left it; nobody else writes here
            shutil.rmtree(torn)
        temporary = self._folder / f".{name}.part"
        temporary.mkdir()
        for file, content in {**files, MANIFEST: orjson.dumps(manifest.model_dump())}.items():
            _write_durably(temporary / file, content)
        shutil.rmtree(self._folder / name, ignore_errors=True)
        temporary.rename(self._folder / name)
        _sync(self._folder)
        self._prune()
        return manifest

    def restore(self, learner: Learner) -> Position | None:
        """Put a new learner into the newest good state; None where there is none.

        A damaged checkpoint is reported and the one before it is taken: the journal makes up
        for the difference.
        """
        for manifest_path in reversed(self._manifests()):
            try:
                manifest, files = _read_verified(manifest_path)
                position = _position(manifest)
                restore(learner, files)
                return position
            except CheckpointCorrupt as error:
                log.error("%s; trying the one before it", error)
        return None

    def digest(self, frozen: Frozen) -> str:
        """What the manifest of a state's checkpoint would give as its digest."""
        return _manifest(frozen.position, to_files(frozen, self._partitions)).digest

    def digests(self) -> dict[str, str]:
        """The digests of the checkpoints there are, by version.

        Raises:
            CheckpointCorrupt: one cannot be read.
        """
        manifests = (_read_manifest(path) for path in self._manifests())
        return {f"{manifest.generation}-{manifest.step}": manifest.digest for manifest in manifests}

    def _manifests(self) -> list[Path]:
        found = (
            path for path in self._folder.glob(f"*-*/{MANIFEST}") if not path.parent.name.startswith(".")
        )
        return sorted(found, key=lambda path: tuple(int(part) for part in path.parent.name.split("-")))

    def _prune(self) -> None:
        manifests = self._manifests()
        kept = set(manifests[-KEEP_LAST:])
        written = {path: path.stat().st_mtime * 1000 for path in manifests}
        for span, amount in LADDER:
            newest_of_span = {int(written[path] // span): path for path in manifests}
            kept |= {newest_of_span[number] for number in sorted(newest_of_span)[-amount:]}
        for path in set(manifests) - kept:
            shutil.rmtree(path.parent)


def _manifest(position: Position, files: Mapping[str, bytes]) -> CheckpointManifest:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    return CheckpointManifest(
        generation=position.generation,
        step=position.step,
        fingerprint=position.fingerprint,
        journal=position.journal,
        offsets=named(position.offsets),
        written_at=int(time.time() * 1000),
        files=digests,
        digest=hashlib.sha256(orjson.dumps(digests)).hexdigest(),
    )


def _position(manifest: CheckpointManifest) -> Position:
    offsets = {TopicPartition.parse(name): offset for name, offset in manifest.offsets.items()}
    return Position(manifest.generation, manifest.step, manifest.fingerprint, manifest.journal, offsets)


def _read_manifest(path: Path) -> CheckpointManifest:
    try:
        return CheckpointManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckpointCorrupt(f"checkpoint {path.parent.name} cannot be read: {error}") from error


def _read_verified(path: Path) -> tuple[CheckpointManifest, dict[str, bytes]]:
    manifest = _read_manifest(path)
    try:
        files = {name: (path.parent / name).read_bytes() for name in manifest.files}
    except OSError as error:
        raise CheckpointCorrupt(f"checkpoint {path.parent.name} lacks a file: {error}") from error
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != manifest.files[name]:
            raise CheckpointCorrupt(f"checkpoint {path.parent.name}: {name} is not what was written")
    return manifest, files


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
