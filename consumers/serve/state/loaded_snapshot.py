"""A loaded snapshot: one snapshot, checked against this server's own backbone."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from operator import ne

import torch
from torch import Tensor

from pipeline.config import ModelConfig, ModelSizes
from pipeline.errors import SnapshotCorrupt
from pipeline.eventlog.port import TopicPartition
from pipeline.model.backbone import Backbone
from pipeline.model.content.adapter import Adapter, fits
from pipeline.model.item_table import Rows
from pipeline.model.lora import blocks_of
from pipeline.model.recommender import Recommender
from pipeline.snapshots.snapshot import Manifest, Seal, Snapshot, Version
from pipeline.snapshots.store import SnapshotStore
from pipeline.state.counts import PairTable
from pipeline.state.popularity import Popularity

LARGEST_LOG_SCALE = 30.0
"""It begins at 2.3; scores beyond the exponential of this one leave float32's range."""


@dataclass(frozen=True)
class LoadedSnapshot:
    """The immutable state that a server reads from one snapshot; n items.

    Attributes:
        manifest: description and origin of the snapshot.
        version: generation and step.
        offsets: next offset of each partition that was not learned.
        digests: content digest of each item.
        rows: row of each item.
        encoder: adapter of the language model with which new texts must be encoded.
        recommender, mixer: the learned parameters.
        items: content, residual and bias of each row.
        pairs, popularity: counts of the n items; never changed.
    """

    manifest: Manifest
    version: Version
    offsets: dict[TopicPartition, int]
    digests: dict[str, str]
    rows: dict[str, int]
    encoder: Adapter
    recommender: Recommender
    mixer: Tensor
    items: Rows
    pairs: PairTable
    popularity: Popularity

    def changes_since(self, before: LoadedSnapshot) -> Collection[str] | None:
        """Return the items with another content digest than in an earlier snapshot, or new.

        None if the items of the earlier one do not all have the same rows here.
        """
        if any(map(ne, before.rows, self.rows)) or len(before.rows) > len(self.rows):
            return None
        return [item for item, digest in self.digests.items() if before.digests.get(item) != digest]


class SnapshotLoader:
    """Loads announced snapshots and refuses those that this server must not serve.

    The model's skeleton is built once for each size and copied for each snapshot, because
    requests may still score with the old one. Serving runs on the CPU: scoring one history
    takes milliseconds there, and two servers return the same bits.
    """

    def __init__(self, store: SnapshotStore, backbone: Backbone, settings: ModelConfig) -> None:
        self._store = store
        self._backbone = backbone
        self._skeletons: dict[ModelSizes, Recommender] = {}
        self._required = {"backbone": backbone.digest, "max_tokens": settings.max_tokens}

    def load(self, version: Version, announced: Seal | None = None) -> LoadedSnapshot:
        """Load and verify a snapshot.

        Args:
            version: of the snapshot.
            announced: what its manifest must be; None to go by the seal in the store alone.

        Raises:
            SnapshotMissing: it is not in the store.
            SnapshotCorrupt: it differs from the announced one, is damaged, out of bounds or not
                finite, or belongs to another model.
            OSError: the store does not answer.
        """
        snapshot = self._store.load(version, announced)
        self._check_model(snapshot.manifest)
        _check_sizes(snapshot, len(blocks_of(self._backbone.model)))
        skeleton = self._skeleton(snapshot.manifest)
        _check_shapes(snapshot, skeleton, self._backbone)
        return _loaded(snapshot, version, copy.deepcopy(skeleton))

    def versions(self) -> list[Version]:
        """All versions in the store, oldest first."""
        return self._store.versions()

    def _check_model(self, manifest: Manifest) -> None:
        for name, required in self._required.items():
            actual = getattr(manifest, name)
            if actual != required:
                raise SnapshotCorrupt(
                    f"snapshot {manifest.version} was learned with {name} {actual}, but this server has "
                    f"{required}: use the same [model] settings for both"
                )

    def _skeleton(self, manifest: Manifest) -> Recommender:
        """A new model of the snapshot's sizes; a promoted candidate may be larger than the settings say."""
        sizes = manifest.sizes
        if sizes not in self._skeletons:
            self._skeletons = {sizes: Recommender(self._backbone, sizes, seed=0).eval()}
        return self._skeletons[sizes]


def _loaded(snapshot: Snapshot, version: Version, recommender: Recommender) -> LoadedSnapshot:
    recommender.load_learned(dict(snapshot.learned))
    return LoadedSnapshot(
        manifest=snapshot.manifest,
        version=version,
        offsets=snapshot.manifest.learned_offsets,
        digests=snapshot.table.digests,
        rows=snapshot.table.rows,
        encoder=snapshot.encoder,
        recommender=recommender,
        mixer=snapshot.mixer,
        items=Rows(snapshot.content, snapshot.residual, snapshot.bias),
        pairs=snapshot.table.pairs,
        popularity=snapshot.table.popularity,
    )


def _check_sizes(snapshot: Snapshot, layers: int) -> None:
    """Check the sizes that the manifest names against the tensors, before a model of these sizes is built."""
    version, sizes, learned = snapshot.manifest.version, snapshot.manifest.sizes, snapshot.learned
    narrow = {tensor.shape[0] for name, tensor in learned.items() if ".lora_A." in name}
    adapter = learned.get("adapter_in")
    fits_tensors = adapter is not None and adapter.shape[0] == sizes.adapter_rank
    if sizes.layers > layers or narrow != {sizes.lora_rank} or not fits_tensors:
        raise SnapshotCorrupt(f"snapshot {version}: the sizes that it names do not match its tensors")
    if float(learned.get("log_scale", torch.zeros(()))) > LARGEST_LOG_SCALE:
        raise SnapshotCorrupt(f"snapshot {version}: log_scale is out of range; publish again or roll back")


def _check_shapes(snapshot: Snapshot, skeleton: Recommender, backbone: Backbone) -> None:
    """Check sizes: digests prove that the bytes are as written, not that the tensors match."""
    rows, width = snapshot.manifest.rows, backbone.width
    expected = {name: parameter.shape for name, parameter in skeleton.learned().items()}
    consistent = (
        {name: tensor.shape for name, tensor in snapshot.learned.items()} == expected
        and snapshot.content.shape == snapshot.residual.shape == (rows, width)
        and snapshot.bias.shape == (rows,)
        and len(snapshot.table) == rows
        and fits(backbone.model, snapshot.encoder)
    )
    if not consistent:
        raise SnapshotCorrupt(f"snapshot {snapshot.manifest.version}: the sizes of its tensors do not match")
