"""Snapshots: a published snapshot loads complete and equal, or is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import fsspec
import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SnapshotCorrupt
from pipeline.snapshots.snapshot import Announcement, Manifest, Snapshot, Version
from pipeline.snapshots.store import SnapshotStore, digest_of
from pipeline.state import counts
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import PREFIX, ModelHarness, tiny_settings

SECRETS = ("customer-4711", "event-of-customer", "session-of-customer")


def assert_same(loaded: Snapshot, direct: Snapshot) -> None:
    """Compare all but the manifest, which the direct snapshot does not have yet."""
    assert list(loaded.items.items()) == list(direct.items.items())
    for part in ("encoder", "learned"):
        mine, theirs = getattr(loaded, part), getattr(direct, part)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    for name in ("mixer", "content", "residual", "bias"):
        assert torch.equal(getattr(loaded, name), getattr(direct, name)), name
    for name in ("covisitation_base", "covisitation_recent"):
        mine, theirs = getattr(loaded, name), getattr(direct, name)
        assert mine.shape == theirs.shape
        assert (mine != theirs).nnz == 0, name
    assert loaded.covisitation_scale == direct.covisitation_scale
    assert np.array_equal(loaded.popularity, direct.popularity)
    assert len(fields(Snapshot)) == 12, "compare the new field, too"


def on(learning: LearnerHarness, harness: ModelHarness, acts: int = 20) -> None:
    """Append some acts and learn them."""
    harness.shop(acts)
    learning.new()


def folder_of(harness: ModelHarness, manifest: Manifest) -> Path:
    return Path(harness.settings.snapshots.store) / PREFIX / manifest.version


def newest(store: SnapshotStore) -> Snapshot:
    return store.load(store.versions()[-1])


def test_versions_are_in_order_of_generation_and_step() -> None:
    assert sorted(map(Version.parse, ["2-1", "1-10", "1-9"])) == [(1, 9), (1, 10), (2, 1)]
    assert str(Version.parse("12-345")) == "12-345"
    with pytest.raises(ValueError, match="invalid literal"):
        Version.parse("latest")


def test_full_and_deltas_load_as_published(harness: ModelHarness) -> None:
    publisher = harness.publisher()
    harness.stock("red", "blue")
    with harness.learning() as learning:
        for act in ("red-cup", "blue-lamp", "unheard-of", "red-plate"):
            harness.act("zoë", act, "red-cup")
            on(learning, harness)
            manifest = learning.publish(publisher)
            assert_same(newest(harness.store), learning.snapshot())
            assert manifest.rows == len(learning.learner.stream.catalogue)
    kinds = [harness.store.manifest(version).kind for version in harness.store.versions()]
    assert kinds == ["full", "delta", "delta", "delta"]


def test_a_delta_has_new_items_and_items_with_a_changed_text(harness: ModelHarness) -> None:
    publisher = harness.publisher()
    harness.stock("red")
    with harness.learning() as learning:
        on(learning, harness)
        full = learning.publish(publisher)
        harness.stock("green")
        harness.upsert("red-cup", "a blue cup")
        harness.act("ann", "item-without-text", "green-cup")
        on(learning, harness)
        delta = learning.publish(publisher)
        assert_same(harness.store.load(Version.parse(delta.version)), learning.snapshot())
    assert (delta.base, delta.parent, full.parent) == (full.version, full.version, None)
    # Green things were acted on before their upserts, so that the full one has their rows.
    assert set(delta.items) >= {"red-cup", "item-without-text", "green-cup"}
    assert "red-plate" not in delta.items


def test_a_delta_is_smaller_where_little_has_changed(harness: ModelHarness) -> None:
    publisher = harness.publisher()
    for number in range(300):
        harness.upsert(f"item{number}", f"lamp {number}")
    with harness.learning() as learning:
        harness.act("ann", "item1", "item2")
        learning.new()
        full = learning.publish(publisher)
        harness.act("ann", "item3")
        learning.new()
        delta = learning.publish(publisher)
    assert delta.files["items.safetensors"].size < 0.2 * full.files["items.safetensors"].size


def test_a_full_one_follows_the_last_delta(harness: ModelHarness) -> None:
    publisher = harness.publisher(full_every=2)
    with harness.learning() as learning:
        kinds = []
        for _ in range(7):
            on(learning, harness, acts=3)
            kinds.append(learning.publish(publisher).kind)
            assert_same(newest(harness.store), learning.snapshot())
    assert kinds == ["full", "delta", "delta", "full", "delta", "delta", "full"]


def test_merged_covisitation_forces_a_full_one(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = harness.publisher()
    with harness.learning() as learning:
        on(learning, harness)
        learning.publish(publisher)
        monkeypatch.setattr(counts, "MERGE_MINIMUM", 1)
        on(learning, harness)
        assert learning.learner.stream.covisitation.counts.base.nnz > 0
        manifest = learning.publish(publisher)
        assert_same(newest(harness.store), learning.snapshot())
    assert manifest.kind == "full"


def test_new_items_do_not_force_a_full_one(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = harness.publisher()
    with harness.learning() as learning:
        monkeypatch.setattr(counts, "MERGE_MINIMUM", 1)
        on(learning, harness)
        monkeypatch.undo()
        learning.publish(publisher)
        base = learning.learner.stream.covisitation.counts.base
        harness.act("zoë", "unheard-of", "red-cup")
        learning.new()
        grown = learning.learner.stream.covisitation.counts.base
        manifest = learning.publish(publisher)
        assert_same(newest(harness.store), learning.snapshot())
    assert grown.shape[0] > base.shape[0]
    assert grown.nnz == base.nnz > 0
    assert manifest.kind == "delta"


def test_equal_states_have_equal_digests_full_or_delta(harness: ModelHarness, tmp_path: Path) -> None:
    deltas, fulls = harness.publisher(), harness.publisher(SnapshotStore(str(tmp_path / "fulls"), PREFIX))
    harness.stock()
    with harness.learning() as learning:
        on(learning, harness)
        before = learning.publish(deltas)
        on(learning, harness)
        delta, full = learning.publish(deltas), learning.publish(fulls)
    assert (before.kind, delta.kind, full.kind) == ("full", "delta", "full")
    assert delta.digest == full.digest != before.digest


@pytest.fixture
def memory_url() -> Iterator[str]:
    yield "memory://snapshots"
    fsspec.filesystem("memory").store.clear()


def test_a_store_in_memory_works_like_one_on_disk(harness: ModelHarness, memory_url: str) -> None:
    publisher = harness.publisher(SnapshotStore(memory_url, PREFIX), full_every=1, keep=1)
    harness.stock()
    with harness.learning() as learning:
        for _ in range(5):
            on(learning, harness, acts=3)
            learning.publish(publisher)
            assert_same(newest(SnapshotStore(memory_url, PREFIX)), learning.snapshot())
    assert [str(version) for version in SnapshotStore(memory_url, PREFIX).versions()] == ["1-3", "1-4", "1-5"]


def test_models_do_not_see_each_others_snapshots(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        on(learning, harness)
        learning.publish(harness.publisher())
    assert SnapshotStore(harness.settings.snapshots.store, "another").versions() == []


def test_a_version_without_its_manifest_does_not_exist(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        on(learning, harness)
        manifest = learning.publish(harness.publisher())
    folder = folder_of(harness, manifest)
    (folder / "manifest.json").rename(folder / "manifest.json.part")
    assert harness.store.versions() == []
    with pytest.raises(SnapshotCorrupt, match="not in the store: publish again or roll back"):
        harness.store.load(Version.parse(manifest.version))


@pytest.mark.parametrize("name", ["learned.safetensors", "items.safetensors", "counts.safetensors"])
def test_the_manifest_is_written_when_all_files_are_there(harness: ModelHarness, name: str) -> None:
    with harness.learning() as learning:
        on(learning, harness)
        in_the_way = folder_of(harness, learning.snapshot().manifest) / name
        in_the_way.mkdir(parents=True)
        with pytest.raises(OSError, match=name):
            learning.publish(harness.publisher())
    assert harness.store.versions() == []


def test_pruning_keeps_what_deltas_need(harness: ModelHarness) -> None:
    publisher = harness.publisher(full_every=3, keep=2)
    with harness.learning() as learning:
        for _ in range(13):
            on(learning, harness, acts=2)
            learning.publish(publisher)
            versions = harness.store.versions()
            assert len(versions) <= 2 + 1 + 4, "the kept, their full one, and those until the next full one"
            assert_same(newest(harness.store), learning.snapshot())
            assert [harness.store.load(version).manifest.version for version in versions[-2:]]
    harness.store.prune(keep=1)
    assert [str(version) for version in harness.store.versions()] == ["1-13"]


def test_pruning_to_a_delta_keeps_its_full_one(harness: ModelHarness) -> None:
    publisher = harness.publisher()
    with harness.learning() as learning:
        for _ in range(4):
            on(learning, harness, acts=2)
            learning.publish(publisher)
        harness.store.prune(keep=1)
        assert [str(version) for version in harness.store.versions()] == ["1-1", "1-4"]
        assert_same(newest(harness.store), learning.snapshot())


def test_no_user_is_in_a_snapshot(harness: ModelHarness) -> None:
    user, event, session = SECRETS
    publisher = harness.publisher(full_every=2)
    with harness.learning() as learning:
        for number in range(4):
            harness.act(user, "red-cup", "blue-plate", event_id=f"{event}-{number}", session=session)
            on(learning, harness)
            learning.publish(publisher)
    assert len(learning.learner.stream.histories.of(user)) == 4
    files = [path for path in Path(harness.settings.snapshots.store).rglob("*") if path.is_file()]
    assert len(files) == 4 * 4
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in content], path


def test_an_announcement_names_the_snapshot(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        on(learning, harness)
        manifest = learning.publish(harness.publisher())
    announced = Announcement.model_validate_json(Announcement.of(manifest).encode())
    assert (announced.version, announced.digest, announced.reason) == (
        manifest.version,
        manifest.digest,
        "test",
    )
    assert announced.published_at == manifest.published_at > 0


class Published:
    """A full snapshot and a delta on disk that tests may damage; `restore` undoes the damage."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._good = folder.with_name("good")
        shutil.copytree(folder, self._good)
        self.files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())

    def load(self) -> Snapshot:
        return newest(SnapshotStore(str(self._folder), PREFIX))

    def path(self, file: Path) -> Path:
        return self._folder / file

    def restore(self, file: Path) -> None:
        shutil.copy(self._good / file, self._folder / file)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("published")
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness:
        harness.stock()
        publisher = harness.publisher()
        with harness.learning() as learning:
            for _ in range(2):
                on(learning, harness)
                learning.publish(publisher)
        yield Published(folder / "snapshots")


