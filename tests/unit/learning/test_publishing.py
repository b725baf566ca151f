"""Publishing: what a server needs is in the log before it hears of a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.eventlog.port import read_compacted
from pipeline.learning.publishing import Publication
from pipeline.snapshots.snapshot import Announcement, Version
from pipeline.snapshots.store import SnapshotStore
from pipeline.state.histories import decode_history
from tests.life import Life
from tests.mill import PREFIX, Mill


def learned(mill: Mill, life: Life) -> Publication:
    """Some purchases and a bad record, learned and ready to go out."""
    mill.stock()
    mill.shop(10)
    mill.writer.append(mill.topics.interactions, "ann", b"bad")
    mill.writer.flush()
    batches = life.new()
    users = {user: end for batch in batches for user, end in batch.users.items()}
    histories = {user: (life.learner.stream.histories.of(user), end) for user, end in users.items()}
    refused = [letter for batch in batches for letter in batch.refused]
    return Publication(life.snapshot(), histories, refused, [])


class WatchedStore(SnapshotStore):
    """Says what the log held when a snapshot came to be stored."""

    def __init__(self, mill: Mill) -> None:
        super().__init__(mill.settings.snapshots, PREFIX)
        self._mill = mill
        self.seen: dict[str, int] = {}

    def publish(self, *arguments: object) -> None:
        topics = self._mill.topics
        for topic in (topics.histories, topics.dead_letters, topics.snapshots):
            self.seen[topic] = len(self._mill.records(topic))
        super().publish(*arguments)  # type: ignore[arg-type]


def test_histories_and_dead_letters_are_there_before_the_snapshot_and_its_announcement(mill: Mill) -> None:
    store = WatchedStore(mill)
    with mill.life() as life:
        mill.publisher(store).publish(learned(mill, life))
    topics = mill.topics
    assert store.seen == {topics.histories: 5, topics.dead_letters: 1, topics.snapshots: 0}
    assert len(mill.records(topics.snapshots)) == 1


def test_histories_in_the_log_reach_the_offset_of_each_user(mill: Mill) -> None:
    with mill.life() as life:
        mill.publisher().publish(learned(mill, life))
    told = read_compacted(mill.log, mill.topics.histories)
    assert told.keys() == dict(life.learner.stream.histories.items()).keys()
    for record in mill.records(mill.topics.interactions):
        assert record.key is not None and record.value is not None
        history, end = decode_history(told[record.key].value or b"")
        assert history == life.learner.stream.histories.of(record.key)
        assert record.value == b"bad" or end > record.offset
        assert told[record.key].partition == record.partition


def test_an_announcement_names_a_snapshot_that_is_in_the_store(mill: Mill) -> None:
    with mill.life() as life:
        manifest = mill.publisher().publish(learned(mill, life))
    (record,) = mill.records(mill.topics.snapshots)
    told = Announcement.model_validate_json(record.value or b"")
    assert record.key == PREFIX
    assert mill.store.manifest(Version.parse(told.version)) == manifest
    assert told.digest == manifest.digest
    assert manifest.learned_offsets == life.position.offsets
    assert manifest.events == 10


def test_nothing_is_announced_when_the_store_fails(mill: Mill) -> None:
    Path(mill.settings.snapshots).write_text("a file where the folder must be")
    with mill.life() as life, pytest.raises(OSError, match="snapshots"):
        mill.publisher().publish(learned(mill, life))
    assert mill.records(mill.topics.snapshots) == []


def test_the_parent_is_what_was_published_before(mill: Mill) -> None:
    publisher = mill.publisher(full_every=1)
    with mill.life() as life:
        versions: list[str | None] = [None]
        for _ in range(4):
            mill.shop(3)
            life.new()
            manifest = life.publish(publisher)
            assert manifest.parent == versions[-1]
            versions.append(manifest.version)
    assert publisher.last_version() == Version(1, 4)


def test_nothing_is_published_before_anything_is(mill: Mill) -> None:
    assert mill.publisher().last_version() is None
