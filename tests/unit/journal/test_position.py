"""Where a learner stands: where learning began, and what must be equal for its bits to be."""

from __future__ import annotations

import pytest

from pipeline.assembly import make_learner, make_supervisor
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.errors import CheckpointCorrupt
from pipeline.eventlog.port import TopicPartition
from pipeline.journal.entry import Adopts, JournalEntry, Verb
from pipeline.journal.position import Position, first_position
from pipeline.model.content.text import TextEncoder
from tests.support.model_harness import PARTITIONS, ModelHarness


def test_the_fingerprint_follows_what_decides_the_bits(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, supervisor = harness.learner(), harness.supervisor()
    usual = fingerprint(learner, supervisor)
    assert usual == fingerprint(learner, supervisor) == fingerprint(harness.learner(), harness.supervisor())
    learn = harness.settings.learn.replace(mixer_rate=0.5)
    faster = make_learner(harness.settings.model_copy(update={"learn": learn}))
    assert usual != fingerprint(faster, supervisor)
    drift = harness.settings.drift.replace(cooldown_events=7)
    calmer = make_supervisor(harness.settings.model_copy(update={"drift": drift}))
    assert usual != fingerprint(learner, calmer)
    monkeypatch.setattr(TextEncoder, "backbone_digest", "other")
    assert usual != fingerprint(learner, supervisor)


def test_what_was_there_before_the_learner_is_learned_too(harness: ModelHarness) -> None:
    harness.shop(3)
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        first = first_position(harness.log, harness.topics, journal, "fingerprint")
        assert first_position(harness.log, harness.topics, journal, "another") == first
    assert (first.generation, first.step, first.journal) == (1, 0, 1)
    assert set(first.offsets.values()) == {0}
    assert len(first.offsets) == 2 * PARTITIONS
    assert (first.through, first.fold_to) == (0, {})


def test_orders_from_before_the_learner_are_none_of_its(harness: ModelHarness) -> None:
    for _ in range(3):
        harness.writer.append(harness.topics.control, "key", b"{}")
    harness.writer.flush()
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        assert first_position(harness.log, harness.topics, journal, "").control == 3


def test_a_journal_without_its_beginning_is_not_begun_anew(harness: ModelHarness) -> None:
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        journal.append(JournalEntry.of(1, 7, Verb.LEARN, "", {TopicPartition("items", 0): 1}).encode())
        with pytest.raises(CheckpointCorrupt, match="no longer reaches back to its beginning"):
            first_position(harness.log, harness.topics, journal, "")


def test_a_position_is_what_the_entry_says() -> None:
    ends, gap = {TopicPartition("items", 0): 5}, {TopicPartition("items", 0): 9}
    adopts = Adopts(kind="rollback", state="adopted/2", order="key", reason="test")
    entry = JournalEntry.of(
        2, 3, Verb.ADOPT, "machine", ends, through=11, control=4, adopts=adopts, fold_to=gap
    )
    position = Position.after(entry, 17)
    assert position == Position(2, 3, "machine", 17, ends, through=11, control=4, fold_to=gap)
    assert position.version == "2-3"