def is_manifest(file: Path) -> bool:
    return file.name == "manifest.json"


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_refused(published: Published, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from([file for file in published.files if not is_manifest(file)]))
    content = bytearray(published.path(file).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    published.path(file).write_bytes(content)
    try:
        with pytest.raises(SnapshotCorrupt, match=file.name):
            published.load()
    finally:
        published.restore(file)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_refused(published: Published, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(published.files))
    content = published.path(file).read_bytes()
    published.path(file).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        with pytest.raises(SnapshotCorrupt):
            published.load()
    finally:
        published.restore(file)


def test_a_missing_file_is_refused(published: Published) -> None:
    newest_version = published.load().manifest.version
    for file in published.files:
        if is_manifest(file) and file.parent.name == newest_version:
            continue  # without its manifest the version does not exist
        published.path(file).unlink()
        try:
            with pytest.raises(SnapshotCorrupt, match="publish again or roll back"):
                published.load()
        finally:
            published.restore(file)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_manifest_is_refused_or_harmless(published: Published, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from([file for file in published.files if is_manifest(file)]))
    content = bytearray(published.path(file).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    published.path(file).write_bytes(content)
    try:
        published.load()
    except SnapshotCorrupt:
        pass
    finally:
        published.restore(file)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"kind": "half"},
        {"kind": "full"},
        {"base": None},
        {"base": "1-99"},
        {"base": "newest"},
        {"version": "1-1"},
        {"files": {}},
        {"rows": 3},
        {"rows": 99},
        {"unknown": 1},
    ],
)
def test_a_manifest_with_other_values_is_refused(published: Published, change: dict[str, object]) -> None:
    file = Path(PREFIX) / published.load().manifest.version / "manifest.json"
    manifest = orjson.loads(published.path(file).read_bytes())
    assert manifest["kind"] == "delta"
    published.path(file).write_bytes(orjson.dumps({**manifest, **change}))
    try:
        with pytest.raises(SnapshotCorrupt, match="snapshot 1-"):
            published.load()
    finally:
        published.restore(file)


def test_bytes_that_are_no_tensors_are_refused(published: Published) -> None:
    manifest = published.load().manifest
    folder = Path(PREFIX) / manifest.version
    rubbish = b"rubbish"
    files = {**manifest.files, "items.safetensors": digest_of(rubbish)}
    published.path(folder / "items.safetensors").write_bytes(rubbish)
    changed = manifest.model_copy(update={"files": files})
    published.path(folder / "manifest.json").write_bytes(orjson.dumps(changed.model_dump()))
    try:
        with pytest.raises(SnapshotCorrupt, match="items.safetensors"):
            published.load()
    finally:
        for name in ("items.safetensors", "manifest.json"):
            published.restore(folder / name)


def test_a_snapshot_replaced_in_the_store_is_not_served_from_the_cache(harness: ModelHarness) -> None:
    store = harness.store
    with harness.learning() as learning:
        on(learning, harness)
        learning.publish(harness.publisher())
        assert_same(newest(store), learning.snapshot())
        harness.shop(5)
        learning.new()
        learning.publish(harness.publisher())
        assert_same(newest(store), learning.snapshot())
