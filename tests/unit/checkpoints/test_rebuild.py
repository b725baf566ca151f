"""Recovery: wherever a learner stops and whatever it restarts from, it becomes the same learner."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.checkpoints.store import KEEP_ADOPTED
from pipeline.errors import CheckpointCorrupt, CheckpointMissing, OffsetsExpired, TopicError
from pipeline.eventlog.sqlite import SqliteLog
from tests.support.model_harness import OPEN, ModelHarness, copy_of, tiny_settings

BATCHES = 6
STOPS = [(stop, kept) for stop in range(BATCHES + 1) for kept in sorted({0, max(0, stop - 1), stop})]
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """A folder with a log of items, answers, purchases, duplicates and bad records that nobody has read."""
    folder = tmp_path_factory.mktemp("recorded")
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness:
        harness.stock()
        for number in range(20):
            harness.show("ann", "red-cup", "blue-plate", name=f"i{number}")
            harness.shop(4)
        harness.act("ann", "blue-plate", impression="i19")
        harness.act("ann", "blue-plate", impression="unheard-of")
        harness.writer.append(harness.topics.impressions, "bob", b"bad")
        harness.act("ann", "red-cup", "unheard-of", event_id="e3")
        harness.writer.append(harness.topics.interactions, "bob", b"bad")
        harness.act("zoë", "unheard-of", "blue-plate")
    return folder


@pytest.fixture(scope="module")
def unbroken(recorded: Path, tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> str:
    """The digest of a learner that never stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    with copy_of(recorded, folder, backbone_folder) as harness, harness.learning() as learning:
        assert len(learning.new()) == BATCHES
        assert learning.learner.stream.outcomes.open == OPEN
        return learning.digest()


