"""What the log says of a published snapshot and of its manifest; unlike the snapshot, it needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from pipeline.bounded import Bytes, Reason, VersionText
from pipeline.events import Milliseconds
from pipeline.sealing import Sha256, open_record, seal_record
from pipeline.snapshots.filesystem import FORMAT

if TYPE_CHECKING:
    from pipeline.snapshots.snapshot import Manifest


class Seal(NamedTuple):
    """What an announcement says of a manifest: its sha256, and its size in bytes if known."""

    digest: str
    size: int | None


class Announcement(BaseModel):
    """A record of the compacted snapshots topic; its key is the model's name.

    Attributes:
        digest, size: sha256 and size of the sealed manifest, which binds everything else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[6] = FORMAT
    version: VersionText
    digest: Sha256
    size: Bytes
    reason: Reason
    published_at: Milliseconds

    @classmethod
    def of(cls, manifest: Manifest, seal: Seal) -> Self:
        """Make the announcement of a published snapshot."""
        assert seal.size is not None
        return cls(
            version=manifest.version,
            digest=seal.digest,
            size=seal.size,
            reason=manifest.reason,
            published_at=manifest.published_at,
        )

    @property
    def seal(self) -> Seal:
        """What the manifest must be."""
        return Seal(self.digest, self.size)

    def encode(self) -> bytes:
        """Encode for the log."""
        return seal_record(self.model_dump())

    @classmethod
    def decode(cls, wire: bytes) -> Self:
        """Read a record of the log.

        Raises:
            ValueError: it is damaged, or no announcement.
        """
        return cls.model_validate(open_record(wire))
