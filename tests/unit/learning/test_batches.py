"""Batches: items first, each event once, what is bad set aside, and the same again after a restart."""

from __future__ import annotations

import base64
from dataclasses import replace

import orjson
import pytest

from pipeline.errors import Fenced
from pipeline.events import MAX_TIME_AHEAD_MS, Item
from pipeline.learning.batches import Batch
from pipeline.learning.journal import JournalEntry, Verb, read_journal
from tests.life import Life
from tests.mill import BATCH, Mill


def only(life: Life) -> Batch:
    """The one batch that is new."""
    (batch,) = life.new()
    return batch


def letters(batch: Batch) -> list[dict[str, object]]:
    return [orjson.loads(letter) for _, letter in batch.refused]


def test_the_catalogue_goes_before_interactions(mill: Mill) -> None:
    mill.act("ann", "red-cup", "red-plate")
    mill.stock("red", "blue", "green")
    mill.stock("red", "blue")
    with mill.life() as life:
        batches = life.new()
    assert [len(batch.micro.items) for batch in batches] == [BATCH, 20 - BATCH]
    assert [len(batch.micro.interactions) for batch in batches] == [0, 2]
    assert all(len(batch.micro.items) + len(batch.micro.interactions) <= BATCH for batch in batches)


def test_a_tombstone_reaches_the_learner_as_the_id(mill: Mill) -> None:
    mill.upsert("red-cup", "red cup")
    mill.writer.append(mill.topics.items, "red-cup", None)
    mill.writer.flush()
    with mill.life() as life:
        assert list(only(life).micro.items) == [Item(item="red-cup", title="red cup"), "red-cup"]


def test_an_event_is_learned_once(mill: Mill) -> None:
    mill.act("ann", "red-cup", event_id="same")
    mill.act("ann", "red-cup", event_id="same")
    with mill.life() as life:
        first = only(life)
        mill.act("ann", "blue-cup", event_id="same")
        second = only(life)
    assert ([e.event_id for e in first.micro.interactions], first.duplicates) == (["same"], 1)
    assert (list(second.micro.interactions), second.duplicates) == ([], 1)
    assert first.users == {"ann": 1}
    assert second.users == {}


def test_what_is_no_event_becomes_a_dead_letter_with_where_it_came_from(mill: Mill) -> None:
    mill.act("ann", "red-cup")
    mill.writer.append(mill.topics.interactions, "ann", b"no event \xff")
    mill.writer.append(mill.topics.items, "red-cup", b"{}")
    mill.writer.flush()
    mill.act("ann", "red-plate")
    with mill.life() as life:
        batch = only(life)
    assert [event.item for event in batch.micro.interactions] == ["red-cup", "red-plate"]
    bad_item, bad_event = letters(batch)
    assert (bad_item["topic"], bad_item["offset"]) == (mill.topics.items, 0)
    assert (bad_event["topic"], bad_event["offset"]) == (mill.topics.interactions, 1)
    assert base64.b64decode(str(bad_event["value"])) == b"no event \xff"
    (record,) = (r for r in mill.records(mill.topics.interactions) if r.offset == 1)
    assert batch.refused[1][0] == f"{record.source}/1"
    assert bad_event["append_time"] == record.append_time


def test_no_record_is_lost_among_bad_ones_and_duplicates(mill: Mill) -> None:
    mill.stock()
    for number in range(20):
        mill.act("ann", "red-cup", event_id=f"e{number % 7}")
        mill.writer.append(mill.topics.interactions, f"user{number}", b"bad")
    mill.writer.flush()
    with mill.life() as life:
        life.catch_up()
    entered = sum(len(b.micro.items) + len(b.micro.interactions) for b in life.learned)
    refused = [key for b in life.learned for key, _ in b.refused]
    assert (entered, len(set(refused)), len(refused)) == (12 + 7, 20, 20)
    assert sum(batch.duplicates for batch in life.learned) == 13


