"""Orders: what can be carried out is made ready, what cannot is refused aloud, and learning goes on."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from pipeline.learning.batches import Batch
from pipeline.learning.control import Refusal
from pipeline.learning.frozen import freeze
from pipeline.learning.journal import JournalEntry, Verb, read_journal
from pipeline.learning.orders import KEEP_ADOPTED
from pipeline.learning.position import Position
from tests.mill import Mill

HOUR_MS = 3_600_000


def verbs(mill: Mill) -> list[tuple[str, Verb]]:
    return [(entry.version, entry.verb) for entry, _ in read_journal(mill.log, mill.topics.journal)]


def last_entry(mill: Mill) -> JournalEntry:
    return list(read_journal(mill.log, mill.topics.journal))[-1][0]


def read_ids(mill: Mill, begin: Position) -> list[str]:
    """Ids of all interactions from a position on."""
    return sorted(
        orjson.loads(record.value or b"")["event_id"]
        for record in mill.records(mill.topics.interactions)
        if record.offset >= begin.offsets[record.source]
    )


def ids(batches: list[Batch]) -> list[str]:
    return sorted(event.event_id for batch in batches for event in batch.micro.interactions)


# Promotions.


def test_a_candidate_takes_over_at_its_offsets_and_learns_what_came_since_once(mill: Mill) -> None:
    with mill.busy() as life:
        candidate = life.frozen()
        life.new(1)
        mill.candidate("better", candidate)
        key = mill.promote("better", generation=1)
        life.turns(1)
        assert life.position.version == "2-3"
        assert life.position.offsets == candidate.position.offsets
        assert life.position.through == candidate.position.through
        assert life.position.fold_to == {}
        assert life.digest() == mill.checkpoints.digest(replace(candidate, overseer=life.frozen().overseer))
        entry = last_entry(mill)
        batches = life.new()
    assert entry.adopts is not None
    assert (entry.adopts.kind, entry.adopts.order) == ("promotion", key)
    assert ids(batches) == read_ids(mill, candidate.position)
    assert all(batch.micro.learns and batch.position.generation == 2 for batch in batches)
    assert life.learner.stream.events == 60
    assert mill.told(Refusal) == []


def test_a_candidate_may_have_other_sizes(mill: Mill) -> None:
    with mill.busy() as life:
        tower = replace(life.learner.shape.model.tower, lora_rank=3)
        other = mill.learner()
        other.begin(replace(other.shape, model=replace(other.shape.model, tower=tower)))
        birth = replace(life.position, offsets=dict.fromkeys(life.position.offsets, 0), step=0)
        mill.candidate("larger", freeze(other, birth))
        mill.promote("larger")
        life.turns(1)
        assert life.learner.shape.model.tower.lora_rank == 3
        batches = life.new()
    assert ids(batches) == read_ids(mill, birth)


def test_an_order_given_twice_is_carried_out_once(mill: Mill) -> None:
    with mill.busy() as life:
        mill.candidate("better", life.frozen())
        key = mill.promote("better", generation=1)
        mill.promote("better", generation=1)
        life.new()
        assert life.position.generation == 2
    assert [verb for _, verb in verbs(mill)].count(Verb.ADOPT) == 1
    assert [refusal.order for refusal in mill.told(Refusal)] == [key]


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


def test_garbage_on_the_control_topic_is_passed_over(mill: Mill, caplog: pytest.LogCaptureFixture) -> None:
    with mill.busy() as life:
        mill.candidate("better", life.frozen())
        for wire in GARBAGE:
            mill.control(wire)
        mill.writer.append(mill.topics.control, "tombstone", None)
        mill.promote("better")
        life.turns(1)
        assert life.position.version == "2-3", "what comes after it is obeyed"
    assert caplog.text.count("is no record of ours") >= len(GARBAGE) - 2, (
        "nothing, and another kind, are silent"
    )
    assert mill.told(Refusal) == []


def test_garbage_is_read_once(mill: Mill, caplog: pytest.LogCaptureFixture) -> None:
    with mill.busy() as life:
        mill.control(b"garbage")
        life.new(1)
        assert "is no record of ours" in caplog.text
    caplog.clear()
    with mill.life() as life:
        life.catch_up()
    assert "is no record of ours" not in caplog.text


def test_what_others_tell_on_the_control_topic_is_no_order(mill: Mill) -> None:
    with mill.busy() as life:
        mill.order(Refusal(order="promotion-x-1", reason="test"))
        life.new(1)
        assert life.position.version == "1-4"
        assert last_entry(mill).control == 1, "read, and not to be read again"


# Rollbacks.


@pytest.mark.parametrize("version", ["1-0", "1-1", "1-2", "1-3"])
def test_any_version_of_the_journal_can_be_returned_to(mill: Mill, version: str) -> None:
    with mill.busy() as life:
        left = life.position
        mill.roll_back(version)
        life.turns(1)
        assert life.position.version == f"2-{version[2:]}"
        assert life.position.fold_to == left.offsets
    assert life.digest() == mill.checkpoints.digest(
        replace(mill.rebuilt(until=version).frozen, overseer=life.frozen().overseer)
    )


def test_a_rollback_to_relearn_folds_nothing(mill: Mill) -> None:
    with mill.busy() as life:
        mill.roll_back("1-1", relearn=True)
        life.turns(1)
        assert life.position.fold_to == {}
        assert all(batch.micro.learns for batch in life.new())


def test_several_orders_in_a_row_are_carried_out_in_turn(mill: Mill) -> None:
    with mill.busy() as life:
        mill.candidate("better", life.frozen())
        mill.roll_back("1-2")
        mill.promote("better")
        mill.roll_back("1-1")
        mill.roll_back("2-2", relearn=True)
        life.turns(4)
        assert life.position.version == "5-2"
        assert len(life.new()) > 0
        end = life.digest()
    adopted = [version for version, verb in verbs(mill) if verb is Verb.ADOPT]
    assert adopted == ["2-2", "3-3", "4-1", "5-2"]
    assert mill.rebuilt().digest == end


def test_no_more_adopted_states_are_kept_than_needed(mill: Mill) -> None:
    with mill.busy(batches=1) as life:
        for _ in range(KEEP_ADOPTED + 3):
            mill.roll_back("1-1")
            life.turns(1)
        assert life.position.generation == KEEP_ADOPTED + 4
    kept = {int(path.name) for path in (mill.checkpoints.folder / "adopted").iterdir()}
    assert kept == set(range(5, KEEP_ADOPTED + 5)), "the last ones by number"


def test_an_order_from_before_the_learner_stands_is_not_read(mill: Mill) -> None:
    with mill.busy() as life:
        mill.candidate("better", life.frozen())
        mill.promote("better")
        life.turns(2)
        version = life.position.version
        life.checkpoint()
    with mill.life() as life:
        assert life.position.version == version
        life.new()
        assert life.position.generation == 2, "not adopted again"


def test_a_candidates_state_is_not_changed_by_what_adopts_it(mill: Mill) -> None:
    with mill.busy() as life:
        folder = mill.candidate("better", life.frozen())
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        mill.promote("better")
        life.new()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
