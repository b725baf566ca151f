"""A server encodes new texts with the encoder of the snapshot that it serves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from consumers.serve.state.serving_state import View
from pipeline.errors import SnapshotCorrupt
from pipeline.metrics import Series, value_of
from pipeline.model.backbone import Backbone
from pipeline.snapshots.version import Version
from tests.support.build import vectors_of
from tests.support.retrain_harness import some_adapter
from tests.support.serve_harness import World


def content_of(view: View, item: str) -> NDArray[np.float32]:
    assert view.items is not None
    (row,) = view.index.rows_of([item])
    content: NDArray[np.float32] = view.items.sparse.content[torch.tensor([row])][0].numpy()
    return content


def adopt_encoder(world: World) -> None:
    """Publish a later generation with another encoder, as an adoption does."""
    world.learner.reencode(some_adapter(world.learner.encoder))
    world.generation += 1
    world.publish()


def test_a_swap_to_another_encoder_encodes_new_texts_again(world: World) -> None:
    world.open()
    world.upsert("new", "green clock holder")
    with world.server() as current:
        before = content_of(world.shown(current), "new")
        adopt_encoder(world)
        early = world.shown(current)
        assert early.snapshot is not None
        assert early.snapshot.version.generation == 2
    encoder, table = world.learner.encoder, world.learner.table.all()
    np.testing.assert_array_equal(content_of(early, "new"), encoder.encode(["green clock holder"])[0])
    assert abs(before - content_of(early, "new")).max() > 0.01
    row = world.learner.stream.catalogue.row("red-cup")
    np.testing.assert_array_equal(content_of(early, "red-cup"), table.content[row].numpy())
    with world.server() as current:
        late = world.shown(current)
    assert late.items is not None and early.items is not None
    assert all(
        torch.equal(one, other) for one, other in zip(early.items.dense, late.items.dense, strict=True)
    )


def test_a_swap_to_the_same_encoder_keeps_the_vectors(world: World) -> None:
    world.open()
    adopt_encoder(world)
    world.upsert("new", "green clock holder")
    with world.server() as current:
        before = content_of(world.shown(current), "new")
        world.shop(rounds=1)
        world.learn()
        world.publish()
        np.testing.assert_array_equal(content_of(world.shown(current), "new"), before)
    with closing(world.encoder()) as encoder:
        adapted = encoder.adapted(world.learner.encoder.adapter)
        np.testing.assert_array_equal(adapted.encode(["green clock holder"])[0], before)


def unread(series: Series) -> float:
    return value_of(series, "millstream_unread_vectors_total", daemon="serve", reason="width")


def test_vectors_of_new_items_are_read_as_the_snapshot_s_model_reads_them(
    tmp_path: Path, backbone: Backbone, exposed: Callable[[], Series]
) -> None:
    with World(tmp_path, backbone, vectors={"picture": 4}) as world:
        world.open()
        world.upsert("new", "green clock holder")
        world.change("red-cup", vectors={"picture": (0.0, 3.0, 0.0, 4.0)})
        world.change("blue-cup", vectors={"picture": (1.0,)})
        before = unread(exposed())
        with world.server() as current:
            early = world.shown(current)
            assert early.pending_texts == 0
            world.learn()
            world.publish()
            late = world.shown(current)
    found = {item: content_of(early, item)[-4:].tolist() for item in ("new", "red-cup", "blue-cup")}
    direction = np.array(vectors_of("new", {"picture": 4})["picture"])
    np.testing.assert_allclose(found["new"], direction / np.linalg.norm(direction), atol=1e-3)
    np.testing.assert_allclose(found["red-cup"], [0, 0.6, 0, 0.8], atol=1e-3)
    assert found["blue-cup"] == [0, 0, 0, 0]
    for item in found:
        np.testing.assert_array_equal(content_of(early, item), content_of(late, item))
    assert unread(exposed()) == before + 1


@pytest.mark.parametrize("damage", ["unknown", "infinite"])
def test_an_encoder_that_is_not_fit_is_refused(world: World, damage: str) -> None:
    world.open()
    adapter = some_adapter(world.learner.encoder)
    name = next(iter(adapter))
    unfit = {"unknown": torch.zeros(2)} if damage == "unknown" else adapter | {name: adapter[name] / 0}
    world.promote(replace(world.update(is_whole=True), encoder=unfit), Version(2, 1))
    with pytest.raises(SnapshotCorrupt, match="do not match" if damage == "unknown" else "not finite"):
        world.loader().load(Version(2, 1))
