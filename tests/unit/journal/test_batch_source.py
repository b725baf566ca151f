"""Batches: items first, each event once, what is bad set aside, and the same again after a restart."""

from __future__ import annotations

import base64
import time
from dataclasses import replace

import orjson
import pytest

from pipeline.config import RefusalsConfig, Settings
from pipeline.errors import Fenced
from pipeline.eventlog.partitioner import partition_of
from pipeline.events import MAX_TIME_AHEAD_MS, Item, encode
from pipeline.journal.entry import JournalEntry, Verb, read_journal
from pipeline.journal.turns import Batch
from tests.support.build import purchase
from tests.support.impressions import impression
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
    ends = harness.log.end_offsets(harness.topics.inputs)
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


def test_a_new_generation_begins_though_there_is_nothing_to_read(harness: ModelHarness) -> None:
    """So that it is published: the release may read no snapshot of the one before."""
    harness.shop(3)
    with harness.learning() as learning:
        only(learning)
    learn = harness.settings.learn.model_copy(update={"seed": 7})
    other = harness.settings.model_copy(update={"learn": learn})
    with harness.learning(other) as learning:
        learning.recover()
        batch = only(learning)
        assert (batch.position.generation, batch.position.step, batch.micro.interactions) == (2, 2, [])
    with harness.learning(other) as learning:
        learning.recover()
        assert learning.new() == [], "it has begun"


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


def shown_in(batches: list[Batch]) -> list[list[str]]:
    return [[one.impression_id for _, one in batch.micro.impressions] for batch in batches]


def test_impressions_come_with_the_interactions_before_whose_end_they_were_shown(
    harness: ModelHarness,
) -> None:
    """In turns, so that they share batches of both; those after the last act come with it."""
    for number in range(2 * BATCH):
        harness.show("ann", "red-cup", name=f"i{number}")
        harness.act("ann", "red-cup")
    harness.show("bob", "red-cup", name="last")
    with harness.learning() as learning:
        first, second = learning.new()
    assert [len(one.micro.interactions) for one in (first, second)] == [BATCH, BATCH]
    shown = shown_in([first, second])
    assert [one for part in shown for one in part] == [*(f"i{number}" for number in range(2 * BATCH)), "last"]
    end = max(first.append_times)
    assert [at <= end for part in (first, second) for at, _ in part.micro.impressions] == [
        *(len(shown[0]) * [True]),
        *(len(shown[1]) * [False]),
    ]
    assert first.micro.times == first.append_times
    assert first.micro.impressions[0][0] <= first.micro.times[0] <= first.micro.impressions[1][0]


def test_impressions_alone_are_a_batch_and_break_up_none(settings: Settings) -> None:
    batch = settings.batch.replace(impressions=3)
    with (
        ModelHarness(settings.model_copy(update={"batch": batch})) as harness,
        harness.learning() as learning,
    ):
        for number in range(7):
            harness.show("ann", "red-cup", name=f"i{number}")
        harness.act("ann", *["red-cup"] * (BATCH - 1))
        found = learning.new()
        assert [len(one.micro.interactions) for one in found] == [BATCH - 1, 0, 0]
        assert shown_in(found) == [["i0", "i1", "i2"], ["i3", "i4", "i5"], ["i6"]]
        assert found[0].users.keys() == {"ann"} and not found[1].users, "who is shown something acted not"
        assert learning.position.through == found[0].position.through, "nothing was learned since"


def test_an_impression_that_is_none_is_refused_and_stops_no_learning(settings: Settings) -> None:
    strict = settings.model_copy(update={"refusals": RefusalsConfig(window_records=2, most_share=0)})
    with ModelHarness(strict) as harness, harness.learning() as learning:
        harness.show("ann", "red-cup", name="good")
        harness.writer.append(harness.topics.impressions, "ann", b"bad")
        shown = encode(impression("other", "bob"))
        harness.writer.append(harness.topics.impressions, "ann", shown)
        harness.writer.flush()
        harness.act("ann", "red-cup")
        batch = only(learning)
        refusals = [(letter["topic"], letter["offset"], letter["field"]) for letter in letters(batch)]
        assert refusals == [(harness.topics.impressions, 1, "event"), (harness.topics.impressions, 2, "user")]
        assert (shown_in([batch]), batch.duplicates) == ([["good"]], 0)
        harness.act("ann", "red-plate")
        assert len(only(learning).micro.interactions) == 1, "learning goes on"


