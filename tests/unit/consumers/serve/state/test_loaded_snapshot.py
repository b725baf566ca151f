"""A later snapshot is made of what is served, unless that must stay as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch.onnx import OnnxExporterError

from consumers.serve.query import RecommendationQuery
from consumers.serve.state import loaded_snapshot
from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotLoader
from consumers.serve.state.serving_state import ServingState
from pipeline.config import CompressionConfig, RetrievalConfig, ServeConfig
from pipeline.errors import SnapshotCorrupt
from pipeline.model.backbone import Backbone
from pipeline.snapshots.version import Version
from tests.support.answers import recommend
from tests.support.serve_harness import START, THINGS, World

LENGTH, EXACT = 20, ServeConfig()
RUNTIMES: tuple[Literal["torch", "onnx"], ...] = ("torch", "onnx")


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


def test_each_swap_reads_only_what_has_changed_since_the_one_before(world: World) -> None:
    world.open()
    loader = world.loader()
    served = loader.load(newest(world))
    for _ in range(2):
        world.shop(rounds=1)
        world.learn()
        world.publish()
        waiting = loader.load(newest(world), before=served)
        assert waiting.update is not None
        assert len(waiting.update.layers) == 1
        served = waiting.applied()
    assert_same(served, loader.load(newest(world)))


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


@pytest.mark.parametrize(
    ("compression", "serving"),
    [
        (CompressionConfig(vectors="float16"), EXACT),
        (CompressionConfig(vectors="int8"), EXACT),
        (CompressionConfig(adapter_share=0.95), EXACT),
        (CompressionConfig(), ServeConfig(precision="int8")),
    ],
    ids=["float16", "int8", "pruned", "int8 tower"],
)
@pytest.mark.parametrize("exact_items", [0, 10_000], ids=["candidates", "all items"])
def test_a_server_of_a_compressed_snapshot_answers_nearly_as_one_of_an_exact_one(
    tmp_path: Path,
    backbone: Backbone,
    compression: CompressionConfig,
    serving: ServeConfig,
    exact_items: int,
) -> None:
    exact, compressed = (
        top_lists(tmp_path / name, backbone, config, serve, exact_items)
        for name, config, serve in (
            ("exact", CompressionConfig(), EXACT),
            ("compressed", compression, serving),
        )
    )
    assert exact != compressed
    for user, (items, scores) in exact.items():
        others, other_scores = compressed[user]
        assert len({*items} & {*others}) >= 0.9 * LENGTH, user
        assert other_scores == pytest.approx(scores, rel=0.05)


def test_a_server_whose_tower_onnxruntime_computes_answers_as_another(
    tmp_path: Path, backbone: Backbone
) -> None:
    by_torch, by_onnx = (
        top_lists(tmp_path / runtime, backbone, CompressionConfig(), ServeConfig(runtime=runtime), 10_000)
        for runtime in RUNTIMES
    )
    assert list((tmp_path / "onnx" / "cache").glob("tower-*.onnx"))
    for user, (items, scores) in by_torch.items():
        others, other_scores = by_onnx[user]
        assert items == others, user
        assert other_scores == pytest.approx(scores, rel=1e-4)


def test_a_tower_that_cannot_be_exported_is_computed_by_torch(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OnnxExporterError("no such operator\nand where")

    world.open()
    monkeypatch.setattr(loaded_snapshot, "exported", refuse)
    loader = SnapshotLoader(world.store, world.backbone, world.settings.model, ServeConfig(runtime="onnx"))
    assert loader.load(newest(world)).tower is None
    assert "serve.runtime is onnx, but this model is computed by torch: no such operator" in caplog.messages


def top_lists(
    folder: Path, backbone: Backbone, compression: CompressionConfig, serving: ServeConfig, exact_items: int
) -> dict[str, tuple[list[str], list[float]]]:
    """Items and scores for each user, by a server that has loaded a full snapshot and applied two deltas."""
    folder.mkdir()
    retrieval = RetrievalConfig(exact_items=exact_items)
    with World(folder, backbone, retrieval=retrieval, compression=compression) as world:
        for number in range(100):
            world.upsert(f"item{number}", f"{THINGS[number % 4]} {number}")
        world.open()
        loader = SnapshotLoader(world.store, backbone, world.settings.model, serving)
        loaded = loader.load(newest(world))
        for _ in range(2):
            world.shop(rounds=2)
            world.learn()
            world.publish()
            loaded = loader.load(newest(world), before=loaded)
            assert loaded.update is not None
            loaded = loaded.applied()
        topics = world.topics.interactions, world.topics.items
        histories = world.learner.stream.histories
        state = ServingState(loaded, histories, {}, topics, retrieval=retrieval)
        state.read(world.records(world.topics.items))
        view, query = state.view(), RecommendationQuery(k=LENGTH)
        assert (view.scans is None) == bool(exact_items)
        found = {
            user: recommend(view, histories.of(user), None, query, 5, now=START)
            for user in ("ann", "bob", "cyd")
        }
        return {
            user: ([view.index.ids[row] for row in one.rows], list(one.scores)) for user, one in found.items()
        }
