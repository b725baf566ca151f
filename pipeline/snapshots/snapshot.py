"""A Snapshot in memory: what serving needs to score as the learner does, without user data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor

from pipeline.bounded import Bytes, Count, Name, Place, Reason, Step, TopicIds, VersionText
from pipeline.config import CompressionConfig, ModelSizes, RatingsConfig, SignalsConfig
from pipeline.eventlog.port import TopicPartition
from pipeline.events import Milliseconds, Offset
from pipeline.sealing import Sha256
from pipeline.snapshots.layer import Layer
from pipeline.snapshots.table import SnapshotTable

ITEM_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I32": 4, "I64": 8, "I8": 1, "U8": 1}
"""Sizes of the number types that a snapshot may hold, by their names in safetensors."""


Scale = Annotated[float, Field(gt=0, le=1)]
FileName = Annotated[str, Field(pattern=r"^[a-z]{1,32}\.safetensors$")]
"""A plain name: no folder, nothing hidden."""


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Figures = Annotated[
    dict[Name, Annotated[float | None, BeforeValidator(_finite_or_none)]], Field(max_length=256)
]


class TensorForm(BaseModel):
    """Number type, as safetensors names it, and shape of a tensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["F16", "BF16", "F32", "F64", "I32", "I64", "I8", "U8"]
    shape: Annotated[tuple[Count, ...], Field(max_length=3)]

    @property
    def bytes(self) -> int:
        """Size of its values."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class FileDigest(BaseModel):
    """sha256, size and tensors of one file of a snapshot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    size: Bytes
    tensors: Annotated[dict[Name, TensorForm], Field(max_length=100_000)]


class LayerFile(FileDigest):
    """A file of a layer, and the steps whose changes it holds: those after one step through another.

    `after` is None for the first layer of a list: nothing before it counts.
    """

    after: Step | None
    through: Step


