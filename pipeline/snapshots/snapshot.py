"""A Snapshot in memory: what serving needs to score as the learner does, without user data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pipeline.config import ModelSizes
from pipeline.eventlog.port import TopicPartition

FORMAT: Literal[2] = 2


class Version(NamedTuple):
    """Generation (adoptions, rollbacks, takeovers) and step; later versions compare greater."""

    generation: int
    step: int

    def __str__(self) -> str:
        return f"{self.generation}-{self.step}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"<generation>-<step>"``.

        Raises:
            ValueError: the text has another form.
        """
        generation, _, step = text.partition("-")
        return cls(int(generation), int(step))


class FileDigest(BaseModel):
    """Name, sha256 and size of one file of a snapshot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size: int


Count = Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """The description of a snapshot, written last: without it, the snapshot does not exist.

    Attributes:
        version: ``<generation>-<step>``.
        kind: full, or a delta that holds the changes since the full snapshot named by `base`.
        parent: the version published before this one.
        reason: why it was published.
        backbone: digest of the pretrained language model.
        sizes: sizes of what is learned beside it.
        digest: of the content of all files; equal states have equal digests.
        items: item id to content digest, in the order of rows; in a delta, the changed ones.
        rows: the number of catalogue rows.
        offsets: ``topic/partition`` to the next offset that has not been learned.
        learned_through: append time in ms of the last record learned or folded.
        published_at: wall clock in ms.
        events: total number of interactions folded.
        quality: prequential figures at publication.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = FORMAT
    model: str
    version: str
    kind: Literal["full", "delta"]
    base: str | None = None
    parent: str | None = None
    reason: str
    digest: str
    files: dict[str, FileDigest]
    backbone: str
    max_tokens: int
    sizes: ModelSizes
    rows: Count
    items: dict[str, str]
    offsets: dict[str, Count]
    learned_through: int
    published_at: int
    events: Count
    quality: dict[str, dict[str, dict[str, float | None]]]

    @property
    def learned_offsets(self) -> dict[TopicPartition, int]:
        """The offsets by partition."""
        return {TopicPartition.parse(name): offset for name, offset in self.offsets.items()}


@dataclass(frozen=True)
class Snapshot:
    """The complete state that a server scores with; n items, width d.

    Attributes:
        manifest: description and origin.
        items: all item ids with their content digests, in the order of rows.
        encoder: the adapter of the language model that content was encoded with; empty for none.
        learned: the recommender's learned parameters by name.
        mixer: ``[situations, features]`` weights.
        content, residual: ``[n, d]``; `bias`: ``[n]``.
        covisitation_base, covisitation_recent: the two levels of pair counts, ``[n, n]``.
        covisitation_scale: factor of all stored pair counts.
        popularity: ``[n]`` decayed counts.
    """

    manifest: Manifest
    items: Mapping[str, str]
    encoder: Mapping[str, Tensor]
    learned: Mapping[str, Tensor]
    mixer: Tensor
    content: Tensor
    residual: Tensor
    bias: Tensor
    covisitation_base: sp.csr_array
    covisitation_recent: sp.csr_array
    covisitation_scale: float
    popularity: NDArray[np.float64]


class Announcement(BaseModel):
    """A record of the compacted snapshots topic; its key is the model's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    digest: str
    reason: str
    published_at: int

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Make the announcement of a published snapshot."""
        return cls(
            version=manifest.version,
            digest=manifest.digest,
            reason=manifest.reason,
            published_at=manifest.published_at,
        )

    def encode(self) -> bytes:
        """Encode for the log."""
        return json.dumps(self.model_dump()).encode()
