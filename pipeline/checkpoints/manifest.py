"""The manifest of a checkpoint: sealed, bounded, and read together with the files that it names."""

from __future__ import annotations

import hashlib
import logging
import mmap
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field

from pipeline.bounded import Count, Generation, Key, Place, Step, TopicIds, fault_of
from pipeline.clock import now_ms
from pipeline.config import ModelSizes
from pipeline.errors import CheckpointCorrupt, CheckpointMissing
from pipeline.eventlog.port import TopicPartition, named
from pipeline.events import Milliseconds, Offset
from pipeline.journal.position import Position
from pipeline.sealing import BrokenSeal, Sha256, is_of_earlier_format, seal, unseal

if TYPE_CHECKING:  # they load torch
    from pipeline.checkpoints.state import LearnerState
    from pipeline.checkpoints.table_file import Content, Part

log = logging.getLogger(__name__)

FORMAT = 6
"""3: the manifest is sealed and binds its files by size; seen events have digests of their contents, and
histories the items of older acts. 4: pair counts are rows, and the rows that are scanned are named. 5:
content is float16, items are as the log has them, and the content index has a list for each row. 6: what was
shown and has no outcome yet; the monitors' figures are above chance."""
WITHOUT_OUTCOMES = 5
"""The one format of before that is read: the learner goes on as if nothing had been shown, and the monitors
begin again."""
MANIFEST = "manifest.json"
MOST_MANIFEST_BYTES = 16 * 2**20
FileName = Annotated[str, Field(pattern=r"^[a-z]{1,32}(-[0-9]{1,5})?\.(safetensors|json|jsonl)$")]
"""A plain name: no folder, nothing hidden."""
Offsets = Annotated[dict[Place, Offset], Field(max_length=10_000)]


class StoredFile(BaseModel):
    """sha256 and size of one file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    size: Count


class CheckpointManifest(BaseModel):
    """The manifest of a checkpoint.

    Attributes:
        model: sizes of the model.
        backbone, max_tokens: digest of the language model, and how many tokens of a text it reads; None in
            what was written before they were kept.
        files: by name.
        digest: over all files; equal states have equal digests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: Generation
    step: Step
    fingerprint: Key
    journal: Count
    offsets: Offsets
    through: Milliseconds
    control: Count
    fold_to: Offsets
    topic_ids: TopicIds = {}
    model: ModelSizes
    backbone: Key | None = None
    max_tokens: Count | None = None
    written_at: Milliseconds
    files: Annotated[dict[FileName, StoredFile], Field(max_length=10_000)]
    digest: Sha256

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
            self.topic_ids,
        )

    def encode(self) -> bytes:
        """Return the content of the sealed file."""
        return seal(orjson.dumps(self.model_dump()), FORMAT)


def manifest_of(captured: LearnerState, files: Mapping[str, StoredFile]) -> CheckpointManifest:
    """Describe a captured state and its files."""
    position = captured.position
    digests = {name: file.sha256 for name, file in sorted(files.items())}
    return CheckpointManifest(
        generation=position.generation,
        step=position.step,
        fingerprint=position.fingerprint,
        journal=position.journal,
        offsets=named(position.offsets),
        through=position.through,
        control=position.control,
        fold_to=named(position.fold_to),
        topic_ids=dict(position.topic_ids),
        model=captured.model,
        backbone=captured.backbone,
        max_tokens=captured.max_tokens,
        written_at=now_ms(),
        files={name: files[name] for name in digests},
        digest=hashlib.sha256(orjson.dumps(digests)).hexdigest(),
    )


def described(parts: Iterable[Part], write: Callable[[Part], object]) -> StoredFile:
    """Write the parts of a file, one after another; return its sha256 and size."""
    digest, size = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        size += len(part)
        write(part)
    return StoredFile(sha256=digest.hexdigest(), size=size)


def _offsets(names: Mapping[str, int]) -> dict[TopicPartition, int]:
    return {TopicPartition.parse(name): offset for name, offset in names.items()}


def named_manifest(path: Path) -> CheckpointManifest:
    """Read the manifest in a folder named after a version; refuse that of another version."""
    manifest = read_manifest(path)
    if manifest.position.version != path.parent.name:
        raise CheckpointCorrupt(
            f"checkpoint {path.parent.name} has the manifest of {manifest.position.version}"
        )
    return manifest


def read_manifest(path: Path) -> CheckpointManifest:
    """Read and verify a manifest.

    Raises:
        CheckpointMissing: it does not exist.
        CheckpointCorrupt: it is not what was sealed, or is out of bounds.
    """
    try:
        sealed = _read(path, MOST_MANIFEST_BYTES)[:]
        return CheckpointManifest.model_validate_json(_content(sealed))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointMissing(f"there is no checkpoint at {path.parent}: {path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise CheckpointCorrupt(
            f"checkpoint {path.parent.name} cannot be read: {fault_of(error)}; use the version that wrote "
            "it, or let the learner start again from the journal"
        ) from error


def is_of_earlier_release(path: Path) -> bool:
    """Whether a manifest is as an earlier release wrote it, in a format that is read no more."""
    try:
        return is_of_earlier_format(_read(path, MOST_MANIFEST_BYTES)[:], FORMAT)
    except OSError:
        return False


def _content(sealed: bytes) -> bytes:
    try:
        return unseal(sealed, WITHOUT_OUTCOMES)
    except BrokenSeal:
        return unseal(sealed, FORMAT)


def read_verified(path: Path) -> tuple[CheckpointManifest, dict[str, Content]]:
    """Read and verify a manifest, and map the files that it names: nothing is copied that is not used.

    Raises:
        CheckpointCorrupt: one of them is not what was written.
    """
    manifest = read_manifest(path)
    files: dict[str, Content] = {}
    for name, stored in manifest.files.items():
        try:
            files[name] = _read(path.parent / name, stored.size)
        except OSError as error:
            raise CheckpointCorrupt(f"checkpoint {path.parent.name} lacks a file: {error}") from error
        if hashlib.sha256(files[name]).hexdigest() != stored.sha256:
            raise CheckpointCorrupt(f"checkpoint {path.parent.name}: {name} is not what was written")
    return manifest, files


def _read(path: Path, most: int) -> Content:
    """Map a plain file of at most so many bytes.

    Raises:
        OSError: there is none, it is a link or a device, or it is larger.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > most:
        raise OSError(f"{path.name} is no plain file of at most {most} bytes")
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if found.st_size else b""


def remove(path: Path) -> None:
    """Remove a folder of ours, or a file or link in its place; what cannot be removed stays."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be removed: %s", path.name, error)