class Manifest(BaseModel):
    """The description of a snapshot, written last: without it, the snapshot does not exist.

    Attributes:
        version: ``<generation>-<step>``.
        kind: full if it begins a list of layers; a delta adds the changes since the last version to one.
        parent: the version published before this one.
        reason: why it was published.
        backbone: digest of the pretrained language model.
        sizes: sizes of what is learned beside it.
        signals: what acts say about their items, as the learner read them.
        ratings: how ratings are predicted.
        compression: what was rounded.
        digest: of the state; equal states have equal digests.
        files: of this version alone; `layers`: of the rows, oldest first, the last value of a row counts.
        pair_scale, popularity_scale: what the stored counts are to be multiplied by.
        rows: the number of catalogue rows.
        scans_content: whether content is scanned where the catalogue is too large for all to be scored.
        offsets: ``topic/partition`` to the next offset that has not been learned.
        topic_ids: by input topic, the log's id of the topic that the offsets are of; empty if the snapshot
            is older than ids.
        learned_through: append time in ms of the last record learned or folded.
        published_at: wall clock in ms.
        events: total number of interactions folded.
        quality: prequential figures at publication.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(max_length=100)]
    version: VersionText
    kind: Literal["full", "delta"]
    parent: VersionText | None = None
    reason: Reason
    digest: Sha256 | Literal[""]
    files: Annotated[dict[FileName, FileDigest], Field(max_length=16)]
    backbone: Annotated[str, Field(max_length=256)]
    max_tokens: Annotated[int, Field(ge=1, le=8_192)]
    sizes: ModelSizes
    signals: SignalsConfig = SignalsConfig()
    ratings: RatingsConfig = RatingsConfig()
    compression: CompressionConfig = CompressionConfig()
    rows: Count
    scans_content: bool
    layers: Annotated[tuple[LayerFile, ...], Field(max_length=256)]
    pair_scale: Scale
    popularity_scale: Scale
    offsets: Annotated[dict[Place, Offset], Field(max_length=1_024)]
    topic_ids: TopicIds = {}
    learned_through: Milliseconds
    published_at: Milliseconds
    events: Count
    quality: Annotated[dict[Name, Annotated[dict[Name, Figures], Field(max_length=64)]], Field(max_length=64)]

    @property
    def learned_offsets(self) -> dict[TopicPartition, int]:
        """The offsets by partition."""
        return {TopicPartition.parse(name): offset for name, offset in self.offsets.items()}


@dataclass(frozen=True)
class Update:
    """What makes a version of an earlier one, or of none: what is small, and the rows that changed.

    Attributes:
        manifest: description and origin; of an update to be published, without digest, files and layers.
        encoder: the adapter of the language model that content was encoded with; empty for none.
        learned: the recommender's learned parameters by name.
        mixer: ``[situations, features]`` weights.
        ratings: ``[1 + d]`` head of the model of ratings; empty while no rating is learned.
        values: arrays of the models of values by name; empty while none is learned.
        latest: counts of the latest acts, see `LatestCounts.sums`; empty in snapshots of earlier releases.
        layers: the rows that changed, oldest first.
        is_whole: whether the layers have all rows, and nothing before them counts.
    """

    manifest: Manifest
    encoder: Mapping[str, Tensor]
    learned: Mapping[str, Tensor]
    mixer: Tensor
    ratings: Tensor
    values: Mapping[str, Tensor]
    latest: Mapping[str, Tensor]
    layers: Sequence[Layer]
    is_whole: bool


@dataclass(frozen=True)
class Snapshot:
    """The complete state that a server scores with; n items, width d.

    Attributes:
        manifest: description and origin.
        encoder: the adapter of the language model that content was encoded with; empty for none.
        learned: the recommender's learned parameters by name.
        mixer: ``[situations, features]`` weights.
        ratings: ``[1 + d]`` head of the model of ratings; empty while no rating is learned.
        values: arrays of the models of values by name; empty while none is learned.
        latest: counts of the latest acts, see `LatestCounts.sums`; empty in snapshots of earlier releases.
        table: the rows of all items.
    """

    manifest: Manifest
    encoder: Mapping[str, Tensor]
    learned: Mapping[str, Tensor]
    mixer: Tensor
    ratings: Tensor
    values: Mapping[str, Tensor]
    latest: Mapping[str, Tensor]
    table: SnapshotTable

    @classmethod
    def of(cls, update: Update) -> Self:
        """Make a snapshot of an update with all rows."""
        assert update.is_whole
        return cls._with(update, SnapshotTable()).updated(update)

    @classmethod
    def _with(cls, update: Update, table: SnapshotTable) -> Self:
        """Make a snapshot of what is small in an update, and the rows of a table."""
        small = update.encoder, update.learned, update.mixer, update.ratings, update.values, update.latest
        return cls(update.manifest, *small, table)

    def reserve(self, update: Update) -> None:
        """Make room for an update that fits, so that `updated` costs what it changes; no value changes."""
        self.table.reserve(update.layers, update.manifest.rows)

    def updated(self, update: Update) -> Self:
        """Apply an update that fits, in place: the table is shared with what is returned, and changed."""
        self.table.apply(update.layers, update.manifest.rows)
        self.table.pairs.scale = update.manifest.pair_scale
        self.table.popularity.scale = update.manifest.popularity_scale
        self.table.popularity.latest.load(**{name: of.numpy() for name, of in update.latest.items()})
        return self._with(update, self.table)

    @property
    def items(self) -> Mapping[str, str]:
        """All item ids with their content digests, in the order of rows."""
        return self.table.digests

    @property
    def content(self) -> Tensor:
        """``[n, d]``, as `residual`; `bias` is ``[n]``. Encoded vectors gather rows as a tensor does."""
        return self.table.vectors("vectors")

    @property
    def residual(self) -> Tensor:
        """What was learned of each item, beside its content."""
        return self.table.vectors("residual")

    @property
    def bias(self) -> Tensor:
        """What was learned of each item, the same for all users."""
        return torch.from_numpy(self.table.column("bias"))

    @property
    def effects(self) -> NDArray[np.float32]:
        """What each item adds to its ratings, beside what its content says."""
        found: NDArray[np.float32] = self.table.column("effects")
        return found
