"""Batches: items first, each event once, what is bad set aside, and the same again after a restart."""

from __future__ import annotations

import base64
from dataclasses import replace

import orjson
import pytest

from pipeline.config import RefusalsConfig, Settings
from pipeline.errors import Fenced
from pipeline.eventlog.partitioner import partition_of
from pipeline.events import MAX_TIME_AHEAD_MS, Item, encode
from pipeline.journal.batch_source import Batch
from pipeline.journal.entry import JournalEntry, Verb, read_journal
from tests.support.build import purchase
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import BATCH, PARTITIONS, START, ModelHarness


def only(learning: LearnerHarness) -> Batch:
    """The one batch that is new."""
    (batch,) = learning.new()
    return batch


def letters(batch: Batch) -> list[dict[str, object]]:
    return [orjson.loads(letter) for _, letter in batch.refused]


def test_the_catalogue_goes_before_interactions(harness: ModelHarness) -> None:
    harness.act("ann", "red-cup", "red-plate")
    harness.stock("red", "blue", "green")
    with harness.learning() as learning:
        batch = only(learning)
    assert (len(batch.micro.items), len(batch.micro.interactions)) == (12, 2)


def test_interactions_do_not_wait_for_a_long_catalogue(settings: Settings) -> None:
    batch = settings.batch.replace(items=8)
    with (
        ModelHarness(settings.model_copy(update={"batch": batch})) as harness,
        harness.learning() as learning,
    ):
        harness.act("ann", "red-cup")
        learning.new()
        harness.act("ann", *["red-cup"] * (BATCH + 2))
        harness.stock("red", "blue", "green")
        harness.stock("red", "blue")
        batches = learning.new()
    assert [len(batch.micro.items) for batch in batches] == [8, 8, 4]
    assert [len(batch.micro.interactions) for batch in batches] == [BATCH, 2, 0]


def test_the_first_interaction_waits_for_the_catalogue(settings: Settings) -> None:
    batch = settings.batch.replace(items=8)
    with ModelHarness(settings.model_copy(update={"batch": batch})) as harness:
        harness.act("ann", "red-cup")
        harness.stock("red", "blue", "green")
        with harness.learning() as learning:
            batches = learning.new()
    assert [len(batch.micro.items) for batch in batches] == [8, 4]
    assert [len(batch.micro.interactions) for batch in batches] == [0, 1]


def test_a_batch_has_few_new_texts_and_many_known_ones(settings: Settings) -> None:
    """In one partition: of several, records of one millisecond are in the order of these."""
    batch, log = settings.batch.replace(texts=4), settings.log.replace(partitions=1)
    with (
        ModelHarness(settings.model_copy(update={"batch": batch, "log": log})) as harness,
        harness.learning() as learning,
    ):
        harness.act("ann", "red-cup")
        learning.new()
        harness.stock("red")
        harness.stock("red", "blue")
        harness.writer.append(harness.topics.items, "red-cup", b"bad")
        harness.writer.append(harness.topics.items, "red-cup", None)
        harness.stock("red", "green")
        harness.act("ann", "red-cup", "red-plate")
        batches = learning.new()
    assert [len(batch.micro.items) + len(batch.refused) for batch in batches] == [4, 4 + 4 + 2 + 4, 4]
    assert [len(batch.micro.interactions) for batch in batches] == [2, 0, 0]


def test_a_tombstone_reaches_the_learner_as_the_id(harness: ModelHarness) -> None:
    harness.upsert("red-cup", "red cup")
    harness.writer.append(harness.topics.items, "red-cup", None)
    harness.writer.flush()
    with harness.learning() as learning:
        assert list(only(learning).micro.items) == [Item(item="red-cup", title="red cup"), "red-cup"]


def test_an_event_is_learned_once(harness: ModelHarness) -> None:
    harness.act("ann", "red-cup", event_id="same")
    harness.act("ann", "red-cup", event_id="same")
    with harness.learning() as learning:
        first = only(learning)
        harness.act("ann", "red-cup", event_id="same")
        second = only(learning)
    assert ([e.event_id for e in first.micro.interactions], first.duplicates) == (["same"], 1)
    assert (list(second.micro.interactions), second.duplicates) == ([], 1)
    assert first.users == {"ann": 2}
    assert second.users == {}