def test_an_event_from_the_future_is_refused(mill: Mill) -> None:
    with mill.life() as life:
        mill.act("ann", "red-cup")
        (record,) = mill.records(mill.topics.interactions)
        mill.act("ann", "red-plate", time=record.append_time + 2 * MAX_TIME_AHEAD_MS)
        batch = only(life)
    assert [event.item for event in batch.micro.interactions] == ["red-cup"]
    assert [letter["field"] for letter in letters(batch)] == ["time"]


def test_a_batch_knows_how_far_its_users_and_the_log_came(mill: Mill) -> None:
    mill.stock("red")
    mill.act("ann", "red-cup", "red-plate", "red-lamp")
    with mill.life() as life:
        batch = only(life)
    interactions = mill.records(mill.topics.interactions)
    assert batch.users == {"ann": 3}
    assert batch.append_times == [record.append_time for record in interactions]
    assert batch.position.through == max(r.append_time for r in interactions)
    ends = mill.log.end_offsets([mill.topics.items, mill.topics.interactions])
    assert batch.position.offsets == ends


def test_journalled_batches_come_again_bit_for_bit(mill: Mill) -> None:
    mill.stock()
    mill.shop(50)
    mill.act("ann", "red-cup", event_id="e3")
    mill.writer.append(mill.topics.interactions, "bob", b"bad")
    mill.writer.flush()
    with mill.life() as first:
        first.catch_up()
    mill.shop(5)
    with mill.life() as second:
        again = second.again()
        assert again == [replace(batch, again=True) for batch in first.learned]
        assert len(again) > 3
        assert second.new()[0].position.step == again[-1].position.step + 1


def test_a_batch_is_in_the_journal_before_it_is_handed_out(mill: Mill) -> None:
    mill.stock()
    mill.shop(30)
    with mill.life() as life:
        for _ in range(3):
            (batch,) = life.new(1)
            entry, after = list(read_journal(mill.log, mill.topics.journal))[-1]
            assert (entry.step, after) == (batch.position.step, batch.position.journal)
            assert entry.offsets == batch.position.offsets


def test_what_was_folded_is_folded_again(mill: Mill) -> None:
    mill.stock()
    mill.shop(8)
    with mill.life() as life:
        start = life.position
        ends = mill.log.end_offsets([mill.topics.items, mill.topics.interactions])
    with mill.log.fenced_writer(mill.topics.journal, owner="test") as journal:
        entry = JournalEntry.of(start.generation, 1, Verb.FOLD, start.fingerprint, ends)
        journal.append(entry.encode())
    with mill.life() as life:
        (batch,) = life.again()
    assert not batch.micro.learns
    assert life.learner.stream.events == 8
    assert len(life.learner.replay) == 0


def test_other_settings_open_a_new_generation(mill: Mill) -> None:
    mill.shop(3)
    with mill.life() as life:
        assert only(life).position.generation == 1
    mill.shop(3)
    learn = mill.settings.learn.model_copy(update={"seed": 7})
    other = mill.settings.model_copy(update={"learn": learn})
    with mill.life(other) as life:
        assert [batch.position.generation for batch in life.again()] == [1]
        batch = only(life)
        assert (batch.position.generation, batch.position.step) == (2, 2)
    mill.shop(3)
    with mill.life(other) as life:
        life.again()
        assert only(life).position.generation == 2, "nothing has changed since"


def test_a_second_learner_fences_the_first(mill: Mill) -> None:
    mill.shop(3)
    with mill.life() as first:
        assert len(first.new()) == 1
        with mill.life() as second:
            second.again()
            mill.shop(3)
            with pytest.raises(Fenced):
                first.new()
            assert [batch.position.step for batch in second.new()] == [2]
    assert len(mill.records(mill.topics.journal)) == 3


def test_an_idle_log_gives_none_so_that_the_loop_can_go_on(mill: Mill) -> None:
    with mill.life() as life:
        assert life.new() == []
        mill.shop(1)
        assert len(life.new()) == 1
