"""Checkpoints: private, resumable; learned state, stream state and position, one unit.

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
from typing import Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.atomic_files import sync_folder, write_durably
from pipeline.checkpoints.state import LearnerState, restore, to_files
from pipeline.errors import CheckpointCorrupt
from pipeline.eventlog.port import TopicPartition, named
from pipeline.journal.batch_source import StateSwitch
from pipeline.journal.position import Position
from pipeline.model.recommender import ModelConfig
from pipeline.model.tower import TowerConfig
from pipeline.snapshots.snapshot import Version
from pipeline.training.learner import Learner

log = logging.getLogger(__name__)

FORMAT: Literal[1] = 1
MANIFEST = "manifest.json"
CANDIDATES, CANDIDATE_CHECKPOINT = "candidates", "checkpoint"
"""Folders below the model's checkpoints, and below a candidate's."""
KEEP_LAST = 5
HOUR_MS = 3_600_000
LADDER = ((HOUR_MS, 24), (24 * HOUR_MS, 30))
"""Besides the last ones: one an hour for a day, one a day for a month."""


class ModelSizes(BaseModel):
    """Sizes of the model; a candidate's may differ from the settings'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int
    lora_rank: int
    lora_alpha: int
    adapter_rank: int

    @classmethod
    def of(cls, shape: ModelConfig) -> Self:
        """As a manifest writes them."""
        tower = shape.tower
        return cls(
            layers=tower.layers,
            lora_rank=tower.lora_rank,
            lora_alpha=tower.lora_alpha,
            adapter_rank=shape.adapter_rank,
        )

    @property
    def shape(self) -> ModelConfig:
        """As the model takes them."""
        return ModelConfig(TowerConfig(self.layers, self.lora_rank, self.lora_alpha), self.adapter_rank)


class CheckpointManifest(BaseModel):
    """What a checkpoint is.

    Attributes:
        model: sizes.
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
    through: int
    control: int
    fold_to: dict[str, int]
    model: ModelSizes
    written_at: int
    files: dict[str, str]
    digest: str

    @property
    def position(self) -> Position:
        """Where the learner stood."""
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
        """The checkpoint of a candidate, relative to the folder."""
        return Path(CANDIDATES, name, CANDIDATE_CHECKPOINT)

    def write(self, captured: LearnerState) -> CheckpointManifest:
        """Store a frozen state; several seconds for a large one, so call it in the background."""
        manifest = self.write_to(self.folder / captured.position.version, captured)
        self._prune()
        return manifest

    def write_to(self, folder: Path, captured: LearnerState) -> CheckpointManifest:
        """Store a frozen state in a folder of its own, whole or not at all."""
        files = to_files(captured, self._partitions)
        manifest = _manifest(captured, files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        for torn in folder.parent.glob(".*.part"):  # a crash left it; nobody else writes here
            shutil.rmtree(torn)
        temporary = folder.with_name(f".{folder.name}.part")
        temporary.mkdir()
        for file, content in {**files, MANIFEST: orjson.dumps(manifest.model_dump())}.items():
            write_durably(temporary / file, content)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        sync_folder(folder.parent)
        return manifest

    def restore(self, learner: Learner, until: Version | None = None) -> Position | None:
        """Put a learner into the newest good state, up to a version if given; None where there is none.

        A damaged checkpoint is reported and the one before it is taken: the journal makes up
        for the difference.
        """
        for manifest_path in reversed(self._manifests()):
            folder = manifest_path.parent
            if until is not None and Version.parse(folder.name) > until:
                continue
            try:
                return restore_from(folder, learner)
            except CheckpointCorrupt as error:
                log.error("%s; trying the one before it", error)
        return None

    def positions(self) -> list[Position]:
        """Where each readable checkpoint stands, oldest first."""
        found = list[Position]()
        for path in self._manifests():
            try:
                found.append(_read_manifest(path).position)
            except CheckpointCorrupt as error:
                log.error("%s; left out", error)
        return found

    def adopt(self, learner: Learner, switch: StateSwitch) -> None:
        """Put a learner into the state that it is to go on from; its overseer goes on as it is.

        Raises:
            CheckpointCorrupt: the state is not there any more.
        """
        restore_from(self.folder / switch.adopts.state, learner, supervisor=False)
        learner.supervisor.adopted(switch.adopts.kind, switch.left)

    def digest(self, captured: LearnerState) -> str:
        """What the manifest of a state's checkpoint would give as its digest."""
        return _manifest(captured, to_files(captured, self._partitions)).digest

    def digests(self) -> dict[str, str]:
        """The digests of the checkpoints there are, by version.

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


def restore_from(folder: Path, learner: Learner, *, supervisor: bool = True) -> Position:
    """Put a learner into the state that a folder holds; see `restore` for its overseer.

    Raises:
        CheckpointCorrupt: it is not there, or not what was written.
    """
    manifest, files = _read_verified(folder / MANIFEST)
    if manifest.model.shape != learner.shape.model:
        log.warning("the model's sizes are those of checkpoint %s, not of the settings", folder.name)
    restore(learner, manifest.model.shape, files, supervisor=supervisor)
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
        model=ModelSizes.of(captured.model),
        written_at=int(time.time() * 1000),
        files=digests,
        digest=hashlib.sha256(orjson.dumps(digests)).hexdigest(),
    )


def _offsets(names: Mapping[str, int]) -> dict[TopicPartition, int]:
    return {TopicPartition.parse(name): offset for name, offset in names.items()}


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
