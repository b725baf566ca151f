"""A later snapshot is made of what is served, unless that must stay as it is."""

from __future__ import annotations

import pytest
import torch

from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from pipeline.errors import SnapshotCorrupt
from pipeline.snapshots.snapshot import Version
from tests.support.serve_harness import World


def newest(world: World) -> Version:
    return world.store.versions()[-1]


def assert_same(one: LoadedSnapshot, other: LoadedSnapshot) -> None:
    assert one.version == other.version
    assert one.digests == other.digests
    assert one.rows == other.rows
    assert all(torch.equal(left, right) for left, right in zip(one.items, other.items, strict=True))
    assert one.popularity.counts.tolist() == other.popularity.counts.tolist()
    assert one.update is None


def test_changes_are_applied_in_place_and_make_the_snapshot_that_is_loaded_whole(world: World) -> None:
    world.open()
    loader = world.loader()
    before = loader.load(newest(world))
    old = [column.clone() for column in before.items]
    world.upsert("new", "green clock")
    world.act("ann", "new", "red-cup")
    world.learn()
    world.publish()
    waiting = loader.load(newest(world), before=before)
    assert waiting.update is not None
    assert all(torch.equal(one, other) for one, other in zip(before.items, old, strict=True))
    assert waiting.changes is not None
    assert "new" in waiting.changes.items
    whole = loader.load(newest(world))
    later = waiting.applied()
    assert later.held.table is before.held.table
    assert_same(later, whole)
    moved = (later.items.residual[: len(old[1])] != old[1]).any(dim=1).nonzero().flatten().tolist()
    assert moved
    assert set(moved) <= set(waiting.changes.learned.tolist())


def test_an_older_or_another_generations_snapshot_is_loaded_whole(world: World) -> None:
    world.open()
    loader = world.loader()
    first = newest(world)
    before = loader.load(first)
    world.shop(rounds=1)
    world.learn()
    world.publish()
    later = loader.load(newest(world))
    assert loader.load(first, before=later).update is None
    world.generation += 1
    world.publish()
    assert loader.load(newest(world), before=before).update is None


def test_changes_that_are_not_fit_leave_what_is_served(world: World) -> None:
    world.open()
    loader = world.loader()
    before = loader.load(newest(world))
    world.shop(rounds=1)
    world.learn()
    world.publish()
    other = world.loader()
    other._required["backbone"] = "another"
    with pytest.raises(SnapshotCorrupt, match="backbone"):
        other.load(newest(world), before=before)
    assert_same(before, loader.load(before.version))
