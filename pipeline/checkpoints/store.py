"""Checkpoints: learned state, stream state, supervisor and position, private and resumable, one unit.

Written to a temporary name, fsynced, renamed; read only if every file is what the manifest
says. Recovery is a checkpoint plus the journalled batches after it.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.atomic_files import sync_folder, write_durably
from pipeline.checkpoints.state import SUPERVISOR, LearnerState, restore, to_files
from pipeline.config import ModelSizes
from pipeline.control.records import is_by_person
from pipeline.errors import CheckpointCorrupt
from pipeline.eventlog.port import TopicPartition, named
from pipeline.journal.batch_source import StateSwitch
from pipeline.journal.position import Position
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.snapshot import Version
from pipeline.training.learner import Learner

log = logging.getLogger(__name__)

FORMAT: Literal[2] = 2
"""2: a state that is only to be adopted holds no supervisor, and the supervisor's file has its new name."""
MANIFEST = "manifest.json"
CANDIDATES, CANDIDATE_CHECKPOINT = "candidates", "checkpoint"
"""Folders below the model's checkpoints, and below a candidate's."""
KEEP_LAST = 5
HOUR_MS = 3_600_000
LADDER = ((HOUR_MS, 24), (24 * HOUR_MS, 30))
"""Spans in ms and how many of each: besides the last ones, one an hour for a day, one a day for a month."""


class CheckpointManifest(BaseModel):
    """The manifest of a checkpoint.

    Attributes:
        model: sizes of the model.
        files: file name to SHA-256.
        digest: over all files; equal states have equal digests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = FORMAT
    generation: int
    step: int
    fingerprint: str
    journal: int
    offsets: dict[str, int]
    through: int
    control: int
    fold_to: dict[str, int]
    model: ModelSizes
    written_at: int
    files: dict[str, str]
    digest: str

    @property
    def position(self) -> Position:
        """Return the learner's position in journal and log."""
        return Position(
            self.generation,
            self.step,
            self.fingerprint,
            self.journal,
            _offsets(self.offsets),
            self.through,
            self.control,
            _offsets(self.fold_to),
        )


