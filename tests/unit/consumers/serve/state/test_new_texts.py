"""A server encodes new texts with the encoder of the snapshot that it serves."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from consumers.serve.state.serving_state import View
from pipeline.errors import SnapshotCorrupt
from pipeline.snapshots.snapshot import Version
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


@pytest.mark.parametrize("damage", ["unknown", "infinite"])
def test_an_encoder_that_is_not_fit_is_refused(world: World, damage: str) -> None:
    world.open()
    adapter = some_adapter(world.learner.encoder)
    name = next(iter(adapter))
    unfit = {"unknown": torch.zeros(2)} if damage == "unknown" else adapter | {name: adapter[name] / 0}
    world.promote(replace(world.update(is_whole=True), encoder=unfit), Version(2, 1))
    with pytest.raises(SnapshotCorrupt, match="do not match" if damage == "unknown" else "not finite"):
        world.loader().load(Version(2, 1))
