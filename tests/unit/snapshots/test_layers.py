"""Layers: whatever changes, is published, refused, merged, begun anew or pruned, the state is what loads."""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray
from safetensors.numpy import load as read_arrays

from pipeline.config import ModelSizes
from pipeline.snapshots import table
from pipeline.snapshots.announcement import Seal
from pipeline.snapshots.codec import arrays_in, encode_layer, tensors_in
from pipeline.snapshots.digest import StateDigest, snapshot_digest
from pipeline.snapshots.layer import (
    Layer,
    RowValues,
    centroids_of,
    items_in,
    layer_of,
    merged,
    scanned_of,
    texts_of,
)
from pipeline.snapshots.layer_list import FAN_IN, MOST_LAYERS, SMALLEST_BYTES, LayerList, mergeable
from pipeline.snapshots.snapshot import LayerFile, Manifest, Snapshot, Update
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.table import LEAST_SPARSE
from pipeline.snapshots.version import Version
from tests.support.build import matrix_of

WIDTH = 3
Rows = NDArray[np.int64]


class State:
    """A learner's public state in plain arrays, and the rows that changed since they were last taken."""

    def __init__(self) -> None:
        self.items: list[tuple[str, str]] = []
        self.vectors, self.residual = (np.zeros((0, WIDTH), dtype) for dtype in (np.float16, np.float32))
        self.bias, self.effects = np.zeros((2, 0), dtype=np.float32)
        self.acts = np.zeros(0)
        self.pairs = np.zeros((0, 0))
        self.scale = 1.0
        self.scanned, self.centroids = np.zeros(0, dtype=np.int64), np.zeros((0, WIDTH), dtype=np.float32)
        self.lists = np.zeros(0, dtype=np.int32)
        self.changed, self.changed_slots, self.has_new_centroids = set[int](), set[int](), False

    def add(self) -> None:
        """Add an item without anything."""
        size = len(self.items) + 1
        self.items.append((f"item {size}", ""))
        for name in ("vectors", "residual", "bias", "effects", "acts", "lists"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array, shape=(1, *array.shape[1:]))]))
        self.pairs = np.pad(self.pairs, (0, 1))
        self.changed.add(size - 1)

    def change(self, row: int, random: np.random.Generator) -> None:
        """Change everything of a row; some values become zero."""
        self.items[row] = self.items[row][0], random.choice(["", "-", "ab" * 16])
        self.vectors[row], self.residual[row] = random.integers(0, 2, (2, WIDTH))
        self.bias[row], self.effects[row], self.acts[row] = random.integers(0, 2, 3)
        self.lists[row] = random.integers(0, len(self.centroids) + 1)
        self.pairs[row] = random.integers(0, 3, len(self.items)) * random.integers(0, 2)
        self.scale *= 0.5
        self.changed.add(row)

    def choose(self, random: np.random.Generator) -> None:
        """Scan other rows, perhaps fewer; the first time, make centroids."""
        before, size = self.scanned, len(self.items)
        self.scanned = random.permutation(size)[: random.integers(size + 1)]
        padded = np.full((2, size), -1)
        padded[0, : before.size], padded[1, : self.scanned.size] = before, self.scanned
        self.changed_slots |= set(np.flatnonzero(padded[0] != padded[1]).tolist())
        if not len(self.centroids):
            self.centroids = random.integers(0, 2, (1 + size // 2, WIDTH)).astype(np.float32)
            self.has_new_centroids = True

    def layer(self, rows: Rows, slots: Rows, has_centroids: bool) -> Layer:
        """Copy rows and slots."""
        at, columns = np.nonzero(self.pairs[rows])
        lengths = np.bincount(at, minlength=rows.size).astype(np.int32)
        counts = self.pairs[rows][at, columns]
        return {
            "items": texts_of([self.items[row] for row in rows], rows),
            "content": RowValues(rows, {"vectors": self.vectors[rows]}),
            "learned": RowValues(rows, {"residual": self.residual[rows], "bias": self.bias[rows]}),
            "rated": RowValues(rows, {"effects": self.effects[rows]}),
            "popularity": RowValues(rows, {"counts": self.acts[rows]}),
            "pairs": RowValues(rows, {"columns": columns.astype(np.int32), "counts": counts}, lengths),
            "scanned": scanned_of(slots, self.scanned),
            "centroids": centroids_of(self.centroids if has_centroids else None, WIDTH),
            "indexed": RowValues(rows, {"lists": self.lists[rows]}),
        }

    def whole(self) -> Layer:
        """Copy everything."""
        return self.layer(np.arange(len(self.items)), np.arange(self.scanned.size), has_centroids=True)

    def update(self, version: Version, is_whole: bool) -> Update:
        """Take what changed, or all."""
        rows, slots = (np.array(sorted(some), dtype=np.int64) for some in (self.changed, self.changed_slots))
        layer = self.whole() if is_whole else self.layer(rows, slots, self.has_new_centroids)
        if is_whole:
            kept = "items", "centroids"
            layer = {name: part if name in kept else part.without_zeros() for name, part in layer.items()}
        self.changed, self.changed_slots, self.has_new_centroids = set(), set(), False
        mixer, ratings = torch.zeros(1, 2), torch.zeros(0)
        return Update(manifest(version, self), {}, {}, mixer, ratings, {}, {}, [layer], is_whole)


def manifest(version: Version, state: State) -> Manifest:
    return Manifest(
        model="model",
        version=str(version),
        kind="full",
        reason="test",
        digest="",
        files={},
        layers=(),
        pair_scale=state.scale,
        popularity_scale=state.scale,
        backbone="backbone",
        max_tokens=8,
        sizes=ModelSizes(),
        rows=len(state.items),
        scans_content=bool(len(state.centroids)),
        offsets={},
        learned_through=0,
        published_at=0,
        events=0,
        quality={},
    )


def assert_holds(snapshot: Snapshot, state: State) -> None:
    table = snapshot.table
    assert list(snapshot.items.items()) == state.items
    assert table.ids == [item for item, _ in state.items]
    assert table.rows == {item: row for row, item in enumerate(table.ids)}
    for name in ("vectors", "residual", "bias", "effects", "lists"):
        np.testing.assert_array_equal(table.column(name), getattr(state, name))
    for gathered in (snapshot.residual[torch.arange(len(state.items))], snapshot.residual.float()):
        np.testing.assert_array_equal(gathered, state.residual)
    np.testing.assert_array_equal(table.popularity.counts, state.acts * state.scale)
    np.testing.assert_array_equal(matrix_of(table.pairs), state.pairs * state.scale)
    assert table.scanned.tolist() == state.scanned.tolist()
    held = np.zeros((0, WIDTH)) if table.centroids is None else table.centroids
    np.testing.assert_array_equal(held, state.centroids)
    digest = StateDigest()
    digest.update(state.whole(), len(state.items))
    assert digest.of(snapshot) == snapshot_digest(snapshot) == snapshot.manifest.digest
    assert snapshot.manifest.rows == len(state.items)


class RefusingStore(SnapshotStore):
    """Refuses what it is told to: the next layer, or the next manifest."""

    refused = ""

    def put_layer(self, *arguments: Any) -> LayerFile:
        self._refuse("layer")
        return super().put_layer(*arguments)

    def publish(self, *arguments: Any) -> Seal:
        self._refuse("manifest")
        return super().publish(*arguments)

    def _refuse(self, what: str) -> None:
        if self.refused == what:
            self.refused = ""
            raise OSError("refused")


class Publications(RuleBasedStateMachine):
    """A state that changes, a store, a list of layers, and a server that follows now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.state, self.layers = State(), LayerList()
        self.store = RefusingStore(self.folder.name, "model")
        self.version, self.patch = Version(1, 0), pytest.MonkeyPatch()

    def teardown(self) -> None:
        self.patch.undo()
        self.folder.cleanup()

    @initialize(seed=st.integers(0, 2**32 - 1), least_sparse=st.sampled_from([0, LEAST_SPARSE]))
    def begin(self, seed: int, least_sparse: int) -> None:
        self.patch.setattr(table, "LEAST_SPARSE", least_sparse)
        self.random = np.random.default_rng(seed)
        self.state.add()
        self.publish()
        self.held = self.store.load(self.version)

    @rule(count=st.integers(1, 4))
    def add_items(self, count: int) -> None:
        for _ in range(count):
            self.state.add()

    @rule(count=st.integers(1, 6))
    def change(self, count: int) -> None:
        for row in self.random.integers(len(self.state.items), size=count):
            self.state.change(int(row), self.random)

    @rule()
    def choose(self) -> None:
        self.state.choose(self.random)

    @rule()
    def publish(self) -> None:
        self.layers.store(self.added(), self.store)
        self.published = deepcopy(self.state)
        self.layers.shorten(self.store)

    @rule(versions=st.integers(FAN_IN, 3 * FAN_IN))
    def publish_often(self, versions: int) -> None:
        for _ in range(versions):
            self.change(1)
            if self.random.integers(2):
                self.choose()
            self.publish()
            if self.random.integers(2):
                self.follow()

    @rule(what=st.sampled_from(["layer", "manifest"]))
    def refuse(self, what: str) -> None:
        self.add_items(1)
        self.change(2)
        self.store.refused = what
        with pytest.raises(OSError, match="refused"):
            self.layers.store(self.added(), self.store)

    @rule(what=st.sampled_from(["layer", "manifest"]))
    def restart(self, what: str) -> None:
        """Begin anew, perhaps after a publication that was never finished."""
        self.refuse(what)
        self.layers = LayerList()
        self.publish()

    @rule()
    def adopt(self) -> None:
        """Begin a new generation, with another state."""
        self.version = Version(self.version.generation + 1, self.version.step // 2)
        self.change(3)
        self.publish()

    @rule(keep=st.integers(1, 4))
    def prune(self, keep: int) -> None:
        self.store.prune(keep)

    @rule()
    def follow(self) -> None:
        """Bring what a server holds up to the newest version."""
        newest = self.store.versions()[-1]
        update = self.store.changes(self.store.manifest(newest), self.held)
        if update is None:
            self.held = self.store.load(newest)
        else:
            self.held.reserve(update)
            self.held = self.held.updated(update)
        assert_holds(self.held, self.published)

    @invariant()
    def versions_load(self) -> None:
        fresh = SnapshotStore(self.folder.name, "model")
        for version in fresh.versions():
            loaded = fresh.load(version)
            assert snapshot_digest(loaded) == loaded.manifest.digest
            assert len(loaded.manifest.layers) < 4 * FAN_IN
        assert_holds(loaded, self.published)

    def added(self) -> Update:
        """Capture the next version, and add it to the layers."""
        self.version = self.version._replace(step=self.version.step + 1)
        is_whole = self.layers.begins_anew(self.version.generation)
        update = self.state.update(self.version, is_whole)
        self.layers.add(update)
        return update


def test_a_store_that_refuses_manifests_for_long_leads_to_a_new_list(tmp_path: Path) -> None:
    state, store, layers = State(), RefusingStore(str(tmp_path), "model"), LayerList()
    state.add()
    for step in range(2 * MOST_LAYERS + 9):
        state.change(0, np.random.default_rng(step))
        update = state.update(Version(1, step), layers.begins_anew(1))
        layers.add(update)
        store.refused = "" if step == 2 * MOST_LAYERS + 8 else "manifest"
        with nullcontext() if not store.refused else pytest.raises(OSError, match="refused"):
            layers.store(update, store)
    loaded = store.load(Version(1, step))
    assert_holds(loaded, state)
    assert len(loaded.manifest.layers) <= MOST_LAYERS + 1


TestPublications = Publications.TestCase
TestPublications.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


def sizes_after(count: int, size: int) -> list[int]:
    """Sizes of layers after so many publications of different rows."""
    sizes = [1]
    for _ in range(count):
        sizes.append(size)
        while merging := mergeable(sizes):
            sizes = [*sizes[:-merging], sum(sizes[-merging:])]
    return sizes


@pytest.mark.parametrize("size", [1, SMALLEST_BYTES, 3 * SMALLEST_BYTES, 100 * SMALLEST_BYTES])
def test_layers_stay_few_and_each_is_written_a_few_times(size: int) -> None:
    count = 2_000
    sizes = sizes_after(count, size)
    assert sum(sizes) == 1 + count * size
    assert sizes[0] == 1, "the first is never merged"
    assert len(sizes) <= (FAN_IN - 1) * 7 + 1


def test_a_merge_keeps_the_last_value_of_each_row() -> None:
    state, random = State(), np.random.default_rng(3)
    layers = list[Layer]()
    for number in range(12):
        state.add()
        for row in random.integers(len(state.items), size=2):
            state.change(int(row), random)
        state.choose(random)
        layers += state.update(Version(1, number), is_whole=False).layers
    found, expected = merged(layers), state.whole()
    assert items_in(found["items"]) == state.items
    found = {**found, "scanned": found["scanned"].without_zeros()}
    for name, part in expected.items():
        np.testing.assert_array_equal(found[name].rows, part.rows)
        for column, values in part.values.items():
            np.testing.assert_array_equal(found[name].values[column], values)


def test_the_file_of_a_layer_is_one_that_safetensors_reads() -> None:
    state, random = State(), np.random.default_rng(5)
    for number in range(5):
        state.add()
        state.change(number, random)
    state.choose(random)
    content = b"".join(encode_layer(state.whole()))
    arrays = arrays_in(content, tensors_in(content))
    read = read_arrays(content)
    assert arrays.keys() == read.keys()
    for name, array in read.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert items_in(layer_of(arrays)["items"]) == state.items


@pytest.mark.parametrize("part", ["items", "learned", "popularity", "pairs", "scanned"])
def test_any_changed_value_changes_the_digest(part: str) -> None:
    state, random = State(), np.random.default_rng(5)
    for number in range(5):
        state.add()
        state.change(number, random)
    state.pairs[1, 2] = state.acts[1] = state.bias[1] = 1
    state.scanned = np.array([1, 3])
    snapshot = Snapshot.of(state.update(Version(1, 1), is_whole=True))
    before = snapshot_digest(snapshot)
    match part:
        case "items":
            state.items[1] = state.items[1][0], "cd" * 16
        case "learned":
            state.bias[1] += 1
        case "popularity":
            state.acts[1] += 1
        case "pairs":
            state.pairs[1, 2] += 1
        case "scanned":
            state.scanned = np.array([3, 1])
    assert snapshot_digest(Snapshot.of(state.update(Version(1, 1), is_whole=True))) != before