@pytest.fixture
def harness(recorded: Path, tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    with copy_of(recorded, tmp_path, backbone_folder) as harness:
        yield harness


@pytest.mark.parametrize(("stop", "kept"), STOPS)
def test_a_learner_stopped_anywhere_becomes_the_unbroken_one(
    harness: ModelHarness, unbroken: str, stop: int, kept: int
) -> None:
    with harness.learning() as first:
        first.new(kept)
        if kept:
            first.checkpoint()
        first.new(stop - kept)
    with harness.learning() as second:
        assert second.position.step == kept
        assert len(second.recover()) == stop - kept
        assert second.digest() == first.digest()
        second.new()
        assert second.digest() == unbroken


def test_a_learner_that_stops_in_every_batch_becomes_the_unbroken_one(
    harness: ModelHarness, unbroken: str
) -> None:
    for _ in range(BATCHES):
        with harness.learning() as learning:
            learning.recover()
            learning.checkpoint()
            learning.journal_only()
    with harness.learning() as learning:
        learning.catch_up()
        assert learning.digest() == unbroken == harness.rebuilt().digest


def test_a_rebuild_needs_no_checkpoint_and_agrees_with_one(harness: ModelHarness, unbroken: str) -> None:
    with harness.learning() as learning:
        learning.new()
        written = learning.checkpoint()
    learned = [len(batch.micro.interactions) for batch in learning.learned]
    counted: list[int] = []
    rebuilt = harness.rebuilt(progress=counted.append)
    assert rebuilt.digest == written == unbroken == harness.rebuilt(from_nothing=False).digest
    assert rebuilt.position == learning.position
    assert counted == learned


def test_a_rebuild_changes_nothing(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.new(3)
    before = harness.records(harness.topics.journal)
    harness.rebuilt()
    assert harness.records(harness.topics.journal) == before
    assert not harness.checkpoints.digests()


def test_there_is_nothing_to_rebuild_before_anything_was_learned(harness: ModelHarness) -> None:
    with pytest.raises(TopicError, match=r"mill\.journal is empty"):
        harness.rebuilt()


def test_a_rebuild_says_when_the_log_has_lost_what_was_learned(harness: ModelHarness, tmp_path: Path) -> None:
    with harness.learning() as learning:
        learning.new()
    later = max(record.append_time for record in harness.records(harness.topics.interactions))
    later += int(harness.settings.log.retention_hours * HOUR_MS) + 1
    with SqliteLog(tmp_path / "log.db", lambda: later) as log, log.writer() as writer:
        # The journal keeps its entries: a new one is there for what upkeep would take.
        journal = [record.value for record in harness.records(harness.topics.journal)]
        log.upkeep()
        for value in journal:
            writer.append(harness.topics.journal, None, value)
        writer.flush()
        with pytest.raises(OffsetsExpired) as caught:
            harness.rebuilt(log=log)
    assert caught.value.topic in (harness.topics.interactions, harness.topics.impressions)


def test_after_more_rollbacks_than_states_are_kept_a_rebuild_makes_again_those_that_are_gone(
    harness: ModelHarness,
) -> None:
    with harness.busy(batches=1) as learning:
        for _ in range(KEEP_ADOPTED + 3):
            harness.roll_back("1-1")
            learning.turns(1)
        learning.new(1)
        learning.checkpoint()
        begin = learning.position.version
        learning.new()
        learned = learning.digest()
    assert not harness.checkpoints.has_state("adopted/2")
    assert harness.rebuilt().digest == learned
    assert harness.rebuilt(since=begin).digest == learned
    assert not harness.checkpoints.has_state("adopted/2"), "a rebuild writes nothing"
    with pytest.raises(CheckpointMissing, match=f"no checkpoint 1-999 in .*; there are: .*{begin}"):
        harness.rebuilt(since="1-999")


def test_states_that_went_on_from_one_another_are_made_again(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        for version in ("1-2", "2-2", "3-2", "1-1", "4-2"):
            harness.roll_back(version, relearn=True)
            learning.turns(2)
        learning.new()
        learned = learning.digest()
    assert harness.rebuilt().digest == learned
    shutil.rmtree(harness.checkpoints.folder / "adopted")
    assert harness.rebuilt().digest == learned
    with harness.learning() as learning:
        learning.recover()
        assert learning.digest() == learned


def test_a_learner_whose_checkpoints_are_gone_becomes_the_unbroken_one(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        learning.checkpoint()
        harness.roll_back("1-2")
        learning.new()
        harness.roll_back("2-3")
        learning.new()
        learned = learning.digest()
        shutil.rmtree(harness.checkpoints.folder)
        harness.roll_back("2-2")
        learning.turns(1)
        assert learning.position.version == "4-2"
        adopted = learning.digest()
    shutil.rmtree(harness.checkpoints.folder)
    with harness.learning() as learning:
        assert learning.position.version == "1-0"
        learning.recover()
        assert learning.digest() == adopted
    assert harness.rebuilt(until="3-6").digest == learned


def test_a_damaged_state_is_made_again(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.roll_back("1-2")
        learning.new()
        learned = learning.digest()
    damaged = harness.checkpoints.folder / "adopted/2/learned.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with harness.learning() as learning:
        learning.recover()
        assert learning.digest() == learned


def test_a_candidates_state_that_is_gone_is_not_made_again(harness: ModelHarness) -> None:
    with harness.busy(batches=1) as learning:
        learning.checkpoint()
        harness.candidate("better", learning.captured())
        harness.promote("better")
        learning.turns(1)
        version = learning.position.version
    shutil.rmtree(harness.checkpoints.folder / "candidates")
    with pytest.raises(CheckpointCorrupt, match=f"{version} went on from .*wait for the next checkpoint"):
        harness.rebuilt()
    with (
        harness.learning() as learning,
        pytest.raises(CheckpointCorrupt, match=f"{version} went on from .*topics migrate --to"),
    ):
        learning.recover()


def test_items_that_compaction_took_leave_an_empty_batch(harness: ModelHarness, tmp_path: Path) -> None:
    with harness.learning() as learning:
        learning.new()
        harness.upsert("red-cup", "a new title")
        assert len(learning.new()) == 1
        harness.upsert("red-cup", "a newer title")
        assert len(learning.new()) == 1
    later = harness.records(harness.topics.items)[-1].append_time
    later += int(harness.settings.log.compaction_lag_hours * HOUR_MS) + 1
    with SqliteLog(tmp_path / "log.db", lambda: later) as log:
        log.upkeep()
        rebuilt = harness.rebuilt(log=log)
    assert rebuilt.position == learning.position
    catalogue = rebuilt.learner.stream.catalogue
    assert catalogue.text(catalogue.row("red-cup")) == "a newer title"
