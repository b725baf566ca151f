"""Compressed snapshots: rounded alike however they are published, and refused where they make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import orjson
import pytest
import torch

from pipeline.checkpoints.audit import agreement
from pipeline.config import CompressionConfig, Settings, VectorEncoding
from pipeline.errors import SnapshotCorrupt
from pipeline.sealing import seal, unseal
from pipeline.snapshots.codec import encode_layer
from pipeline.snapshots.compression import compressed
from pipeline.snapshots.digest import snapshot_digest
from pipeline.snapshots.filesystem import FORMAT, MANIFEST
from pipeline.snapshots.layer import ENCODED_PARTS, PARTS, Layer, RowValues
from pipeline.snapshots.layer_list import FAN_IN, store_whole
from pipeline.snapshots.snapshot import Snapshot, Update
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import PREFIX, ModelHarness

ENCODINGS = [encoding for encoding in get_args(VectorEncoding) if encoding != "exact"]
SIZES = {"exact": 6, "float16": 4, "int8": 2}
"""Bytes of the two numbers that an item has of each dimension."""


def with_compression(settings: Settings, **changes: object) -> Settings:
    compression = CompressionConfig().replace(**changes)
    return settings.model_copy(update={"snapshots": settings.snapshots.replace(compression=compression)})


def published(update: Update, config: CompressionConfig) -> Snapshot:
    """What an update with all rows is for a server."""
    return Snapshot.of(compressed(update, config))


def assert_published(harness: ModelHarness, learning: LearnerHarness) -> Snapshot:
    """Check that the newest version says what the learner has, compressed."""
    store, config = harness.store, harness.settings.snapshots.compression
    loaded = store.load(store.versions()[-1])
    direct = published(learning.update(), config)
    assert snapshot_digest(loaded) == loaded.manifest.digest == snapshot_digest(direct)
    for name in ("vectors", "residual", "bias"):
        assert np.array_equal(loaded.table.column(name), direct.table.column(name)), name
    return loaded


def on(harness: ModelHarness, learning: LearnerHarness) -> None:
    harness.shop(20)
    learning.new()


def test_every_encoding_has_the_parts_of_a_layer() -> None:
    assert ENCODED_PARTS.keys() == set(get_args(VectorEncoding))
    assert all(parts.keys() == PARTS.keys() for parts in ENCODED_PARTS.values())


def test_what_is_not_compressed_is_what_was_captured(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        update = learning.update()
        assert compressed(update, CompressionConfig()) is update


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_full_ones_deltas_and_merged_layers_are_rounded_alike(settings: Settings, encoding: str) -> None:
    with ModelHarness(with_compression(settings, vectors=encoding)) as harness:
        publisher = harness.publisher(keep=100)
        harness.stock()
        with harness.learning() as learning:
            on(harness, learning)
            learning.publish(publisher)
            held = assert_published(harness, learning)
            for number in range(2 * FAN_IN):
                harness.upsert(f"new{number}", f"lamp {number}")
                on(harness, learning)
                learning.publish(publisher)
                loaded = assert_published(harness, learning)
                update = harness.store.changes(loaded.manifest, held)
                assert update is not None, "a delta stays a delta"
                held.reserve(update)
                held = held.updated(update)
                assert snapshot_digest(held) == loaded.manifest.digest
            exact = learning.snapshot()
        forms = loaded.manifest.layers[0].tensors
        numbers = sum(forms[name].bytes for name in ("content.vectors", "learned.residual"))
        assert forms["content.vectors"].shape == forms["learned.residual"].shape
        assert numbers / np.prod(forms["content.vectors"].shape) == SIZES[encoding]
    for name in ("content", "residual"):
        learned, found = getattr(exact, name).float(), getattr(loaded, name).float()
        assert not torch.equal(found, learned) or (encoding, name) == ("float16", "content")
        assert (found - learned).abs().max() <= learned.abs().max() / 254 * 1.001


def test_another_restart_or_rollback_has_the_digest_of_what_is_served(settings: Settings) -> None:
    with ModelHarness(with_compression(settings, vectors="int8")) as harness:
        harness.stock()
        with harness.learning() as learning:
            on(harness, learning)
            left = learning.publish(harness.publisher())
            learning.checkpoint()
            assert snapshot_digest(learning.snapshot()) != left.digest, "it is rounded"
            again = agreement(
                learning.learner, learning.supervisor, learning.position, harness.checkpoints, harness.store
            )
            assert (again.checkpoint, again.snapshot) == (True, True)
            on(harness, learning)
            learning.publish(harness.publisher())
            harness.roll_back(left.version)
            learning.turns(1)
            back = learning.publish(harness.publisher())
    assert (back.digest, back.version) == (left.digest, f"2-{Version.parse(left.version).step}")


def test_settings_that_change_begin_a_list_that_servers_load_whole(settings: Settings) -> None:
    with ModelHarness(settings) as harness, harness.learning() as learning:
        harness.stock()
        on(harness, learning)
        held = harness.store.load(Version.parse(learning.publish(harness.publisher()).version))
        on(harness, learning)
        harness.settings = with_compression(settings, vectors="int8")
        manifest = learning.publish(harness.publisher())
        assert harness.store.changes(manifest, held) is None
        assert_published(harness, learning)


def test_an_unknown_encoding_is_refused_with_a_remedy(settings: Settings) -> None:
    with ModelHarness(with_compression(settings, vectors="int8")) as harness, harness.learning() as learning:
        version = learning.publish(harness.publisher()).version
        path = Path(harness.settings.snapshots.store) / PREFIX / version / MANIFEST
        fields = orjson.loads(unseal(path.read_bytes(), FORMAT))
        for vectors, reason in (
            (
                "int4",
                "compression.vectors: .*; let the learner publish again, or serve it with the millstream",
            ),
            ("exact", "does not match the rest|holds .*vector_scales.*; publish again or roll back"),
        ):
            path.write_bytes(seal(orjson.dumps({**fields, "compression": {"vectors": vectors}}), FORMAT))
            with pytest.raises(SnapshotCorrupt, match=reason):
                harness.store.load(Version.parse(version))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_values_that_are_not_finite_are_refused(
    settings: Settings, tmp_path: Path, encoding: VectorEncoding
) -> None:
    with ModelHarness(settings) as harness, harness.learning() as learning:
        harness.stock()
        on(harness, learning)
        update = learning.update()
    layer: Layer = update.layers[0]
    residual = layer["learned"].values["residual"].copy()
    residual[0, 0] = np.nan
    learned = RowValues(layer["learned"].rows, {**layer["learned"].values, "residual": residual})
    poisoned = Update(**{**vars(update), "layers": [{**layer, "learned": learned}]})
    store = SnapshotStore(str(tmp_path / "other"), PREFIX)
    store_whole(compressed(poisoned, CompressionConfig(vectors=encoding)), store)
    with pytest.raises(SnapshotCorrupt, match="residual.* is not finite"):
        store.load(Version.parse(update.manifest.version))


def test_the_same_rows_have_the_same_bytes(settings: Settings) -> None:
    """What is content-addressed stays so: a state that is published again needs no other file."""
    with ModelHarness(settings) as harness, harness.learning() as learning:
        harness.stock()
        on(harness, learning)
        one, other = (
            compressed(learning.update(), CompressionConfig(vectors="int8")).layers[0] for _ in range(2)
        )
    assert b"".join(encode_layer(one)) == b"".join(encode_layer(other))
