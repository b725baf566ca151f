"""Copying a model's events to more partitions, on every engine."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.errors import InvalidSettings, LogUnavailable, TopicError
from pipeline.eventlog import migrate as migrating
from pipeline.eventlog import open_log
from pipeline.eventlog.migrate import Copied, copy_topic, migrate
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import EventLog, TopicPartition, TopicSpec, read, read_compacted
from pipeline.eventlog.topics import Topics

HOUR = 3_600_000
SIZES = (24 * HOUR, HOUR)


@pytest.fixture
def log(log_url: str) -> Iterator[EventLog]:
    with open_log(log_url) as log:
        yield log


@pytest.fixture
def old(log: EventLog, prefix: str) -> Topics:
    topics = Topics(prefix)
    topics.create(log, 2, *SIZES)
    return topics


@pytest.fixture
def new(prefix: str) -> Topics:
    return Topics(f"{prefix}-4")


def append(log: EventLog, topic: str, numbers: range, split: bool = False) -> None:
    """Append records of 10 keys; `split` puts some into the other partition, as added partitions do."""
    with log.writer() as writer:
        for number in numbers:
            key = f"user-{number % 10}"
            partition = number // 50 % 2 if split else None
            writer.append(topic, key, b"%d" % number, partition=partition)
            if number % 50 == 49:
                writer.flush()


def by_key(log: EventLog, topic: str) -> dict[str | None, list[int]]:
    found: dict[str | None, list[int]] = defaultdict(list)
    for record in read(log, topic):
        assert record.partition == partition_of(record.key, 4)
        found[record.key].append(int(record.value or b""))
    return found


def in_order(count: int) -> dict[str | None, list[int]]:
    return {f"user-{key}": list(range(key, count, 10)) for key in range(10)}


def go(log: EventLog, old: Topics, new: Topics) -> dict[str, Copied]:
    return migrate(log, old, new, 4, *SIZES)


def test_every_event_is_copied_in_the_order_of_its_key(log: EventLog, old: Topics, new: Topics) -> None:
    append(log, old.interactions, range(500))
    append(log, old.items, range(100))
    append(log, old.users, range(50))
    copied = go(log, old, new)
    assert {topic: result.records for topic, result in copied.items()} == {
        old.positions: 0,
        old.interactions: 500,
        old.impressions: 0,
        old.items: 100,
        old.users: 50,
        old.rules: 0,
        old.policies: 0,
    }
    assert copied[old.interactions].source == log.end_offsets([old.interactions])
    assert copied[old.interactions].target == log.end_offsets([new.interactions])
    assert by_key(log, new.interactions) == in_order(500)
    assert by_key(log, new.items) == in_order(100)
    assert log.partition_counts([new.interactions, new.journal]) == {new.interactions: 4, new.journal: 1}
    assert sum(log.end_offsets([old.interactions]).values()) == 500


def test_a_key_whose_records_are_in_two_partitions_comes_together_in_order(
    log: EventLog, old: Topics, new: Topics
) -> None:
    append(log, old.interactions, range(500), split=True)
    go(log, old, new)
    found = by_key(log, new.interactions)
    assert {key: sorted(numbers) for key, numbers in found.items()} == in_order(500)
    times = {
        (record.key, int(record.value or b"")): record.append_time for record in read(log, old.interactions)
    }
    for key, numbers in found.items():
        appended = [times[key, number] for number in numbers]
        assert appended == sorted(appended)


def test_a_second_run_copies_the_rest(log: EventLog, old: Topics, new: Topics) -> None:
    append(log, old.interactions, range(300))
    assert go(log, old, new)[old.interactions].records == 300
    assert go(log, old, new)[old.interactions].records == 0
    append(log, old.interactions, range(300, 500))
    assert go(log, old, new)[old.interactions].records == 200
    assert by_key(log, new.interactions) == in_order(500)


def test_an_interrupted_run_stores_nothing_twice(
    log: EventLog, old: Topics, new: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "_CHUNK_RECORDS", 70)
    append(log, old.interactions, range(500))
    generator = random.Random(7)
    for _ in range(4):
        with monkeypatch.context() as broken, pytest.raises(LogUnavailable):
            _fail_after(broken, generator.randrange(20, 100))
            go(log, old, new)
    go(log, old, new)
    assert by_key(log, new.interactions) == in_order(500)


def _fail_after(monkeypatch: pytest.MonkeyPatch, records: int) -> None:
    store = migrating._Run._store
    left = iter(range(records))

    def store_some(run: Any, writer: Any, record: Any) -> None:
        if next(left, None) is None:
            raise LogUnavailable("the broker is gone")
        store(run, writer, record)

    monkeypatch.setattr(migrating._Run, "_store", store_some)


def test_a_copy_may_end_at_the_offsets_of_a_checkpoint(log: EventLog, old: Topics, new: Topics) -> None:
    new.create(log, 4, *SIZES)
    append(log, old.interactions, range(300))
    until = {TopicPartition(old.interactions, 0): 40, TopicPartition(old.interactions, 1): 70}
    copied = copy_topic(log, old.interactions, new.interactions, until)
    assert (copied.records, copied.source) == (110, until)
    assert sum(copied.target.values()) == 110
    assert copy_topic(log, old.interactions, new.interactions).records == 190
    assert by_key(log, new.interactions) == in_order(300)


def test_records_of_others_in_the_target_are_refused(log: EventLog, old: Topics, new: Topics) -> None:
    append(log, old.interactions, range(100))
    go(log, old, new)
    append(log, new.interactions, range(1_000, 1_001))  # a producer has moved already
    with pytest.raises(TopicError, match="not copies"):
        go(log, old, new)


def test_a_copy_that_differs_is_an_error_for_good(
    log: EventLog, old: Topics, new: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = migrating._Run._store

    def store_one_twice(run: Any, writer: Any, record: Any) -> None:
        store(run, writer, record)
        if record.value == b"57":
            writer.append(run.target, record.key, record.value)

    append(log, old.interactions, range(100))
    with monkeypatch.context() as broken, pytest.raises(TopicError, match="1 keys differ"):
        broken.setattr(migrating._Run, "_store", store_one_twice)
        go(log, old, new)
    with pytest.raises(TopicError, match="not copies"):
        go(log, old, new)


def test_the_same_prefix_and_missing_topics_are_refused(log: EventLog, old: Topics, prefix: str) -> None:
    with pytest.raises(InvalidSettings, match="another prefix"):
        go(log, old, old)
    with pytest.raises(TopicError, match="no such topic"):
        go(log, Topics(f"{prefix}.none"), Topics(f"{prefix}-other"))
    assert f"{prefix}-other.items" not in log.describe_topics()
    log.create_topics([TopicSpec(f"{prefix}-3.interactions", 3, retention_ms=24 * HOUR)])
    with pytest.raises(TopicError, match="3 partitions instead of 4"):
        go(log, old, Topics(f"{prefix}-3"))


def test_positions_of_bridges_are_copied_before_the_events_that_they_speak_of(
    log: EventLog, old: Topics, new: Topics
) -> None:
    """Else a bridge that goes on meanwhile would stand behind events that were not copied."""
    append(log, old.positions, range(20))
    assert next(iter(go(log, old, new))) == old.positions
    copied, there = read_compacted(log, new.positions), read_compacted(log, old.positions)
    assert {key: record.value for key, record in copied.items()} == {
        key: record.value for key, record in there.items()
    }


def test_topics_of_an_older_version_are_copied_without_those_that_it_lacks(
    log: EventLog, prefix: str, new: Topics
) -> None:
    old = Topics(prefix)
    later = {old.positions, old.users, old.rules, old.policies}
    log.create_topics([spec for spec in old.specs(2, *SIZES) if spec.name not in later])
    assert set(go(log, old, new)) == {old.interactions, old.impressions, old.items}
