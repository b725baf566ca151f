"""Snapshots: a published snapshot loads complete and equal, or is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import fsspec
import numpy as np
import orjson
import pytest
import torch
from pydantic import SecretStr

from pipeline.errors import SnapshotCorrupt
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.codec import encode_layer
from pipeline.snapshots.digest import snapshot_digest
from pipeline.snapshots.layer import items_in
from pipeline.snapshots.publisher import PRUNE_EVERY
from pipeline.snapshots.snapshot import Manifest, Snapshot
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from tests.support.build import matrix_of
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import PREFIX, ModelHarness

SECRETS = ("customer-4711", "event-of-customer", "session-of-customer")


def assert_same(loaded: Snapshot, direct: Snapshot) -> None:
    """Compare all but the manifest, which the direct snapshot does not have yet."""
    assert list(loaded.items.items()) == list(direct.items.items())
    for part in ("encoder", "learned", "values", "latest"):
        mine, theirs = getattr(loaded, part), getattr(direct, part)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    for name in ("mixer", "ratings", "content", "residual", "bias"):
        assert torch.equal(getattr(loaded, name), getattr(direct, name)), name
    assert np.array_equal(matrix_of(loaded.table.pairs), matrix_of(direct.table.pairs))
    assert np.array_equal(loaded.effects, direct.effects)
    assert np.array_equal(loaded.table.popularity.counts, direct.table.popularity.counts)
    assert (loaded.table.ids, loaded.table.rows) == (direct.table.ids, direct.table.rows)
    assert snapshot_digest(loaded) == loaded.manifest.digest == snapshot_digest(direct)
    assert len(fields(Snapshot)) == 8, "compare the new field, too"


def on(learning: LearnerHarness, harness: ModelHarness, acts: int = 20) -> None:
    """Append some acts and learn them."""
    harness.shop(acts)
    learning.new()


def folder_of(harness: ModelHarness, manifest: Manifest) -> Path:
    return Path(harness.settings.snapshots.store) / PREFIX / manifest.version


def newest(store: SnapshotStore) -> Snapshot:
    return store.load(store.versions()[-1])


def test_full_and_deltas_load_as_published(harness: ModelHarness) -> None:
    publisher = harness.publisher()
    harness.stock("red", "blue")
    with harness.learning() as learning:
        for act in ("red-cup", "blue-lamp", "unheard-of", "red-plate"):
            harness.act("zoë", act, "red-cup")
            harness.act("yan", act, rating=4)
            on(learning, harness)
            manifest = learning.publish(publisher)
            assert_same(newest(harness.store), learning.snapshot())
            assert manifest.rows == len(learning.learner.stream.catalogue)
    assert np.flatnonzero(newest(harness.store).effects).size == 4
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
    assert (delta.layers[:-1], delta.parent, full.parent) == (full.layers, full.version, None)
    # Green things were acted on before their upserts, so that the full one has their rows.
    changed = dict(items_in(harness.store.layer(delta.layers[-1])["items"]))
    assert changed.keys() >= {"red-cup", "item-without-text", "green-cup"}
    assert "red-plate" not in changed


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
    assert delta.layers[-1].size < 0.2 * full.layers[0].size


def test_layers_of_like_size_are_merged_and_nothing_is_lost(harness: ModelHarness) -> None:
    publisher = harness.publisher(keep=100)
    with harness.learning() as learning:
        lengths = []
        for number in range(12):
            harness.upsert(f"new-{number}", f"cup number {number % 5}")
            on(learning, harness, acts=3)
            lengths.append(len(learning.publish(publisher).layers))
            assert_same(newest(harness.store), learning.snapshot())
    assert lengths == [1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 3]
    assert [harness.store.load(version).manifest.rows for version in harness.store.versions()]


def test_a_new_generation_and_a_restart_begin_anew(harness: ModelHarness) -> None:
    publisher = harness.publisher()
    with harness.learning() as learning:
        for _ in range(2):
            on(learning, harness)
            learning.publish(publisher)
        harness.roll_back("1-1")
        learning.turns(1)
        begun = learning.publish(publisher)
        assert_same(newest(harness.store), learning.snapshot())
        on(learning, harness)
        followed = learning.publish(publisher)
        assert_same(newest(harness.store), learning.snapshot())
        learning.checkpoint()
    with harness.learning() as learning:
        on(learning, harness)
        restarted = learning.publish(harness.publisher())
        assert_same(newest(harness.store), learning.snapshot())
    assert [manifest.kind for manifest in (begun, followed, restarted)] == ["full", "delta", "full"]
    assert followed.layers[:1] == begun.layers


def test_what_is_held_is_brought_up_to_any_later_version(harness: ModelHarness) -> None:
    publisher, store = harness.publisher(keep=100), harness.store
    harness.stock("red")
    with harness.learning() as learning:
        for number in range(9):
            harness.upsert(f"new-{number % 6}", f"cup number {number}")
            on(learning, harness, acts=3)
            learning.publish(publisher)
        direct = learning.snapshot()
    versions = store.versions()
    for first in versions:
        held = store.load(first)
        for version in (versions[-3], versions[-1]):
            update = store.changes(store.manifest(version), held)
            assert (update is None) == (version < first)
            if update is not None:
                assert len(update.layers) < len(update.manifest.layers)
                held = held.updated(update)
                assert_same(held, store.load(version))
        assert_same(held, direct)


def test_what_is_held_of_another_list_of_layers_is_loaded_anew(harness: ModelHarness) -> None:
    store = harness.store
    with harness.learning() as learning:
        on(learning, harness)
        learning.publish(harness.publisher())
        held = newest(store)
        on(learning, harness)
        learning.publish(harness.publisher())
        assert store.changes(store.manifest(store.versions()[-1]), held) is None
        harness.roll_back("1-1")
        learning.turns(1)
        learning.publish(harness.publisher())
    assert store.changes(store.manifest(store.versions()[-1]), held) is None
    assert_same(held, held)


def test_a_large_layer_is_mapped_and_changes_of_it_stay_in_memory(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.snapshots.store.MAPPED_BYTES", 0)
    publisher = harness.publisher()
    harness.stock()
    with harness.learning() as learning:
        learning.new()
        learning.publish(publisher)
        held = newest(harness.store)
        harness.upsert("red-cup", "another cup")
        on(learning, harness)
        manifest = learning.publish(publisher)
        update = harness.store.changes(manifest, held)
        assert update is not None
        assert_same(held.updated(update), learning.snapshot())
        assert_same(newest(harness.store), learning.snapshot())


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
    publisher = harness.publisher(SnapshotStore(memory_url, PREFIX), keep=1)
    harness.stock()
    with harness.learning() as learning:
        for _ in range(9):
            on(learning, harness, acts=3)
            learning.publish(publisher)
            assert_same(newest(SnapshotStore(memory_url, PREFIX)), learning.snapshot())
    assert [str(version) for version in SnapshotStore(memory_url, PREFIX).versions()] == ["1-9"]


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


@pytest.mark.parametrize("name", ["{version}/learned.safetensors", "layers"])
def test_the_manifest_is_written_when_all_files_are_there(harness: ModelHarness, name: str) -> None:
    with harness.learning() as learning:
        on(learning, harness)
        folder = folder_of(harness, learning.snapshot().manifest)
        in_the_way = folder.parent / name.format(version=folder.name)
        in_the_way.parent.mkdir(parents=True)
        in_the_way.mkdir() if name != "layers" else in_the_way.touch()
        with pytest.raises(OSError, match=in_the_way.name):
            learning.publish(harness.publisher())
    assert harness.store.versions() == []


def layers_in(harness: ModelHarness) -> set[str]:
    return {path.stem for path in (Path(harness.settings.snapshots.store) / PREFIX / "layers").iterdir()}


def layers_of_versions(harness: ModelHarness) -> set[str]:
    store = harness.store
    return {layer.sha256 for version in store.versions() for layer in store.manifest(version).layers}


def test_pruning_keeps_the_layers_that_kept_versions_have(harness: ModelHarness) -> None:
    publisher = harness.publisher(keep=2)
    with harness.learning() as learning:
        for _ in range(20):
            on(learning, harness, acts=2)
            learning.publish(publisher)
            versions = harness.store.versions()
            assert len(versions) <= 2 + PRUNE_EVERY
            assert all(harness.store.load(version) for version in versions)
            assert_same(newest(harness.store), learning.snapshot())
    harness.store.prune(keep=1)
    assert [str(version) for version in harness.store.versions()] == ["1-20"]
    assert_same(newest(harness.store), learning.snapshot())


def test_layers_of_unfinished_publications_are_removed_by_the_next_learner(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        on(learning, harness)
        learning.publish(harness.publisher())
        harness.store.put_layer(encode_layer(learning.snapshot().table.layer()), None, 99)
        assert len(layers_in(harness)) == 2
        on(learning, harness)
        learning.publish(harness.publisher())
    assert layers_in(harness) == layers_of_versions(harness)


def test_no_user_is_in_a_snapshot(harness: ModelHarness) -> None:
    user, event, session = SECRETS
    publisher = harness.publisher()
    with harness.learning() as learning:
        for number in range(4):
            harness.act(user, "red-cup", "blue-plate", event_id=f"{event}-{number}", session=session)
            on(learning, harness)
            learning.publish(publisher)
    assert len(learning.learner.stream.histories.of(user)) == 4
    files = [path for path in Path(harness.settings.snapshots.store).rglob("*") if path.is_file()]
    assert len(files) == 4 * 2 + 4
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in content], path


def test_an_announcement_names_the_snapshot(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        on(learning, harness)
        manifest = learning.publish(harness.publisher())
    seal = harness.store.seal(Version.parse(manifest.version))
    announced = Announcement.decode(Announcement.of(manifest, seal).encode())
    assert (announced.version, announced.seal, announced.reason) == (manifest.version, seal, "test")
    assert seal.size == (folder_of(harness, manifest) / "manifest.json").stat().st_size
    assert announced.published_at == manifest.published_at > 0


def test_a_snapshot_larger_than_the_settings_allow_is_refused_unread(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        on(learning, harness)
        version = Version.parse(learning.publish(harness.publisher()).version)
    manifest = harness.store.manifest(version)
    size = sum(file.size for file in (*manifest.files.values(), *manifest.layers))
    small = SnapshotStore(harness.settings.snapshots.store, PREFIX, most_bytes=size - 1)
    with pytest.raises(SnapshotCorrupt, match=r"most_bytes allows \d+; raise it"):
        small.load(version)


KEY, OTHER_KEY = SecretStr("a key of the tests"), SecretStr("another key of them")


def test_a_signed_snapshot_is_read_with_the_key_and_refused_with_another(harness: ModelHarness) -> None:
    url = harness.settings.snapshots.store
    with harness.learning() as learning:
        on(learning, harness)
        version = Version.parse(learning.publish(harness.publisher(SnapshotStore(url, PREFIX, KEY))).version)
        on(learning, harness)
        unsigned = Version.parse(learning.publish(harness.publisher()).version)
    assert SnapshotStore(url, PREFIX, KEY).load(version).manifest.version == str(version)
    assert harness.store.load(version).manifest.version == str(version), (
        "a reader without a key asks for none"
    )
    for key, refused in (OTHER_KEY, version), (KEY, unsigned):
        with pytest.raises(SnapshotCorrupt, match=r"not signed with this key \(snapshots.key\)"):
            SnapshotStore(url, PREFIX, key).load(refused)


def test_the_old_format_is_refused_by_name(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        on(learning, harness)
        manifest = learning.publish(harness.publisher())
    path = folder_of(harness, manifest) / "manifest.json"
    path.write_bytes(orjson.dumps({"format": 5, **manifest.model_dump()}))
    with pytest.raises(SnapshotCorrupt, match="it has format 5, and this millstream reads format 6"):
        harness.store.load(Version.parse(manifest.version))


STRANGERS = ("6-375.bak", "1-1 (copy)", ".1-9.part", "latest", "٣-٤", "1-", "01-1")


def test_strangers_and_unreadable_versions_are_left_alone(
    harness: ModelHarness, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(harness.settings.snapshots.store) / PREFIX
    for name in STRANGERS:
        (root / name).mkdir(parents=True)
        (root / name / "manifest.json").write_text("{}")
    (root / "9-9").write_text("a file")
    (root / "1-0").mkdir()
    (root / "1-0" / "manifest.json").write_text('{"format": 2}')
    publisher = harness.publisher(keep=3)
    with harness.learning() as learning:
        for _ in range(3):
            on(learning, harness, acts=2)
            learning.publish(publisher)
            assert_same(newest(harness.store), learning.snapshot())
    assert "has format 2" in caplog.text and "pruning goes on without it" in caplog.text
    assert {path.name for path in root.iterdir()} >= {*STRANGERS, "9-9"}
    harness.store.prune(keep=1)
    assert not (root / "1-0").exists()


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
