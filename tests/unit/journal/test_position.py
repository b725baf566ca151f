"""Where a learner stands: where learning began, and what must be equal for its bits to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.assembly import make_learner, make_supervisor
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.errors import CheckpointCorrupt
from pipeline.eventlog.port import TopicPartition
from pipeline.journal.entry import Adopts, JournalEntry, Verb
from pipeline.journal.position import Position, check_position, first_position
from pipeline.model.content.text import TextEncoder
from tests.support.checkpoint_tools import with_fewer_tokens
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
    shorter = make_learner(with_fewer_tokens(harness.settings))
    assert usual != fingerprint(shorter, supervisor)
    monkeypatch.setattr(TextEncoder, "backbone_digest", "other")
    assert usual != fingerprint(learner, supervisor)


def test_what_was_there_before_the_learner_is_learned_too(harness: ModelHarness) -> None:
    harness.shop(3)
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        first = first_position(harness.log, harness.topics, journal, "fingerprint")
        assert first_position(harness.log, harness.topics, journal, "another") == first
    assert (first.generation, first.step, first.journal) == (1, 0, 1)
    assert set(first.offsets.values()) == {0}
    assert len(first.offsets) == 3 * PARTITIONS
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


SOURCE = TopicPartition("mill.interactions", 0)


def journalled(harness: ModelHarness) -> list[Position]:
    """Positions after three entries of a journal."""
    entries = [JournalEntry.of(1, step, Verb.LEARN, "f", {SOURCE: step}, control=7) for step in range(3)]
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        return [Position.after(entry, journal.append(entry.encode()) + 1) for entry in entries]


def test_a_position_that_the_journal_has_is_right(harness: ModelHarness) -> None:
    for position in journalled(harness):
        check_position(harness.log, harness.topics, position)
        check_position(harness.log, harness.topics, replace(position, topic_ids={"mill.items": "a"}))


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": {SOURCE: 10**9}},
        {"offsets": {}},
        {"journal": 10**9},
        {"journal": 1},
        {"journal": 0},
        {"control": 10**9},
        {"fold_to": {SOURCE: 10**9}},
    ],
    ids=str,
)
def test_a_position_of_which_the_journal_says_otherwise_is_refused(
    harness: ModelHarness, change: dict[str, Any]
) -> None:
    forged = replace(journalled(harness)[-1], **change)
    with pytest.raises(CheckpointCorrupt, match="checkpoint 1-2 does not stand where the journal says"):
        check_position(harness.log, harness.topics, forged)


def test_a_position_of_which_the_journal_says_nothing_is_not_judged(harness: ModelHarness) -> None:
    """Its log may have been restored from an old copy, which is a gap, and for a person to accept."""
    last = journalled(harness)[-1]
    check_position(harness.log, harness.topics, replace(last, step=9, journal=10))
    check_position(harness.log, harness.topics, replace(last, step=9))


def test_a_damaged_entry_is_left_to_who_learns_it_again(harness: ModelHarness) -> None:
    last = journalled(harness)[-1]
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        after = journal.append(b"damaged") + 1
    check_position(harness.log, harness.topics, replace(last, step=3, journal=after))
