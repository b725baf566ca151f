"""Settings of the learner: what decides the bits that it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from pipeline.config.base import (
    Config,
    Count,
    CountOrNone,
    NamedPath,
    Precision,
    Rate,
    Seconds,
    SecondsOrNone,
    SecretOrNone,
    Seed,
    Share,
    Text,
    Weight,
    listed,
)
from pipeline.config.model import ModelSizes
from pipeline.config.ratings import RatingsConfig
from pipeline.config.urls import Masked
from pipeline.events import InteractionType

VectorEncoding = Literal["exact", "float16", "int8"]
HalfLife = Annotated[float, Field(gt=0, le=1e12)]


class SegmentConfig(Config):
    """[learn.segments] Lengths of the pieces that segments are cut into, in acts."""

    context: Count = 20
    """Old acts before the new ones that the model reads."""
    length: Count = 32
    """New acts in a piece."""
    overlap: Count = 10
    """Acts that a piece shares with the one before it; fewer than `length`."""

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.overlap >= self.length:
            raise ValueError(
                f"overlap ({self.overlap}) is not less than length ({self.length}): no piece would be new"
            )
        return self


class ReplayConfig(Config):
    """[learn.replay] Experience replay.

    Replayed segments of 8 instead of 20 acts learn 1.1 times as many events a second and cost .002
    to .004 nats (benchmarks/forgetting.py, `millstream backtest`). Where interests leave
    and return, 64 segments instead of 16 keep .4 points of HR@20 more (benchmarks/transfer.py), and a batch
    takes a fifth more time; 32 is between.
    """

    segments: CountOrNone = 32
    """Old segments learned again with each batch."""
    length: Annotated[int, Field(ge=2, le=1_000_000_000)] = 8
    """The last acts of a replayed segment that are learned again; of one act alone, nothing is."""
    rehearsed: Count = 32
    """Old segments in a rehearsal, see batch.rehearse_events."""
    capacity: Count = 20_000
    """Segments in the reservoir."""
    weight: Weight = 0.5
    """Weight of the mean loss over replay; that over new targets has weight 1. More keeps more of interests
    that leave and return, and costs what is new where nothing does: .3 instead of .5 finds .0015 more of
    HR@20 on Online Retail, and forgets twice as much of a shop's regimes (benchmarks/transfer.py)."""


class ObjectiveConfig(Config):
    """[learn.objective] What the learner minimises: α·L_uns + (1 − α)·L_sup."""

    basket_types: Annotated[tuple[InteractionType, ...], NoDecode, BeforeValidator(listed)] = ()
    """Types of acts from which the model learns the rest of their basket, by binary cross-entropy over many
    labels; from all others, the next item by softmax."""
    unsupervised: Literal["contrastive", "masked_item"] = "contrastive"
    """What the model learns from histories alone: that two views of one are alike, or hidden items."""
    alpha: Share = 0.0
    """Share α of the unsupervised objective in the loss, at the beginning of the stream."""
    schedule: Literal["constant", "linear", "exponential"] = "constant"
    """How α goes on: as it is, to zero after so many events, or halved after so many,"""
    schedule_events: Count = 100_000
    """which are these."""


class RowRates(Config):
    """[learn.optimizer.rows] Learning rates of the item table's row-wise Adagrad."""

    residual: Rate = 0.01
    """Rate of residual rows."""
    bias: Rate = 0.02
    """Rate of biases."""


class OptimizerConfig(Config):
    """[learn.optimizer] The optimizer of adapters and projection; item rows have row-wise Adagrad."""

    kind: Literal["adamw", "sgd", "adafactor"] = "adamw"
    """AdamW, SGD with momentum, or Adafactor, which keeps less beside each weight. Each needs a rate of its
    own, see docs/tuning.md."""
    rate: Rate = 1e-3
    """Its learning rate."""
    weight_decay: Weight = 1e-4
    """Its weight decay."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD's momentum."""
    clip: Annotated[float, Field(gt=0, le=1e6)] = 5.0
    """Largest norm of the gradient; a larger one is scaled down to it."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the rate goes on after the warm-up: as it is, or falling along a line or a cosine,"""
    warm_up_steps: CountOrNone = 0
    """Steps in which the rate rises to what it is; a step is a batch that is learned."""
    decay_steps: Count = 10_000
    """Steps after them in which a rate falls that falls,"""
    least: Share = 0.1
    """to this share of what it was, where it stays: a stream does not end."""
    rows: RowRates = RowRates()

    @property
    def is_scheduled(self) -> bool:
        """Whether the rate depends on the number of steps."""
        return self.schedule != "constant" or self.warm_up_steps > 0


