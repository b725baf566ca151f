"""A loaded snapshot: one snapshot, checked against this server's own backbone."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.onnx import OnnxExporterError

from consumers.serve.state.item_directions import ItemDirections
from pipeline.config import ModelConfig, ModelSizes, ServeConfig, Settings
from pipeline.errors import InvalidSettings, SnapshotCorrupt
from pipeline.eventlog.port import TopicPartition
from pipeline.model.backbone import Backbone, sharing_copy
from pipeline.model.content.adapter import Adapter, fits
from pipeline.model.families import blocks_of
from pipeline.model.int8_products import use_int8_products
from pipeline.model.item_table import Rows
from pipeline.model.last_acts import AttentionMaps, ServedTower, attention_maps, last_users, served_tower
from pipeline.model.mixer import FIRST_OF_USER, with_later_parts
from pipeline.model.onnx_tower import OnnxTower, check_installed, exported
from pipeline.model.recommender import Recommender
from pipeline.model.tuning import fits_rank
from pipeline.ratings.model import RatingModel
from pipeline.retrieval.item_search import SearchChoice
from pipeline.snapshots.announcement import Seal
from pipeline.snapshots.layer import items_in
from pipeline.snapshots.snapshot import Manifest, Snapshot, Update
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.state.counts import PairTable
from pipeline.state.growing import distinct
from pipeline.state.popularity import DecayedPopularity
from pipeline.state.segments import Segment
from pipeline.value.features import ITEM, STATE
from pipeline.value.learners import make_models
from pipeline.value.port import ValueModel

log = logging.getLogger(__name__)
LARGEST_LOG_SCALE = 30.0
"""It begins at 2.3; scores beyond the exponential of this one leave float32's range."""


class SnapshotChanges(NamedTuple):
    """What may be another than before, or new.

    Attributes:
        items: whose content digest may be.
        content, learned, counted: rows, ascending, whose content may be, or residual and bias, or count;
            `counted` is None if any may be.
    """

    items: Collection[str]
    content: NDArray[np.int64]
    learned: NDArray[np.int64]
    counted: NDArray[np.int64] | None = None


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
        pairs, popularity: counts of the n items.
        choice: how the items are searched where they are too many for all to be scored; empty if the learner
            has scored all.
        ratings: what is known of ratings; None before the first was learned.
        values: models of values, by the names of their learners; none of those that have not learned yet.
        held: what was loaded; a later snapshot may be made of it, in place.
        update: to be applied to `held` and the recommender before the snapshot is served; encoder, mixer and
            what describes the snapshot are of this one already.
        tower: computes the recommender's user vectors in onnxruntime; None for those of torch.
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
    popularity: DecayedPopularity
    choice: SearchChoice
    ratings: RatingModel | None
    values: Mapping[str, ValueModel]
    held: Snapshot
    update: Update | None = None
    tower: OnnxTower | None = None

    def last_users(self, segments: Sequence[Segment], items: Rows, context: int) -> Tensor:
        """Compute user vectors ``[m, d]``; see `pipeline.model.last_acts.last_users`."""
        if self.tower is None:
            return last_users(segments, self.recommender, items, context, self._served)
        return self.tower.last_users(segments, items, context, self._maps)

    @cached_property
    def directions(self) -> ItemDirections:
        """The directions of items as answers need them; no update comes later."""
        return ItemDirections(self.recommender, *self.items.residual.shape)

    @cached_property
    def _served(self) -> ServedTower | None:
        """The recommender's tower as the first request finds it; no update comes later."""
        return served_tower(self.recommender.tower)

    @cached_property
    def _maps(self) -> AttentionMaps | None:
        """The maps of its attention, likewise, which are what a graph needs of it."""
        return attention_maps(self.recommender.tower)

    def applied(self) -> LoadedSnapshot:
        """Apply the update, in place; those who read the earlier snapshot must not do so meanwhile."""
        if self.update is None:
            return self
        held = self.held.updated(self.update)
        self.recommender.load_learned(dict(self.update.learned))
        ratings = _ratings(self.update, held)
        return replace(self, items=_rows(held), choice=_choice(held), ratings=ratings, held=held, update=None)

    @property
    def ids(self) -> Sequence[str]:
        """Item ids by row."""
        return self.held.table.ids

    @property
    def changes(self) -> SnapshotChanges | None:
        """What the update changes; None without one, for then everything may be another."""
        if self.update is None:
            return None
        layers = self.update.layers
        items = [item for layer in layers for item, _ in items_in(layer["items"])]
        parts = "content", "learned", "popularity"
        return SnapshotChanges(items, *(distinct(*(layer[part].rows for layer in layers)) for part in parts))


