"""One snapshot of the store is served whatever is announced."""

from __future__ import annotations

import pytest

from consumers.serve.follow.one_snapshot import OneSnapshot
from pipeline.errors import SnapshotMissing
from pipeline.snapshots.version import Version
from tests.support.serve_harness import World


def test_the_version_is_loaded_once_though_a_newer_one_is_announced(world: World) -> None:
    world.stock()
    for _ in range(2):
        world.shop(rounds=1)
        world.learn()
        world.publish()
    first, *_, newest = world.store.versions()
    source = OneSnapshot(world.loader(), first)
    source.observe(world.records(world.topics.snapshots))
    snapshot = source.load_newest()
    assert snapshot is not None
    assert snapshot.version == first != newest
    assert source.load_newest(before=snapshot) is None


def test_a_version_that_is_gone_is_an_error(world: World) -> None:
    with pytest.raises(SnapshotMissing, match="9-9"):
        OneSnapshot(world.loader(), Version(9, 9)).load_newest()