class StreamConfig(Config):
    """[learn.stream] How much of the stream is remembered."""

    history_length: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Last acts that are kept of each user: so many of positive weight, of negative, and of none."""
    dedupe_window: Count = 1_000_000
    """Last event ids of each partition by which duplicates are known."""
    covisitation_half_life: HalfLife = 200_000
    """Events after which a count of two items seen together is worth half."""
    covisitation_partners: Count = 500
    """Partners that are kept of each item."""
    popularity_half_life: HalfLife = 90_000
    """Events after which a count of an item is worth half."""


class RetrievalConfig(Config):
    """[learn.retrieval] Which items are considered where there are too many to score all of them."""

    exact_items: CountOrNone = 10_000
    """Up to so many items, all are scored, and none needs to be retrieved."""
    scanned: Annotated[int, Field(ge=32, le=2**20)] = 16_384
    """Items, the most popular ones, that every search scans for the best by model, popularity and bias; twice
    as many where no item has a text, because each is half as wide then."""
    best: Annotated[int, Field(ge=1, le=10_000)] = 48
    """Candidates of a target that the scan finds."""
    nearest: Annotated[int, Field(ge=1, le=10_000)] = 24
    """Candidates of a target that are found by content among the items that are not scanned."""
    covisited: Annotated[int, Field(ge=1, le=10_000)] = 128
    """Candidates of a target that covisitation suggests."""
    audited: CountOrNone = 100
    """Scores that ranking a target in full may take on average: of n items, one target in n / `audited` is
    ranked in full, to measure what its candidates lack."""

    def rows_scanned(self, has_content: bool) -> int:
        """Return how many items are scanned."""
        return self.scanned if has_content else 2 * self.scanned


class LearnerConfig(Config):
    """[learn] How the learner learns. A change opens a new generation."""

    seed: Seed = 0
    """Seed of all randomness."""
    negatives: Annotated[int, Field(ge=1, le=2**20)] = 512
    """Negative items drawn for each batch."""
    mixer_rate: Rate = 0.1
    """Adam's learning rate of the mixer's weights at the beginning; it falls to a fifth of it."""
    precision: Precision = "float32"
    """Precision of the user tower's matrix products on CUDA; a CPU always computes in float32."""
    segments: SegmentConfig = SegmentConfig()
    sizes: ModelSizes = ModelSizes()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    replay: ReplayConfig = ReplayConfig()
    stream: StreamConfig = StreamConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    ratings: RatingsConfig = RatingsConfig()


class BatchConfig(Config):
    """[batch] How records are gathered into a MicroBatch."""

    events: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Interactions in a batch, at most."""
    items: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Records of the catalogue in a batch, at most;"""
    texts: Annotated[int, Field(ge=1, le=100_000)] = 64
    """and new texts among them: a CPU encodes 50 to 300 in a second, and interactions wait meanwhile."""
    impressions: Annotated[int, Field(ge=1, le=100_000)] = 4_096
    """Impressions in a batch, at most. They only wait for their outcomes, which costs some hundredths of what
    learning an interaction does; what is more than that follows in the next batch."""
    users: Annotated[int, Field(ge=1, le=100_000)] = 4_096
    """Records of users in a batch, at most, if the model reads attributes of users; they are only kept."""
    wait_seconds: Seconds = 0.2
    """How long to wait for a first record before doing what else is due."""
    linger_seconds: SecondsOrNone = 0.1
    """How long to wait for more; small batches cost nearly as much as full ones."""
    rehearse_events: CountOrNone = 0
    """Rehearsals: while little waits, the learner takes one more step on old segments for so many learned
    interactions; 0 for none. They pay where items have no texts: on 30,000 acts of DIGINETICA, one per batch
    of 64, the model's HR@20 rose from .166 to .215 and the mixture's from .317 to .323. Where they have, a
    second pass costs .06 nats and more (benchmarks/rehearsals.py)."""
    nice: Annotated[int, Field(ge=0, le=19)] = 5
    """Niceness of the process: how far the learner stands back for servers on its machine. Where both want
    all of it, 10 gives servers more still, and snapshots come half as often."""


class CompressionConfig(Config):
    """[snapshots.compression] How snapshots are made smaller; the learner's own state never is."""

    vectors: VectorEncoding = "exact"
    """How a published item's two vectors are stored: `exact`, as learned (content in float16, residual in
    float32); both in `float16`; or both in `int8`, 8 bits a number and one scale a vector."""
    adapter_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the squared singular values of each LoRA, and of the linear adapter, that is published: their
    ranks are as small as that allows. 1 leaves them as they are."""


class SnapshotConfig(Config):
    """[snapshots] Where snapshots are, and how often one is published."""

    store: Annotated[Text, Masked] = "run/snapshots"
    """A folder, or any fsspec URL such as s3://bucket/path, whose package (here s3fs) must be installed."""
    seconds: Seconds = 0.5
    """A snapshot is published when so much time has passed,"""
    events: Count = 10_000
    """or so many events."""
    keep: Count = 40
    """Versions that are kept, and up to seven more; layers that a kept version has are kept, too."""
    most_bytes: Annotated[int, Field(ge=2**20, le=2**50)] = 2**34
    """Largest snapshot, in bytes of all its files, that a server reads; a larger one is refused unread."""
    key: SecretOrNone = None
    """Shared by learner and servers: the learner signs manifests with it (HMAC-SHA256), a server accepts no
    others. At least 16 characters; without it, digests find damage but no forgery."""
    compression: CompressionConfig = CompressionConfig()


class CheckpointConfig(Config):
    """[checkpoints] Where checkpoints are, and how often one is written."""

    folder: NamedPath = Path("run/checkpoints")
    """A folder on a local disk, private to the learner and the retrainer."""
    seconds: Seconds = 60.0
    """A checkpoint is written when so much time has passed,"""
    events: Count = 100_000
    """or so many events."""
