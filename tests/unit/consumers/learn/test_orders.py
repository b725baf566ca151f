"""Orders: what can be carried out is made ready, what cannot is refused aloud, and learning goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from pipeline.checkpoints import store
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.store import KEEP_ADOPTED
from pipeline.control.records import Refusal
from pipeline.errors import StorageUnavailable
from pipeline.journal.entry import JournalEntry, Verb, read_journal
from pipeline.journal.position import Position
from pipeline.journal.turns import Batch
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import ModelHarness

HOUR_MS = 3_600_000


def last_entry(harness: ModelHarness) -> JournalEntry:
    return list(read_journal(harness.log, harness.topics.journal))[-1][0]


def read_ids(harness: ModelHarness, begin: Position) -> list[str]:
    """Ids of all interactions from a position on."""
    return sorted(
        orjson.loads(record.value or b"")["event_id"]
        for record in harness.records(harness.topics.interactions)
        if record.offset >= begin.offsets[record.source]
    )


def ids(batches: list[Batch]) -> list[str]:
    return sorted(event.event_id for batch in batches for event in batch.micro.interactions)


def promote_larger(harness: ModelHarness, learning: LearnerHarness) -> Position:
    """Let a candidate take over that has learned nothing and has a larger rank; return its position."""
    other = harness.learner()
    other.reset(other.config.replace(sizes=other.config.sizes.replace(lora_rank=3)))
    birth = replace(learning.position, offsets=dict.fromkeys(learning.position.offsets, 0), step=0)
    harness.candidate("larger", capture(other, None, birth))
    harness.promote("larger")
    learning.turns(1)
    return birth


# Promotions.


def test_a_candidate_takes_over_at_its_offsets_and_learns_what_came_since_once(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        candidate = learning.captured()
        learning.new(1)
        harness.candidate("better", candidate)
        key = harness.promote("better", generation=1)
        learning.turns(1)
        assert learning.position.version == "2-3"
        assert learning.position.offsets == candidate.position.offsets
        assert learning.position.through == candidate.position.through
        assert learning.position.fold_to == {}
        assert learning.digest() == harness.checkpoints.digest(
            replace(candidate, supervisor=learning.captured().supervisor)
        )
        entry = last_entry(harness)
        batches = learning.new()
    assert entry.adopts is not None
    assert (entry.adopts.kind, entry.adopts.order) == ("promotion", key)
    assert ids(batches) == read_ids(harness, candidate.position)
    assert all(batch.micro.learns and batch.position.generation == 2 for batch in batches)
    assert learning.learner.stream.events == 60
    assert harness.published(Refusal) == []


def test_a_candidate_may_have_other_sizes(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        birth = promote_larger(harness, learning)
        assert learning.learner.config.sizes.lora_rank == 3
        batches = learning.new()
    assert ids(batches) == read_ids(harness, birth)


def test_a_rollback_from_other_sizes_to_those_of_the_settings_warns_of_none(
    harness: ModelHarness, caplog: pytest.LogCaptureFixture
) -> None:
    with harness.busy() as learning:
        promote_larger(harness, learning)
        assert "learn.sizes.lora_rank is 2 in the settings and 3 in it" in caplog.text
        caplog.clear()
        harness.roll_back("1-3")
        learning.turns(1)
        assert learning.learner.config.sizes.lora_rank == 2
    assert "in the settings and" not in caplog.text


def test_an_order_given_twice_is_carried_out_once(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.candidate("better", learning.captured())
        key = harness.promote("better", generation=1)
        harness.promote("better", generation=1)
        learning.new()
        assert learning.position.generation == 2
    assert [verb for _, verb in harness.verbs()].count(Verb.ADOPT) == 1
    assert [refusal.order for refusal in harness.published(Refusal)] == [key]


GARBAGE = (
    b"",
    b"\xff\x00",
    b"[]",
    b"1",
    b"null",
    b"{}",
    b'"promotion"',
    b'{"kind": ["promotion"]}',
    b'{"kind": "promotion"}',
    b'{"kind": "rollback", "version": "../1-1", "relearn": false, "generation": 1}',
    b'{"kind":"promotion","candidate":"../candidates/x","generation":1,"ordered_at":0,"reason":""}',
    b'{"kind": "rollback", "version": "1-1"} and more',
    b"[" * 100_000,
)


def test_garbage_on_the_control_topic_is_passed_over(
    harness: ModelHarness, caplog: pytest.LogCaptureFixture
) -> None:
    with harness.busy() as learning:
        harness.candidate("better", learning.captured())
        for wire in GARBAGE:
            harness.control(wire)
        harness.writer.append(harness.topics.control, "tombstone", None)
        harness.promote("better")
        learning.turns(1)
        assert learning.position.version == "2-3", "what comes after it is obeyed"
    assert caplog.text.count("cannot be decoded") >= len(GARBAGE) - 2, "nothing, and another kind, are silent"
    assert harness.published(Refusal) == []


def test_garbage_is_read_once(harness: ModelHarness, caplog: pytest.LogCaptureFixture) -> None:
    with harness.busy() as learning:
        harness.control(b"garbage")
        learning.new(1)
        assert "cannot be decoded" in caplog.text
    caplog.clear()
    with harness.learning() as learning:
        learning.catch_up()
    assert "cannot be decoded" not in caplog.text


def test_what_others_tell_on_the_control_topic_is_no_order(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.order(Refusal(order="promotion-x-1", reason="test"))
        learning.new(1)
        assert learning.position.version == "1-4"
        assert last_entry(harness).control == 1, "read, and not to be read again"


# Rollbacks.


@pytest.mark.parametrize("version", ["1-0", "1-1", "1-2", "1-3"])
def test_any_version_of_the_journal_can_be_returned_to(harness: ModelHarness, version: str) -> None:
    with harness.busy() as learning:
        left = learning.position
        harness.roll_back(version)
        learning.turns(1)
        assert learning.position.version == f"2-{version[2:]}"
        assert learning.position.fold_to == harness.learned(left)
    assert learning.digest() == harness.checkpoints.digest(
        replace(harness.rebuilt(until=version).captured, supervisor=learning.captured().supervisor)
    )


def test_a_rollback_to_relearn_folds_nothing(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.roll_back("1-1", relearn=True)
        learning.turns(1)
        assert learning.position.fold_to == {}
        assert all(batch.micro.learns for batch in learning.new())


def test_several_orders_in_a_row_are_carried_out_in_turn(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.candidate("better", learning.captured())
        harness.roll_back("1-2")
        harness.promote("better")
        harness.roll_back("1-1")
        harness.roll_back("2-2", relearn=True)
        learning.turns(4)
        assert learning.position.version == "5-2"
        assert len(learning.new()) > 0
        end = learning.digest()
    adopted = [version for version, verb in harness.verbs() if verb is Verb.ADOPT]
    assert adopted == ["2-2", "3-3", "4-1", "5-2"]
    assert harness.rebuilt().digest == end


def test_no_more_adopted_states_are_kept_than_needed(harness: ModelHarness) -> None:
    with harness.busy(batches=1) as learning:
        for _ in range(KEEP_ADOPTED + 3):
            harness.roll_back("1-1")
            learning.turns(1)
        assert learning.position.generation == KEEP_ADOPTED + 4
    kept = {int(path.name) for path in (harness.checkpoints.folder / "adopted").iterdir()}
    assert kept == set(range(5, KEEP_ADOPTED + 5)), "the last ones by number"


def test_an_order_from_before_the_learner_stands_is_not_read(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.candidate("better", learning.captured())
        harness.promote("better")
        learning.turns(2)
        version = learning.position.version
        learning.checkpoint()
    with harness.learning() as learning:
        assert learning.position.version == version
        learning.new()
        assert learning.position.generation == 2, "not adopted again"


def test_a_candidates_state_is_not_changed_by_what_adopts_it(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        folder = harness.candidate("better", learning.captured())
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        harness.promote("better")
        learning.new()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_order_waits_until_its_state_can_be_stored(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with harness.busy() as learning:
        harness.roll_back("1-1")
        with monkeypatch.context() as patch:
            patch.setattr(store, "write_durably", full)
            with pytest.raises(StorageUnavailable, match="No space left"):
                learning.new()
        assert harness.published(Refusal) == []
    with harness.learning() as learning:
        learning.recover()
        learning.turns(1)
        assert learning.position.version == "2-1", "the order is read again, and carried out"