class Checkpoints:
    """The checkpoints of one model in a folder, ``<generation>-<step>`` each."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.folder = folder
        self._partitions = partitions
        folder.mkdir(parents=True, exist_ok=True)

    def candidate_state(self, name: str) -> Path:
        """Return the path of a candidate's checkpoint, relative to the folder."""
        return Path(CANDIDATES, name, CANDIDATE_CHECKPOINT)

    def write(self, captured: LearnerState) -> CheckpointManifest:
        """Store a captured state; several seconds for a large one, so call it in the background."""
        manifest = self.write_to(self.folder / captured.position.version, captured)
        self._prune()
        return manifest

    def write_to(self, folder: Path, captured: LearnerState) -> CheckpointManifest:
        """Store a captured state in a folder, whole or not at all."""
        files = to_files(captured, self._partitions)
        manifest = _manifest(captured, files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        for torn in folder.parent.glob(".*.part"):  # left by a crash: one process writes here
            shutil.rmtree(torn)
        temporary = folder.with_name(f".{folder.name}.part")
        temporary.mkdir()
        for file, content in {**files, MANIFEST: orjson.dumps(manifest.model_dump())}.items():
            write_durably(temporary / file, content)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        sync_folder(folder.parent)
        return manifest

    def restore(
        self, learner: Learner, supervisor: Supervisor | None, until: Version | None = None
    ) -> Position | None:
        """Put learner and supervisor into the newest readable state; return None where there is none.

        A checkpoint that is damaged or of another format is logged and the one before it is
        taken: the journal makes up for the difference.

        Args:
            learner: any; all its state is replaced.
            supervisor: None if its state is not needed.
            until: the last version to consider.
        """
        for manifest_path in reversed(self._manifests()):
            folder = manifest_path.parent
            if until is not None and Version.parse(folder.name) > until:
                continue
            try:
                return restore_from(folder, learner, supervisor)
            except CheckpointCorrupt as error:
                log.error("%s; trying the one before it", error)
        return None

    def positions(self) -> list[Position]:
        """Return the position of each readable checkpoint, oldest first."""
        found = list[Position]()
        for path in self._manifests():
            try:
                found.append(_read_manifest(path).position)
            except CheckpointCorrupt as error:
                log.error("%s; it is left out", error)
        return found

    def adopt(self, learner: Learner, supervisor: Supervisor | None, switch: StateSwitch) -> None:
        """Put a learner into an adopted state; its supervisor keeps what it knows, and notes the adoption.

        Raises:
            CheckpointCorrupt: the state no longer exists.
        """
        restore_from(self.folder / switch.adopts.state, learner, None)
        if supervisor is not None:
            supervisor.adopted(switch.adopts.kind, switch.left, by_person=is_by_person(switch.adopts.order))

    def digest(self, captured: LearnerState) -> str:
        """Compute the digest that a checkpoint of this state would have in its manifest."""
        return _manifest(captured, to_files(captured, self._partitions)).digest

    def digests(self) -> dict[str, str]:
        """Return the digest of every checkpoint, by version.

        Raises:
            CheckpointCorrupt: one cannot be read.
        """
        manifests = (_read_manifest(path) for path in self._manifests())
        return {manifest.position.version: manifest.digest for manifest in manifests}

    def _manifests(self) -> list[Path]:
        found = (path for path in self.folder.glob(f"*-*/{MANIFEST}") if not path.parent.name.startswith("."))
        return sorted(found, key=lambda path: Version.parse(path.parent.name))

    def _prune(self) -> None:
        manifests = self._manifests()
        kept = set(manifests[-KEEP_LAST:])
        written = {path: path.stat().st_mtime * 1000 for path in manifests}
        for span, amount in LADDER:
            newest_of_span = {int(written[path] // span): path for path in manifests}
            kept |= {newest_of_span[number] for number in sorted(newest_of_span)[-amount:]}
        for path in set(manifests) - kept:
            shutil.rmtree(path.parent)


def restore_from(folder: Path, learner: Learner, supervisor: Supervisor | None) -> Position:
    """Put a learner, and its supervisor if given, into the state that a folder holds.

    Raises:
        CheckpointCorrupt: it does not exist, is not what was written, is of another format, or
            holds no supervisor although one is to be restored.
    """
    manifest, files = _read_verified(folder / MANIFEST)
    if supervisor is not None and SUPERVISOR not in files:
        raise CheckpointCorrupt(f"checkpoint {folder.name} holds no supervisor: it can only be adopted")
    if manifest.model != learner.config.sizes:
        log.warning("the model has the sizes of checkpoint %s, not those of the settings", folder.name)
    restore(learner, supervisor, manifest.model, files)
    return manifest.position


def _manifest(captured: LearnerState, files: Mapping[str, bytes]) -> CheckpointManifest:
    position = captured.position
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    return CheckpointManifest(
        generation=position.generation,
        step=position.step,
        fingerprint=position.fingerprint,
        journal=position.journal,
        offsets=named(position.offsets),
        through=position.through,
        control=position.control,
        fold_to=named(position.fold_to),
        model=captured.model,
        written_at=int(time.time() * 1000),
        files=digests,
        digest=hashlib.sha256(orjson.dumps(digests)).hexdigest(),
    )


def _offsets(names: Mapping[str, int]) -> dict[TopicPartition, int]:
    return {TopicPartition.parse(name): offset for name, offset in names.items()}


def _read_manifest(path: Path) -> CheckpointManifest:
    try:
        fields = orjson.loads(path.read_bytes())
        _refuse_other_format(path.parent.name, fields)
        return CheckpointManifest.model_validate(fields)
    except (OSError, orjson.JSONDecodeError, ValidationError) as error:
        raise CheckpointCorrupt(f"checkpoint {path.parent.name} cannot be read: {error}") from error


def _refuse_other_format(checkpoint: str, fields: object) -> None:
    found = fields.get("format") if isinstance(fields, dict) else None
    if isinstance(found, int) and found != FORMAT:
        raise CheckpointCorrupt(
            f"checkpoint {checkpoint} has format {found}, but this version of millstream reads format "
            f"{FORMAT}: use the version that wrote it, or let the learner start again from the journal"
        )


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
