"""The base of a server's state: one snapshot, checked against this server's own backbone."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import ModelConfig, ModelSizes
from pipeline.errors import SnapshotCorrupt
from pipeline.eventlog.port import TopicPartition
from pipeline.model.backbone import Backbone
from pipeline.model.content.adapter import Adapter, fits
from pipeline.model.item_table import Rows
from pipeline.model.recommender import Recommender
from pipeline.snapshots.snapshot import Manifest, Snapshot, Version
from pipeline.snapshots.store import SnapshotStore


@dataclass(frozen=True)
class LoadedSnapshot:
    """What one snapshot gives a server; n items. Nothing of it is ever changed.

    Attributes:
        manifest: what it is and where it comes from.
        version: its place in the order of versions.
        offsets: the next offset of each partition that was not learned.
        digests: content digest of each item.
        rows: row of each item.
        encoder: the adapter of the language model that new texts are to be encoded under.
        recommender, mixer: the learned parameters.
        items: content, residual and bias of each row.
        pairs: ``[n, n]`` pair counts of the memory, in one level; `totals` the sums of its rows.
        popularity: ``[n]`` decayed counts.
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
    pairs: sp.csr_array
    totals: NDArray[np.float64]
    popularity: NDArray[np.float64]


class SnapshotLoader:
    """Loads announced snapshots and refuses those that this server must not serve.

    The model's skeleton is made once for each size, and copied for each snapshot, so that
    requests that still score with the old one are not disturbed. Serving is on the CPU: one history costs
    milliseconds there, and two servers then give the same bits.
    """

    def __init__(self, store: SnapshotStore, backbone: Backbone, settings: ModelConfig) -> None:
        self._store = store
        self._backbone = backbone
        self._skeletons: dict[ModelSizes, Recommender] = {}
        self._required = {"backbone": backbone.digest, "max_tokens": settings.max_tokens}

    def load(self, version: Version, digest: str | None = None) -> LoadedSnapshot:
        """A snapshot, verified; `digest` is the one that was announced.

        Raises:
            SnapshotCorrupt: not what was announced, damaged, of another model, or not finite.
            OSError: the store does not answer.
        """
        snapshot = self._store.load(version)
        if digest not in (None, snapshot.manifest.digest):
            raise SnapshotCorrupt(f"snapshot {version} is not the one announced; publish again")
        self._check_model(snapshot.manifest)
        skeleton = self._skeleton(snapshot.manifest)
        _check_shapes(snapshot, skeleton, self._backbone)
        _check_finite(snapshot)
        return self._base(snapshot, version, copy.deepcopy(skeleton))

    def versions(self) -> list[Version]:
        """What the store has, oldest first."""
        return self._store.versions()

    def _check_model(self, manifest: Manifest) -> None:
        for name, required in self._required.items():
            actual = getattr(manifest, name)
            if actual != required:
                raise SnapshotCorrupt(
                    f"snapshot {manifest.version} was learned with {name} {actual}, this server has "
                    f"{required}: give both the same [model] settings"
                )

    def _skeleton(self, manifest: Manifest) -> Recommender:
        """The model of the snapshot's sizes, as at birth; a promoted candidate may have larger ones."""
        sizes = manifest.sizes
        if sizes not in self._skeletons:
            self._skeletons = {sizes: Recommender(self._backbone, sizes, seed=0).eval()}
        return self._skeletons[sizes]

    def _base(self, snapshot: Snapshot, version: Version, recommender: Recommender) -> LoadedSnapshot:
        recommender.load_learned(dict(snapshot.learned))
        pairs = (snapshot.covisitation_base + snapshot.covisitation_recent) * snapshot.covisitation_scale
        return LoadedSnapshot(
            manifest=snapshot.manifest,
            version=version,
            offsets=snapshot.manifest.learned_offsets,
            digests=dict(snapshot.items),
            rows={item: row for row, item in enumerate(snapshot.items)},
            encoder=snapshot.encoder,
            recommender=recommender,
            mixer=snapshot.mixer,
            items=Rows(snapshot.content, snapshot.residual, snapshot.bias),
            pairs=pairs,
            totals=pairs.sum(axis=1),
            popularity=snapshot.popularity,
        )


def _check_shapes(snapshot: Snapshot, skeleton: Recommender, backbone: Backbone) -> None:
    """Digests prove that the bytes are as written, not that they fit together."""
    rows, width = snapshot.manifest.rows, backbone.width
    expected = {name: parameter.shape for name, parameter in skeleton.learned().items()}
    together = (
        {name: tensor.shape for name, tensor in snapshot.learned.items()} == expected
        and snapshot.content.shape == snapshot.residual.shape == (rows, width)
        and snapshot.bias.shape == (rows,)
        and snapshot.popularity.shape == (rows,)
        and len(snapshot.items) == rows
        and fits(backbone.model, snapshot.encoder)
    )
    if not together:
        raise SnapshotCorrupt(f"snapshot {snapshot.manifest.version}: its tensors do not fit together")


def _check_finite(snapshot: Snapshot) -> None:
    tensors = {
        **snapshot.encoder,
        **snapshot.learned,
        "mixer": snapshot.mixer,
        "content": snapshot.content,
        "residual": snapshot.residual,
        "bias": snapshot.bias,
    }
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise SnapshotCorrupt(f"snapshot {snapshot.manifest.version}: {name} is not finite; roll back")