def test_impressions_come_again_bit_for_bit(harness: ModelHarness) -> None:
    harness.stock()
    for number in range(40):
        harness.show("ann", "red-cup", "red-plate", name=f"i{number}")
        harness.act("ann", "red-cup")
    harness.writer.append(harness.topics.impressions, "bob", b"bad")
    harness.writer.flush()
    with harness.learning() as first:
        first.catch_up()
    with harness.learning() as second:
        assert second.recover() == [replace(batch, from_journal=True) for batch in first.learned]
        assert second.learned[0].micro.impressions


def without_impressions(harness: ModelHarness) -> None:
    """Begin a journal as the releases did that did not read impressions."""
    inputs = harness.topics.items, harness.topics.interactions
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        ids, ends = harness.log.topic_ids(inputs), harness.log.begin_offsets(inputs)
        journal.append(JournalEntry.of(1, 0, Verb.START, "before", ends, topic_ids=ids).encode())
        ends = harness.log.end_offsets(inputs)
        journal.append(JournalEntry.of(1, 1, Verb.LEARN, "before", ends, topic_ids=ids).encode())


def test_a_journal_of_before_begins_at_the_end_of_the_impressions_once(harness: ModelHarness) -> None:
    harness.show("ann", "red-cup", name="before")
    harness.act("ann", "red-cup")
    without_impressions(harness)
    harness.show("ann", "red-cup", name="missed")
    with harness.learning() as learning:
        learning.catch_up()
        harness.show("ann", "red-cup", name="first")
        harness.act("ann", "red-plate")
        learning.new()
        harness.show("ann", "red-cup", name="after")
        harness.act("ann", "red-lamp")
        learning.catch_up()
        assert shown_in(learning.learned) == [[], [], ["first"], ["after"]]
        digest = learning.digest()
    with harness.learning() as again:
        again.recover()
        assert shown_in(again.learned) == shown_in(learning.learned)
        assert again.digest() == digest


def test_a_release_that_knows_no_impressions_may_come_between(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        harness.show("ann", "red-cup", name="first")
        harness.act("ann", "red-cup")
        learning.new()
        generation, step = learning.position.generation, learning.position.step + 1
    harness.act("ann", "red-plate")
    inputs = harness.topics.items, harness.topics.interactions
    with harness.log.fenced_writer(harness.topics.journal, owner="test") as journal:
        ends = harness.log.end_offsets(inputs)
        journal.append(JournalEntry.of(generation, step, Verb.LEARN, "before", ends).encode())
    with harness.learning() as learning:
        harness.show("ann", "red-cup", name="missed")
        learning.recover()
        harness.act("ann", "red-lamp")
        learning.new()
        harness.show("ann", "red-cup", name="last")
        learning.new()
        assert shown_in(learning.learned) == [["first"], [], [], ["last"]]


def test_an_adoption_from_before_impressions_begins_at_their_end_too(harness: ModelHarness) -> None:
    harness.act("ann", "red-cup")
    without_impressions(harness)
    with harness.learning() as learning:
        learning.recover()
        harness.roll_back("1-1")
        learning.turns(1)
        harness.act("ann", "red-plate")
        learning.new()
        harness.show("ann", "red-cup", name="after")
        learning.new()
        assert shown_in(learning.learned) == [[], [], ["after"]]
        digest = learning.digest()
    assert harness.rebuilt().digest == digest


def test_what_is_learned_again_after_a_rollback_is_no_news(harness: ModelHarness) -> None:
    harness.act("ann", "red-cup")
    with harness.learning() as learning:
        learning.new()
        harness.act("ann", "red-plate")
        learning.new()
        harness.roll_back("1-1", relearn=True)
        learning.turns(1)
        learning.new()
        time.sleep(0.002)  # an append time in ms of its own
        harness.act("ann", "red-lamp")
        learning.new()
        assert [len(batch.micro.interactions) for batch in learning.learned] == [1, 1, 1, 1]
        assert [len(batch.news) for batch in learning.learned] == [1, 1, 0, 1]
