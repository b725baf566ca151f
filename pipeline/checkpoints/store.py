"""Checkpoints: learned state, stream state, supervisor and position, private and resumable, one unit.

Written to a temporary name, fsynced, renamed; read only if every file is what the manifest
says. Recovery is a checkpoint plus the journalled batches after it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from safetensors import SafetensorError

from pipeline.atomic_files import sync_folder, write_durably, written_durably
from pipeline.bounded import fault_of
from pipeline.checkpoints.listing import (
    CANDIDATE_CHECKPOINT,
    CANDIDATES,
    folders_in,
    manifests_in,
    readable_in,
)
from pipeline.checkpoints.manifest import (
    MANIFEST,
    CheckpointManifest,
    StoredFile,
    described,
    manifest_of,
    named_manifest,
    read_verified,
    remove,
)
from pipeline.checkpoints.state import SUPERVISOR, LearnerState, file_parts, restore
from pipeline.checkpoints.table_file import Part
from pipeline.config import KEEPS_SIZES, KEEPS_TEXTS, differing_texts
from pipeline.control.records import is_by_person
from pipeline.errors import CheckpointCorrupt, CheckpointMissing, InvalidSettings
from pipeline.journal.position import Position
from pipeline.journal.turns import StateSwitch
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.version import Version
from pipeline.training.learner import Learner

log = logging.getLogger(__name__)

TORN = re.compile(r"\.([0-9]+(-[0-9]+)?|checkpoint|champion)\.part", re.ASCII)
"""What a write that was torn off leaves; another hidden folder is a stranger's."""
MISMATCHES = ArithmeticError, LookupError, MemoryError, RuntimeError, SafetensorError, TypeError, ValueError
"""What restoring raises from files that are sealed and yet no state of this model."""
KEEP_LAST = 5
KEEP_ADOPTED = 10
"""States of rollbacks; one that is gone is made from the journal again where it is needed."""
HOUR_MS = 3_600_000
LADDER = ((HOUR_MS, 24), (24 * HOUR_MS, 30))
"""Spans in ms and how many of each: besides the last ones, one an hour for a day, one a day for a month."""


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
        folder.parent.mkdir(parents=True, exist_ok=True)
        for torn in folder.parent.glob(".*.part"):  # left by a crash: one process writes here
            if TORN.fullmatch(torn.name):
                remove(torn)
        temporary = folder.with_name(f".{folder.name}.part")
        remove(temporary)
        temporary.mkdir()
        parts = file_parts(captured, self._partitions)
        files = {name: _written(temporary / name, content) for name, content in parts}
        manifest = manifest_of(captured, files)
        write_durably(temporary / MANIFEST, manifest.encode())
        remove(folder)
        temporary.rename(folder)
        sync_folder(folder.parent)
        return manifest

    def restore(
        self,
        learner: Learner,
        supervisor: Supervisor | None,
        until: Version | None = None,
        check: Callable[[Position], None] = lambda position: None,
    ) -> Position | None:
        """Put learner and supervisor into the newest readable state; return None where there is none.

        A checkpoint that is damaged, of another format or of another log is logged and the one before it
        is taken: the journal makes up for the difference.

        Args:
            learner: any; all its state is replaced.
            supervisor: None if its state is not needed.
            until: the last version to consider.
            check: raises CheckpointCorrupt for the position of a checkpoint that is not to be taken.
        """
        for folder in reversed(folders_in(self.folder)):
            if until is not None and Version.parse(folder.name) > until:
                continue
            try:
                check(named_manifest(folder / MANIFEST).position)
                return restore_from(folder, learner, supervisor)
            except CheckpointCorrupt as error:
                log.error("%s; trying the one before it", error)
        return None

    def restore_version(
        self,
        learner: Learner,
        supervisor: Supervisor | None,
        version: Version,
        check: Callable[[Position], None] = lambda position: None,
    ) -> Position:
        """Put learner and supervisor into the state of one version; see `restore`.

        Raises:
            CheckpointMissing: there is none of it; names those that there are.
            CheckpointCorrupt: it cannot be read.
        """
        if not self.holds(str(version)):
            there = ", ".join(map(str, self.versions())) or "none yet"
            raise CheckpointMissing(f"there is no checkpoint {version} in {self.folder}; there are: {there}")
        folder = self.folder / str(version)
        check(named_manifest(folder / MANIFEST).position)
        return restore_from(folder, learner, supervisor)

    def has_state(self, state: str) -> bool:
        """Whether a state that was adopted is still there, readable or not."""
        return (self.folder / state / MANIFEST).exists()

    def versions(self) -> list[Version]:
        """All versions that have a checkpoint, readable or not, oldest first."""
        return [Version.parse(path.parent.name) for path in manifests_in(self.folder)]

    def positions(self) -> list[Position]:
        """Return the position of each readable checkpoint, oldest first."""
        return [manifest.position for manifest in readable_in(self.folder)]

    def adopt(self, learner: Learner, supervisor: Supervisor | None, switch: StateSwitch) -> None:
        """Put a learner into an adopted state; its supervisor keeps what it knows, and notes the adoption.

        Raises:
            CheckpointCorrupt: the state no longer exists.
        """
        restore_from(self.folder / switch.adopts.state, learner, None)
        note_adoption(supervisor, switch)

    def digest(self, captured: LearnerState) -> str:
        """Compute the digest that a checkpoint of this state would have in its manifest."""
        parts = file_parts(captured, self._partitions)
        files = {name: described(content, lambda part: None) for name, content in parts}
        return manifest_of(captured, files).digest

    def digests(self) -> dict[str, str]:
        """Return the digest of every readable checkpoint, by version."""
        return {manifest.position.version: manifest.digest for manifest in readable_in(self.folder)}

    def holds(self, version: str) -> bool:
        """Whether there is a checkpoint of a version, readable or not."""
        return (self.folder / version / MANIFEST).exists()

    def _prune(self) -> None:
        manifests = manifests_in(self.folder)
        kept = set(manifests[-KEEP_LAST:])
        written = {path: path.stat().st_mtime * 1000 for path in manifests}
        for span, amount in LADDER:
            newest_of_span = {int(written[path] // span): path for path in manifests}
            kept |= {newest_of_span[number] for number in sorted(newest_of_span)[-amount:]}
        for path in set(manifests) - kept:
            remove(path.parent)


def note_adoption(supervisor: Supervisor | None, switch: StateSwitch) -> None:
    """Let a learner's supervisor, if there is one, note that another state was adopted."""
    if supervisor is not None:
        supervisor.adopted(switch.adopts.kind, switch.left, by_person=is_by_person(switch.adopts.order))


def _written(path: Path, parts: Iterable[Part]) -> StoredFile:
    """Write a file durably, part by part, and describe it."""
    with written_durably(path) as file:
        return described(parts, file.write)


def restore_from(folder: Path, learner: Learner, supervisor: Supervisor | None) -> Position:
    """Put a learner, and its supervisor if given, into the state that a folder holds.

    Raises:
        CheckpointCorrupt: it does not exist, is not what was written, is of another format, is no
            state of this model, or holds no supervisor although one is to be restored; the
            learner is reset, unless it was left as it was.
        InvalidSettings: its vectors of texts are of another language model than the learner's, or of texts
            that were cut elsewhere.
    """
    manifest, files = read_verified(folder / MANIFEST)
    if supervisor is not None and SUPERVISOR not in files:
        raise CheckpointCorrupt(f"checkpoint {folder.name} holds no supervisor: it can only be adopted")
    encoder = learner.encoder
    if others := differing_texts(manifest.model_dump(), encoder.backbone_digest, encoder.max_tokens):
        raise InvalidSettings(f"checkpoint {folder.name}: {', '.join(others)}; {KEEPS_TEXTS}")
    if differing := learner.born.sizes.differing(manifest.model.model_dump(mode="json")):
        log.warning("checkpoint %s: %s; %s", folder.name, ", ".join(differing), KEEPS_SIZES)
    try:
        restore(learner, supervisor, manifest.model, files)
    except MISMATCHES as error:
        learner.reset(learner.born)
        raise CheckpointCorrupt(
            f"checkpoint {folder.name} is no state of this model: {fault_of(error)}"
        ) from error
    return manifest.position