def test_another_event_with_a_known_id_is_refused_and_no_duplicate(harness: ModelHarness) -> None:
    harness.act("ann", "red-cup", event_id="order-1")
    harness.act("ann", "blue-cup", event_id="order-1")
    harness.act("ann", "red-cup", event_id="order-1")
    with harness.learning() as learning:
        batch = only(learning)
    assert [event.item for event in batch.micro.interactions] == ["red-cup"]
    assert batch.duplicates == 1
    (letter,) = letters(batch)
    assert (letter["field"], letter["code"], letter["offset"]) == ("event_id", "collision", 1)
    assert b"blue-cup" in base64.b64decode(str(letter["value"]))


def test_what_is_no_event_becomes_a_dead_letter_with_where_it_came_from(harness: ModelHarness) -> None:
    harness.act("ann", "red-cup")
    harness.writer.append(harness.topics.interactions, "ann", b"no event \xff")
    harness.writer.append(harness.topics.items, "red-cup", b"{}")
    harness.writer.flush()
    harness.act("ann", "red-plate")
    with harness.learning() as learning:
        batch = only(learning)
    assert [event.item for event in batch.micro.interactions] == ["red-cup", "red-plate"]
    bad_item, bad_event = letters(batch)
    assert (bad_item["topic"], bad_item["offset"]) == (harness.topics.items, 0)
    assert (bad_event["topic"], bad_event["offset"]) == (harness.topics.interactions, 1)
    assert base64.b64decode(str(bad_event["value"])) == b"no event \xff"
    (record,) = (r for r in harness.records(harness.topics.interactions) if r.offset == 1)
    assert batch.refused[1][0] == f"{record.source}/1"
    assert bad_event["append_time"] == record.append_time


def test_no_record_is_lost_among_bad_ones_and_duplicates(harness: ModelHarness) -> None:
    harness.stock()
    for number in range(20):
        harness.act("ann", "red-cup", event_id=f"e{number % 7}")
        harness.writer.append(harness.topics.interactions, f"user{number}", b"bad")
    harness.writer.flush()
    with harness.learning() as learning:
        learning.catch_up()
    entered = sum(len(b.micro.items) + len(b.micro.interactions) for b in learning.learned)
    refused = [key for b in learning.learned for key, _ in b.refused]
    assert (entered, len(set(refused)), len(refused)) == (12 + 7, 20, 20)
    assert sum(batch.duplicates for batch in learning.learned) == 13