class SnapshotLoader:
    """Loads announced snapshots and refuses those that this server must not serve.

    The model's skeleton is built once for each size and copied for each snapshot that is loaded whole,
    because requests may still score with the old one; a copy takes 10 ms. Serving runs on the CPU:
    scoring one history takes milliseconds there, and two servers return the same bits.
    """

    def __init__(
        self,
        store: SnapshotStore,
        backbone: Backbone,
        settings: ModelConfig,
        serving: ServeConfig = ServeConfig(),  # noqa: B008 (frozen)
    ) -> None:
        self._store = store
        self._backbone = backbone
        self._is_rounded, self._is_onnx = serving.precision == "int8", serving.runtime == "onnx"
        self._cache = settings.cache
        self._skeleton: tuple[ModelSizes, Recommender] | None = None
        self._required = {"backbone": backbone.digest, "max_tokens": settings.max_tokens}
        if self._is_onnx:
            check_installed()

    @classmethod
    def of(cls, settings: Settings, backbone: Backbone) -> SnapshotLoader:
        """Load as a server of these settings does, from the store that they name.

        Raises:
            InvalidSettings: the store cannot be opened, or a package for what they say is missing.
        """
        store = SnapshotStore.of(settings.snapshots, settings.log.prefix)
        return cls(store, backbone, settings.model, settings.serve)

    def load(
        self, version: Version, announced: Seal | None = None, before: LoadedSnapshot | None = None
    ) -> LoadedSnapshot:
        """Load and verify a snapshot.

        Args:
            version: of the snapshot.
            announced: what its manifest must be; None to go by the seal in the store alone.
            before: what is served; if possible, only what has changed since is loaded, to be applied to it.

        Raises:
            SnapshotMissing: it is not in the store.
            SnapshotCorrupt: it differs from the announced one, is damaged, out of bounds or not
                finite, or belongs to another model.
            OSError: the store does not answer.
        """
        update = self._update(version, announced, before) if before else None
        if before is not None and update is not None:
            skeleton = self._fitting(update)
            if update.manifest.sizes == before.manifest.sizes:
                return _loaded(update, before.held, version, before.recommender, before.tower)
            recommender = sharing_copy(skeleton)
            return _loaded(update, before.held, version, recommender, self._tower(update, recommender))
        snapshot = self._store.load(version, announced)
        _check_shapes(snapshot, self._backbone)
        recommender = sharing_copy(self._fitting(snapshot))
        recommender.load_learned(dict(snapshot.learned))
        return _loaded(snapshot, snapshot, version, recommender, self._tower(snapshot, recommender))

    def _update(self, version: Version, announced: Seal | None, before: LoadedSnapshot) -> Update | None:
        """Load what has changed since a snapshot; None if that is not known, or the log is another one.

        The same reasons as for `Follower` to read again: then what is served must stay as it is.
        """
        manifest = self._store.manifest(version, announced)
        if manifest.topic_ids != before.manifest.topic_ids or before.update is not None:
            return None
        learned = manifest.learned_offsets
        if any(learned.get(source, 0) < offset for source, offset in before.offsets.items()):
            return None
        update = self._store.changes(manifest, before.held)
        if update is not None:
            before.held.reserve(update)
        return update

    def versions(self) -> list[Version]:
        """All versions in the store, oldest first."""
        return self._store.versions()

    def _fitting(self, found: Snapshot | Update) -> Recommender:
        """Return a model of the sizes of a snapshot, if that is of this server's language model."""
        self._check_model(found.manifest)
        _check_sizes(found, len(blocks_of(self._backbone.model)))
        skeleton = self._skeleton_of(found.manifest)
        _check_learned(found, skeleton, self._backbone)
        return skeleton

    def _check_model(self, manifest: Manifest) -> None:
        for name, required in self._required.items():
            actual = getattr(manifest, name)
            if actual != required:
                raise SnapshotCorrupt(
                    f"snapshot {manifest.version} was learned with {name} {actual}, but this server has "
                    f"{required}: use the same [model] settings for both"
                )

    def _skeleton_of(self, manifest: Manifest) -> Recommender:
        """A new model of the snapshot's sizes; a promoted candidate may be larger than the settings say."""
        sizes = manifest.sizes
        if self._skeleton is None or self._skeleton[0] != sizes:
            self._skeleton = sizes, self._made(manifest)
        return self._skeleton[1]

    def _tower(self, found: Snapshot | Update, recommender: Recommender) -> OnnxTower | None:
        """Load the tower into onnxruntime, if the settings say so."""
        if not self._is_onnx:
            return None
        sizes = found.manifest.sizes
        try:
            return OnnxTower(exported(self._backbone, sizes, recommender, self._cache), recommender)
        except OnnxExporterError as error:
            reason = str(error).partition("\n")[0]
            log.warning("serve.runtime is onnx, but this model is computed by torch: %s", reason)
            return None

    def _made(self, manifest: Manifest) -> Recommender:
        try:
            made = Recommender(self._backbone, manifest.sizes, seed=0).eval()
        except InvalidSettings as error:
            raise SnapshotCorrupt(f"snapshot {manifest.version}: {error}") from error
        if self._is_rounded and not use_int8_products(made.tower.layers):
            log.warning("serve.precision is int8, but this model has no frozen map that can be rounded")
        return made


