"""Publishing: the log holds what a server needs before a snapshot is announced."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.eventlog.port import read_compacted
from pipeline.snapshots.announcement import Announcement, Seal
from pipeline.snapshots.digest import snapshot_digest
from pipeline.snapshots.history_records import read_history_record
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.snapshot import LayerFile
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import PREFIX, ModelHarness


def learned(harness: ModelHarness, learning: LearnerHarness) -> Publication:
    """Learn some purchases and a bad record; return the publication."""
    harness.stock()
    harness.shop(10)
    harness.writer.append(harness.topics.interactions, "ann", b"bad")
    harness.writer.flush()
    batches = learning.new()
    users = {user: end for batch in batches for user, end in batch.users.items()}
    histories = {user: (learning.learner.stream.histories.of(user), end) for user, end in users.items()}
    refused = [letter for batch in batches for letter in batch.refused]
    return Publication(learning.update(), histories, refused, [])


class WatchedStore(SnapshotStore):
    """Records what the log holds when a snapshot is stored."""

    def __init__(self, harness: ModelHarness) -> None:
        super().__init__(harness.settings.snapshots.store, PREFIX)
        self._harness = harness
        self.seen: dict[str, int] = {}

    def publish(self, *arguments: object) -> Seal:
        topics = self._harness.topics
        for topic in (topics.histories, topics.dead_letters, topics.snapshots):
            self.seen[topic] = len(self._harness.records(topic))
        return super().publish(*arguments)  # type: ignore[arg-type]


def test_histories_and_dead_letters_are_written_before_the_snapshot_and_its_announcement(
    harness: ModelHarness,
) -> None:
    store = WatchedStore(harness)
    with harness.learning() as learning:
        harness.publisher(store).publish(learned(harness, learning))
    topics = harness.topics
    assert store.seen == {topics.histories: 5, topics.dead_letters: 1, topics.snapshots: 0}
    assert len(harness.records(topics.snapshots)) == 1


def test_histories_in_the_log_end_at_the_offset_of_each_user(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        harness.publisher().publish(learned(harness, learning))
    histories = read_compacted(harness.log, harness.topics.histories)
    assert histories.keys() == dict(learning.learner.stream.histories.items()).keys()
    for record in harness.records(harness.topics.interactions):
        assert record.key is not None and record.value is not None
        history, end, _ = read_history_record(record.key, histories[record.key].value or b"")
        assert history == learning.learner.stream.histories.of(record.key)
        assert record.value == b"bad" or end > record.offset
        assert histories[record.key].partition == record.partition


def test_an_announcement_names_a_snapshot_that_is_in_the_store(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        manifest = harness.publisher().publish(learned(harness, learning))
    (record,) = harness.records(harness.topics.snapshots)
    announced = Announcement.decode(record.value or b"")
    assert record.key == PREFIX
    assert harness.store.manifest(Version.parse(announced.version)) == manifest
    assert announced.seal == harness.store.seal(Version.parse(announced.version))
    assert manifest.learned_offsets == harness.learned(learning.position)
    assert manifest.events == 10


def test_nothing_is_announced_when_the_store_fails(harness: ModelHarness) -> None:
    Path(harness.settings.snapshots.store).write_text("a file where the folder must be")
    with harness.learning() as learning, pytest.raises(OSError, match="snapshots"):
        harness.publisher().publish(learned(harness, learning))
    assert harness.records(harness.topics.snapshots) == []


def test_the_parent_is_the_version_published_before(harness: ModelHarness) -> None:
    publisher = harness.publisher()
    with harness.learning() as learning:
        versions: list[str | None] = [None]
        for _ in range(4):
            harness.shop(3)
            learning.new()
            manifest = learning.publish(publisher)
            assert manifest.parent == versions[-1]
            versions.append(manifest.version)
    assert publisher.last_version() == Version(1, 4)


def test_a_new_publisher_has_published_nothing(harness: ModelHarness) -> None:
    assert harness.publisher().last_version() is None


class FailingStore(SnapshotStore):
    """Refuses as many manifests and layers as `manifests` and `layers` say."""

    def __init__(self, harness: ModelHarness) -> None:
        super().__init__(harness.settings.snapshots.store, PREFIX)
        self.manifests = self.layers = 0

    def publish(self, *arguments: object) -> Seal:
        if self.manifests:
            self.manifests -= 1
            raise OSError("the store fails")
        return super().publish(*arguments)  # type: ignore[arg-type]

    def put_layer(self, *arguments: object) -> LayerFile:
        if self.layers:
            self.layers -= 1
            raise OSError("the store fails")
        return super().put_layer(*arguments)  # type: ignore[arg-type]


def failing(
    harness: ModelHarness, learning: LearnerHarness, published: int
) -> tuple[FailingStore, Publisher]:
    """A store that may refuse, and a publisher to it that has published so many snapshots."""
    store = FailingStore(harness)
    publisher = harness.publisher(store)
    for _ in range(published):
        learning.publish(publisher)
    return store, publisher


@pytest.mark.parametrize(("manifests", "layers"), [(2, 0), (0, 2), (1, 1)])
@pytest.mark.parametrize("before", [0, 1])
def test_what_the_store_refused_is_in_the_next_snapshot(
    harness: ModelHarness, before: int, manifests: int, layers: int
) -> None:
    with harness.busy() as learning:
        store, publisher = failing(harness, learning, before)
        store.manifests, store.layers = manifests, layers
        for number in range(2):
            harness.upsert(f"new-{number}", f"lamp {number}")
            harness.shop(3)
            learning.new()
            with pytest.raises(OSError, match="the store fails"):
                learning.publish(publisher)
        harness.shop(3)
        learning.new()
        after = learning.publish(publisher)
        loaded = harness.store.load(Version.parse(after.version))
        assert (loaded.manifest, snapshot_digest(loaded)) == (after, snapshot_digest(learning.snapshot()))
        assert after.digest == snapshot_digest(loaded)


@pytest.mark.parametrize("refused", [1, 3, 9])
@pytest.mark.parametrize("before", [0, 1])
def test_a_version_whose_manifest_was_refused_is_published_again_though_nothing_was_learned_since(
    harness: ModelHarness, before: int, refused: int
) -> None:
    with harness.busy() as learning:
        store, publisher = failing(harness, learning, before)
        harness.shop(3)
        learning.new()
        store.manifests = refused
        for _ in range(refused):
            with pytest.raises(OSError, match="the store fails"):
                learning.publish(publisher)
        for _ in range(2):
            manifest = learning.publish(publisher)
            loaded = harness.store.load(Version.parse(manifest.version))
            assert snapshot_digest(loaded) == manifest.digest == snapshot_digest(learning.snapshot())
            harness.shop(3)
            learning.new()


def test_servers_read_what_a_learner_without_acts_publishes_after_a_restart(harness: ModelHarness) -> None:
    harness.stock()
    with harness.learning() as learning:
        learning.new()
        learning.checkpoint()
    with harness.learning() as learning:
        learning.recover()
        manifest = learning.publish(harness.publisher())
        assert snapshot_digest(harness.store.load(Version.parse(manifest.version))) == manifest.digest