def test_an_event_from_the_future_is_refused(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        harness.act("ann", "red-cup")
        (record,) = harness.records(harness.topics.interactions)
        harness.act("ann", "red-plate", time=record.append_time + 2 * MAX_TIME_AHEAD_MS)
        batch = only(learning)
    assert [event.item for event in batch.micro.interactions] == ["red-cup"]
    assert [letter["field"] for letter in letters(batch)] == ["time"]


def test_a_batch_knows_how_far_its_users_and_the_log_came(harness: ModelHarness) -> None:
    harness.stock("red")
    harness.act("ann", "red-cup", "red-plate", "red-lamp")
    with harness.learning() as learning:
        batch = only(learning)
    interactions = harness.records(harness.topics.interactions)
    assert batch.users == {"ann": 3}
    assert batch.append_times == [record.append_time for record in interactions]
    assert batch.position.through == max(r.append_time for r in interactions)
    ends = harness.log.end_offsets([harness.topics.items, harness.topics.interactions])
    assert batch.position.offsets == ends


def test_journalled_batches_come_again_bit_for_bit(harness: ModelHarness) -> None:
    harness.stock()
    harness.shop(50)
    harness.act("ann", "red-cup", event_id="e3")
    harness.writer.append(harness.topics.interactions, "bob", b"bad")
    harness.writer.flush()
    with harness.learning() as first:
        first.catch_up()
    harness.shop(5)
    with harness.learning() as second:
        again = second.recover()
        assert again == [replace(batch, from_journal=True) for batch in first.learned]
        assert len(again) > 3
        assert second.new()[0].position.step == again[-1].position.step + 1


def test_a_batch_is_in_the_journal_before_it_is_handed_out(harness: ModelHarness) -> None:
    harness.stock()
    harness.shop(48)
    with harness.learning() as learning:
        for _ in range(3):
            (batch,) = learning.new(1)
            entry, after = list(read_journal(harness.log, harness.topics.journal))[-1]
            assert (entry.step, after) == (batch.position.step, batch.position.journal)
            assert entry.offsets == batch.position.offsets


def test_what_was_folded_is_folded_again(harness: ModelHarness) -> None:
    harness.stock()
    harness.shop(8)
    with harness.learning() as learning:
        start = learning.position
        ends = harness.log.end_offsets([harness.topics.items, harness.topics.interactions])
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        entry = JournalEntry.of(start.generation, 1, Verb.FOLD, start.fingerprint, ends)
        journal.append(entry.encode())
    with harness.learning() as learning:
        (batch,) = learning.recover()
    assert not batch.micro.learns
    assert learning.learner.stream.events == 8
    assert len(learning.learner.replay) == 0


def test_other_settings_open_a_new_generation(harness: ModelHarness) -> None:
    harness.shop(3)
    with harness.learning() as learning:
        assert only(learning).position.generation == 1
    harness.shop(3)
    learn = harness.settings.learn.model_copy(update={"seed": 7})
    other = harness.settings.model_copy(update={"learn": learn})
    with harness.learning(other) as learning:
        assert [batch.position.generation for batch in learning.recover()] == [1]
        batch = only(learning)
        assert (batch.position.generation, batch.position.step) == (2, 2)
    harness.shop(3)
    with harness.learning(other) as learning:
        learning.recover()
        assert only(learning).position.generation == 2, "nothing has changed since"


def test_a_second_learner_fences_the_first(harness: ModelHarness) -> None:
    harness.shop(3)
    with harness.learning() as first:
        assert len(first.new()) == 1
        with harness.learning() as second:
            second.recover()
            harness.shop(3)
            with pytest.raises(Fenced):
                first.new()
            assert [batch.position.step for batch in second.new()] == [2]
    assert len(harness.records(harness.topics.journal)) == 3


def test_an_idle_log_gives_none_so_that_the_loop_can_go_on(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        assert learning.new() == []
        harness.shop(1)
        assert len(learning.new()) == 1


def test_a_record_outside_the_partition_of_its_key_is_learned_and_told_once(
    harness: ModelHarness, caplog: pytest.LogCaptureFixture
) -> None:
    home = partition_of("ann", PARTITIONS)
    harness.act("ann", "red-cup")
    for number in range(2):
        wire = encode(purchase("ann", f"blue-cup-{number}", START + number))
        harness.writer.append(harness.topics.interactions, "ann", wire, partition=(home + 1) % PARTITIONS)
    harness.writer.flush()
    with harness.learning() as learning:
        batch = only(learning)
    assert len(batch.micro.interactions) == 3
    assert batch.users == {"ann": 1}
    warnings = [
        record.getMessage() for record in caplog.records if "another partitioner" in record.getMessage()
    ]
    assert len(warnings) == 1
    assert (
        f"{harness.topics.interactions}/{(home + 1) % PARTITIONS}/0" in warnings[0]
        and "ann" not in warnings[0]
    )


def test_a_stream_of_refusals_is_read_no_further(settings: Settings) -> None:
    changed = settings.model_copy(update={"refusals": RefusalsConfig(window_records=2 * BATCH)})
    with ModelHarness(changed) as harness:
        for _ in range(5 * BATCH):
            harness.writer.append(harness.topics.interactions, "ann", b"of another format")
        harness.writer.flush()
        with harness.learning() as learning:
            batches = learning.new()
            assert sum(len(batch.refused) for batch in batches) == 2 * BATCH
            harness.act("ann", "red-cup")
            assert learning.new() == []
        with harness.learning() as restarted:
            restarted.recover()
            assert len(restarted.new()) == 2, "a restart looks at a window again"
        accepting = changed.model_copy(update={"refusals": RefusalsConfig(most_share=1.0)})
    with ModelHarness(accepting) as harness, harness.learning() as learning:
        learning.catch_up()
        assert [event.item for batch in learning.learned for event in batch.micro.interactions] == ["red-cup"]