def _loaded(
    found: Snapshot | Update,
    held: Snapshot,
    version: Version,
    recommender: Recommender,
    tower: OnnxTower | None,
) -> LoadedSnapshot:
    return LoadedSnapshot(
        manifest=found.manifest,
        version=version,
        offsets=found.manifest.learned_offsets,
        digests=held.table.digests,
        rows=held.table.rows,
        encoder=found.encoder,
        recommender=recommender,
        mixer=with_later_parts(found.mixer),
        items=_rows(held),
        pairs=held.table.pairs,
        popularity=held.table.popularity,
        choice=_choice(held),
        ratings=_ratings(found, held),
        values=_values(found),
        held=held,
        update=found if isinstance(found, Update) else None,
        tower=tower,
    )


def _values(found: Snapshot | Update) -> dict[str, ValueModel]:
    """Make the models of values of a snapshot.

    Raises:
        SnapshotCorrupt: they do not fit the features of this release.
    """
    try:
        return make_models({name: tensor.numpy() for name, tensor in found.values.items()}, STATE, ITEM)
    except ValueError as error:
        raise SnapshotCorrupt(
            f"snapshot {found.manifest.version}: its values cannot be read: {error}; serve it with the "
            "millstream that wrote it"
        ) from error


def _ratings(found: Snapshot | Update, held: Snapshot) -> RatingModel | None:
    """Make the model of ratings of a snapshot.

    Raises:
        SnapshotCorrupt: it is of another width.
    """
    head = found.ratings.numpy().astype(np.float64)
    if not head.size:
        return None
    if head.shape != (1 + held.residual.shape[1],):
        raise _mismatched(found.manifest)
    return RatingModel(head, held.effects, found.manifest.ratings)


def _rows(snapshot: Snapshot) -> Rows:
    return Rows(snapshot.content, snapshot.residual, snapshot.bias)


def _choice(held: Snapshot) -> SearchChoice:
    table, has_content = held.table, held.manifest.scans_content
    return SearchChoice(table.scanned, has_content, table.centroids, table.column("lists"))


def _check_sizes(snapshot: Snapshot | Update, layers: int) -> None:
    """Check the sizes that the manifest names against the tensors, before a model of these sizes is built."""
    version, sizes, learned = snapshot.manifest.version, snapshot.manifest.sizes, snapshot.learned
    adapter = learned.get("adapter_in")
    fits_tensors = adapter is not None and adapter.shape[0] == sizes.adapter_rank
    if sizes.layers > layers or not fits_rank(learned, sizes) or not fits_tensors:
        raise SnapshotCorrupt(f"snapshot {version}: the sizes that it names do not match its tensors")
    if sizes.user_attributes and len(snapshot.mixer) <= FIRST_OF_USER:
        raise SnapshotCorrupt(f"snapshot {version}: its mixer has no weights of a user's first act")
    if float(learned.get("log_scale", torch.zeros(()))) > LARGEST_LOG_SCALE:
        raise SnapshotCorrupt(f"snapshot {version}: log_scale is out of range; publish again or roll back")


def _check_learned(snapshot: Snapshot | Update, skeleton: Recommender, backbone: Backbone) -> None:
    """Check sizes: digests prove that the bytes are as written, not that the tensors match."""
    expected = {name: parameter.shape for name, parameter in skeleton.learned().items()}
    found = {name: tensor.shape for name, tensor in snapshot.learned.items()}
    if found != expected or not fits(backbone.model, snapshot.encoder):
        raise _mismatched(snapshot.manifest)


def _check_shapes(snapshot: Snapshot, backbone: Backbone) -> None:
    """Check the sizes of the items' columns; an update was checked to fit them."""
    rows, width = snapshot.manifest.rows, backbone.width
    consistent = (
        snapshot.content.shape == (rows, snapshot.manifest.sizes.columns(width))
        and snapshot.residual.shape == (rows, width)
        and snapshot.bias.shape == (rows,)
        and len(snapshot.table) == rows
    )
    if not consistent:
        raise _mismatched(snapshot.manifest)


def _mismatched(manifest: Manifest) -> SnapshotCorrupt:
    return SnapshotCorrupt(f"snapshot {manifest.version}: the sizes of its tensors do not match")
