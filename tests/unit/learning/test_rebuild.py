"""Recovery: wherever a learner stops and whatever it restarts from, it becomes the same learner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import OffsetsExpired, TopicError
from pipeline.eventlog.sqlite import SqliteLog
from tests.mill import Mill, copy_of, tiny_settings

BATCHES = 6
STOPS = [(stop, kept) for stop in range(BATCHES + 1) for kept in sorted({0, max(0, stop - 1), stop})]
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """A folder with a log of items, purchases, duplicates and bad records that nobody has read yet."""
    folder = tmp_path_factory.mktemp("recorded")
    with Mill(tiny_settings(folder, backbone_folder)) as mill:
        mill.stock()
        mill.shop(70)
        mill.act("ann", "red-cup", "unheard-of", event_id="e3")
        mill.writer.append(mill.topics.interactions, "bob", b"bad")
        mill.act("zoë", "unheard-of", "blue-plate")
    return folder


@pytest.fixture(scope="module")
def unbroken(recorded: Path, tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> str:
    """The digest of a learner that never stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    with copy_of(recorded, folder, backbone_folder) as mill, mill.life() as life:
        assert len(life.new()) == BATCHES
        return life.digest()


@pytest.fixture
def mill(recorded: Path, tmp_path: Path, backbone_folder: Path) -> Iterator[Mill]:
    with copy_of(recorded, tmp_path, backbone_folder) as mill:
        yield mill


@pytest.mark.parametrize(("stop", "kept"), STOPS)
def test_a_learner_stopped_anywhere_becomes_the_unbroken_one(
    mill: Mill, unbroken: str, stop: int, kept: int
) -> None:
    with mill.life() as first:
        first.new(kept)
        if kept:
            first.checkpoint()
        first.new(stop - kept)
    with mill.life() as second:
        assert second.position.step == kept
        assert len(second.again()) == stop - kept
        assert second.digest() == first.digest()
        second.new()
        assert second.digest() == unbroken


def test_a_learner_that_stops_in_every_batch_becomes_the_unbroken_one(mill: Mill, unbroken: str) -> None:
    for _ in range(BATCHES):
        with mill.life() as life:
            life.again()
            life.checkpoint()
            life.journal_only()
    with mill.life() as life:
        life.catch_up()
        assert life.digest() == unbroken == mill.rebuilt().digest


def test_a_rebuild_needs_no_checkpoint_and_agrees_with_one(mill: Mill, unbroken: str) -> None:
    with mill.life() as life:
        life.new()
        written = life.checkpoint()
    learned = [len(batch.micro.interactions) for batch in life.learned]
    told: list[int] = []
    rebuilt = mill.rebuilt(progress=told.append)
    assert rebuilt.digest == written == unbroken == mill.rebuilt(from_nothing=False).digest
    assert rebuilt.position == life.position
    assert told == learned


def test_a_rebuild_changes_nothing(mill: Mill) -> None:
    with mill.life() as life:
        life.new(3)
    before = mill.records(mill.topics.journal)
    mill.rebuilt()
    assert mill.records(mill.topics.journal) == before
    assert not mill.checkpoints.digests()


def test_there_is_nothing_to_rebuild_before_anything_was_learned(mill: Mill) -> None:
    with pytest.raises(TopicError, match=r"mill\.journal is empty"):
        mill.rebuilt()


def test_a_rebuild_says_when_the_log_has_lost_what_was_learned(mill: Mill, tmp_path: Path) -> None:
    with mill.life() as life:
        life.new()
    later = max(record.append_time for record in mill.records(mill.topics.interactions))
    later += int(mill.settings.log.retention_hours * HOUR_MS) + 1
    with SqliteLog(tmp_path / "log.db", lambda: later) as log, log.writer() as writer:
        # The journal keeps its entries: a new one is there for what upkeep would take.
        journal = [record.value for record in mill.records(mill.topics.journal)]
        log.upkeep()
        for value in journal:
            writer.append(mill.topics.journal, None, value)
        writer.flush()
        with pytest.raises(OffsetsExpired) as caught:
            mill.rebuilt(log=log)
    assert caught.value.topic == mill.topics.interactions


def test_items_that_compaction_took_leave_an_empty_batch(mill: Mill, tmp_path: Path) -> None:
    with mill.life() as life:
        life.new()
        mill.upsert("red-cup", "a new title")
        assert len(life.new()) == 1
        mill.upsert("red-cup", "a newer title")
        assert len(life.new()) == 1
    later = mill.records(mill.topics.items)[-1].append_time
    later += int(mill.settings.log.compaction_lag_hours * HOUR_MS) + 1
    with SqliteLog(tmp_path / "log.db", lambda: later) as log:
        log.upkeep()
        rebuilt = mill.rebuilt(log=log)
    assert rebuilt.position == life.position
    catalogue = rebuilt.learner.stream.catalogue
    assert catalogue.text(catalogue.row("red-cup")) == "a newer title"
