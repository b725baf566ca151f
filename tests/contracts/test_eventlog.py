"""The contract of the event log: the same tests run on every engine; Kafka is a real broker."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DeliveryError, Fenced, InvalidSettings, OffsetsExpired, TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import (
    MAX_RECORD_BYTES,
    NO_TOPIC_ID,
    EventLog,
    LogReader,
    Record,
    TopicPartition,
    TopicSpec,
    lag,
    read,
    read_compacted,
)

PARTITIONS = 4
PROCESS = Path(__file__).with_name("eventlog_process.py")


@pytest.fixture
def log(log_url: str) -> Iterator[EventLog]:
    with open_log(log_url) as log:
        yield log


@pytest.fixture
def topic(log: EventLog, prefix: str) -> str:
    name = f"{prefix}.interactions"
    log.create_topics([TopicSpec(name, PARTITIONS)])
    return name


@pytest.fixture
def journal(log: EventLog, prefix: str) -> str:
    name = f"{prefix}.journal"
    log.create_topics([TopicSpec(name, 1)])
    return name


def append_all(log: EventLog, topic: str, keys_and_values: list[tuple[str, bytes | None]]) -> None:
    with log.writer() as writer:
        for key, value in keys_and_values:
            writer.append(topic, key, value)


def poll_until(reader: LogReader, count: int, max_records: int = 100) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + 60
    while len(records) < count and time.monotonic() < deadline:
        records += reader.poll(max_records, timeout_seconds=0.5)
    return records


def process(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(PROCESS), *arguments], stdout=subprocess.PIPE, text=True)


# --- topics


def test_topics_are_described_as_they_were_created(log: EventLog, prefix: str) -> None:
    specs = [
        TopicSpec(f"{prefix}.plain", 3, retention_ms=86_400_000),
        TopicSpec(f"{prefix}.forever", 1),
        TopicSpec(f"{prefix}.compacted", 2, compacted=True, compaction_lag_ms=60_000),
        TopicSpec(f"{prefix}.both", 1, compacted=True, retention_ms=86_400_000),
    ]
    assert log.create_topics(specs) == [spec.name for spec in specs]
    assert log.create_topics(specs) == []
    described = log.describe_topics()
    assert [described[spec.name] for spec in specs] == specs


def test_a_topic_needs_a_partition(log: EventLog, prefix: str) -> None:
    with pytest.raises(InvalidSettings, match="needs a partition"):
        log.create_topics([TopicSpec(f"{prefix}.none", 0)])


def test_a_topic_has_an_id_and_a_number_of_partitions(log: EventLog, prefix: str) -> None:
    first, second, unknown = (f"{prefix}.{name}" for name in ("first", "second", "unknown"))
    log.create_topics([TopicSpec(first, 3), TopicSpec(second, 1)])
    ids = log.topic_ids([first, second, unknown])
    assert set(ids) == {first, second}
    assert len(set(ids.values()) | {NO_TOPIC_ID}) == 3
    assert log.topic_ids([second]) == {second: ids[second]}
    assert log.partition_counts([first, second, unknown]) == {first: 3, second: 1}
    assert not log.topic_ids([])
    assert not log.partition_counts([])


def test_an_unknown_topic_is_named(log: EventLog, prefix: str, topic: str) -> None:
    unknown = f"{prefix}.unknown"
    with pytest.raises(TopicError, match=unknown), log.writer() as writer:
        writer.append(unknown, "key", b"value")
    for question in (log.begin_offsets, log.end_offsets, lambda names: log.offsets_at(names, 0)):
        with pytest.raises(TopicError, match=unknown):
            question([topic, unknown])
    with pytest.raises(TopicError, match=unknown):
        log.reader({TopicPartition(unknown, 0): 0})
    with pytest.raises(TopicError, match="no such partition"):
        log.reader({TopicPartition(topic, PARTITIONS): 0})
    with pytest.raises(TopicError, match=unknown):
        log.fenced_writer(unknown, "learner")
    with pytest.raises(TopicError, match=unknown):
        list(read(log, unknown))


def test_an_unknown_partition_is_refused(log: EventLog, topic: str) -> None:
    with log.writer() as writer, pytest.raises(TopicError, match="no partition 4"):
        writer.append(topic, "key", b"value", partition=PARTITIONS)
    with log.reader({TopicPartition(topic, 0): 0}) as reader, pytest.raises(TopicError, match="not assigned"):
        reader.seek({TopicPartition(topic, 1): 0})


# --- append and poll


def test_the_order_of_a_key_is_kept(log: EventLog, topic: str) -> None:
    append_all(log, topic, [(f"user-{i % 7}", str(i).encode()) for i in range(700)])
    with log.reader(log.begin_offsets([topic])) as reader:
        records = poll_until(reader, 700, max_records=64)
    by_key: dict[str | None, list[int]] = defaultdict(list)
    for record in records:
        by_key[record.key].append(int(record.value or b""))
    assert by_key == {f"user-{k}": list(range(k, 700, 7)) for k in range(7)}


def test_offsets_and_append_times_grow_in_a_partition(log: EventLog, topic: str) -> None:
    before = time.time_ns() // 1_000_000
    append_all(log, topic, [(f"user-{i}", b"") for i in range(50)])
    append_all(log, topic, [(f"user-{i}", b"") for i in range(50)])
    records = list(read(log, topic))
    assert len(records) == 100
    assert all(abs(record.append_time - before) < 60_000 for record in records)
    for first, second in pairwise(records):
        if first.source == second.source:
            assert first.offset < second.offset
            assert first.append_time <= second.append_time


def test_a_key_has_the_same_partition_on_every_engine(log: EventLog, topic: str) -> None:
    keys = ["", "a", "ab", "abc", "abcd", "Größe", "利用者", "\x00", *map(str, range(40))]
    append_all(log, topic, [(key, b"") for key in keys])
    found = {record.key: record.partition for record in read(log, topic)}
    assert found == {key: partition_of(key, PARTITIONS) for key in keys}


def test_a_partition_may_be_chosen_and_a_key_dropped(log: EventLog, topic: str) -> None:
    with log.writer() as writer:
        writer.append(topic, None, b"no key")
        writer.append(topic, "key", b"chosen", partition=3)
        writer.append(topic, None, b"both", partition=2)
    assert {(r.partition, r.key, r.value) for r in read(log, topic)} == {
        (0, None, b"no key"),
        (3, "key", b"chosen"),
        (2, None, b"both"),
    }


def test_a_busy_partition_does_not_starve_the_quiet_ones(log: EventLog, topic: str) -> None:
    with log.writer() as writer:
        for _ in range(3_000):
            writer.append(topic, None, b"busy", partition=0)
        for partition in (1, 2, 3):
            for _ in range(5):
                writer.append(topic, None, b"quiet", partition=partition)
    with log.reader(log.begin_offsets([topic])) as reader:
        records = poll_until(reader, 300, max_records=50)
    assert sum(record.value == b"quiet" for record in records) == 15


def test_every_partition_has_its_turn_when_a_poll_is_smaller_than_their_number(
    log: EventLog, topic: str
) -> None:
    with log.writer() as writer:
        for number in range(40):
            writer.append(topic, None, b"", partition=number % PARTITIONS)
    with log.reader(log.begin_offsets([topic])) as reader:
        records = poll_until(reader, 2 * PARTITIONS, max_records=1)
    assert {record.partition for record in records} == set(range(PARTITIONS))


def test_a_poll_waits_for_the_first_record_and_not_longer(log: EventLog, topic: str) -> None:
    def append_late() -> None:
        writer.append(topic, "late", b"")
        writer.flush()

    with log.reader(log.end_offsets([topic])) as reader, log.writer() as writer:
        started = time.monotonic()
        assert reader.poll(10, timeout_seconds=0.2) == []
        assert 0.15 < time.monotonic() - started < 2
        late = threading.Timer(0.2, append_late)
        late.start()
        started = time.monotonic()
        assert [record.key for record in reader.poll(10, timeout_seconds=20)] == ["late"]
        assert time.monotonic() - started < 5
        late.join()


def test_an_append_without_flush_becomes_visible(log: EventLog, topic: str) -> None:
    with log.writer() as writer, log.reader(log.end_offsets([topic])) as reader:
        writer.append(topic, "alone", b"")
        assert [record.key for record in poll_until(reader, 1)] == ["alone"]


def test_any_key_and_value_come_back(log: EventLog, topic: str) -> None:
    keys, values = st.none() | st.text(max_size=50), st.none() | st.binary(max_size=200)
    records = st.tuples(keys, values).filter(lambda record: record != (None, None))

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.lists(records, min_size=1, max_size=20))
    def round_trip(sent: list[tuple[str | None, bytes | None]]) -> None:
        for key, value in sent:
            writer.append(topic, key, value, partition=1)
        writer.flush()
        assert [(record.key, record.value) for record in poll_until(reader, len(sent))] == sent

    with log.writer() as writer, log.reader({TopicPartition(topic, 1): 0}) as reader:
        round_trip()


# --- offsets


def test_seek_goes_back_and_forth(log: EventLog, topic: str) -> None:
    source = TopicPartition(topic, 2)
    with log.writer() as writer:
        for number in range(30):
            writer.append(topic, None, str(number).encode(), partition=2)
    with log.reader({source: 0}) as reader:
        assert [r.offset for r in poll_until(reader, 10, max_records=10)] == list(range(10))
        assert reader.positions() == {source: 10}
        reader.seek({source: 25})
        assert reader.positions() == {source: 25}
        assert [r.offset for r in poll_until(reader, 5)] == list(range(25, 30))
        reader.seek({source: 3})
        assert [r.offset for r in poll_until(reader, 2, max_records=2)] == [3, 4]


def test_begin_end_and_lag_are_of_every_partition(log: EventLog, topic: str, prefix: str) -> None:
    other = f"{prefix}.other"
    log.create_topics([TopicSpec(other, 1)])
    with log.writer() as writer:
        for number in range(10):
            writer.append(topic, None, b"", partition=number % 2)
        writer.append(other, None, b"")
    begin, end = log.begin_offsets([topic, other]), log.end_offsets([topic, other])
    assert list(begin.values()) == [0] * 5
    assert [end[TopicPartition(topic, p)] for p in range(PARTITIONS)] == [5, 5, 0, 0]
    assert end[TopicPartition(other, 0)] == 1
    with log.reader(begin) as reader:
        poll_until(reader, 11)
        assert sum(lag(end, reader.positions()).values()) == 0
    assert lag(end, {TopicPartition(topic, 0): 2})[TopicPartition(topic, 0)] == 3


def test_offsets_by_append_time(log: EventLog, topic: str) -> None:
    with log.writer() as writer:
        for number in range(40):
            writer.append(topic, f"user-{number}", b"")
            if number % 10 == 9:
                writer.flush()
                time.sleep(0.01)
    records = list(read(log, topic))
    end = log.end_offsets([topic])
    times = sorted({record.append_time for record in records})
    for append_time in (0, times[0], times[1], times[-1], times[-1] + 1):
        expected = dict(end)
        for record in reversed(records):
            if record.append_time >= append_time:
                expected[record.source] = record.offset
        assert log.offsets_at([topic], append_time) == expected


def test_a_position_beyond_the_end_has_expired(log: EventLog, topic: str) -> None:
    append_all(log, topic, [("a", b"")] * 3)
    source = TopicPartition(topic, partition_of("a", PARTITIONS))
    with log.reader({source: 3}) as reader:
        assert reader.poll(10, timeout_seconds=0.1) == []
        reader.seek({source: 1_000})
        with pytest.raises(OffsetsExpired) as caught:
            poll_until(reader, 1)
        assert (caught.value.topic, caught.value.partition) == source
        assert (caught.value.requested, caught.value.begin, caught.value.end) == (1_000, 0, 3)
        reader.seek({source: 2})
        assert [record.offset for record in poll_until(reader, 1)] == [2]


def test_progress_is_reported_by_group(log: EventLog, topic: str, prefix: str) -> None:
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    assert log.reported(prefix, [topic]) == {}
    log.report(prefix, {first: 3, second: 4})
    log.report(prefix, {second: 7})
    log.report(f"{prefix}-other", {first: 1})
    assert log.reported(prefix, [topic]) == {first: 3, second: 7}
    assert log.reported(prefix, [f"{prefix}.elsewhere"]) == {}


# --- compacted topics


def test_a_compacted_read_has_the_last_of_each_key_without_tombstones(log: EventLog, prefix: str) -> None:
    topic = f"{prefix}.items"
    log.create_topics([TopicSpec(topic, PARTITIONS, compacted=True)])
    append_all(log, topic, [("a", b"1"), ("b", b"1"), ("a", b"2"), ("c", b"1"), ("b", None), ("d", None)])
    assert {key: record.value for key, record in read_compacted(log, topic).items()} == {"a": b"2", "c": b"1"}
    append_all(log, topic, [("b", b"again"), ("c", None)])
    assert {k: r.value for k, r in read_compacted(log, topic).items()} == {"a": b"2", "b": b"again"}


def test_a_compacted_topic_takes_no_record_without_key(log: EventLog, prefix: str) -> None:
    topic = f"{prefix}.items"
    log.create_topics([TopicSpec(topic, 1, compacted=True)])
    writer = log.writer()
    with pytest.raises(DeliveryError):
        writer.append(topic, None, b"value")
        writer.flush()


def test_an_empty_topic_reads_as_nothing(log: EventLog, topic: str) -> None:
    assert list(read(log, topic)) == []


# --- delivery


def test_a_record_that_no_engine_stores_is_refused_at_once(log: EventLog, topic: str) -> None:
    with log.writer() as writer:
        with pytest.raises(DeliveryError, match="larger than"):
            writer.append(topic, "key", bytes(MAX_RECORD_BYTES + 1))
        with pytest.raises(DeliveryError, match="a key or a value"):
            writer.append(topic, None, None)
        writer.append(topic, "key", bytes(MAX_RECORD_BYTES - 3))
        writer.flush()
    assert [len(record.value or b"") for record in read(log, topic)] == [MAX_RECORD_BYTES - 3]


def test_sends_in_flight_are_bounded(log: EventLog, topic: str) -> None:
    with log.writer(max_in_flight=10) as writer:
        for number in range(1, 201):
            writer.append(topic, f"user-{number}", b"")
            if number % 50 == 0:
                assert sum(log.end_offsets([topic]).values()) >= number - 10


def test_threads_share_a_writer(log: EventLog, topic: str) -> None:
    def append_own(name: int) -> None:
        for number in range(50):
            writer.append(topic, f"user-{name}", str(number).encode())
            if number % 10 == 9:
                writer.flush()

    with log.writer() as writer:
        threads = [threading.Thread(target=append_own, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    values: dict[str | None, list[int]] = defaultdict(list)
    for record in read(log, topic):
        values[record.key].append(int(record.value or b""))
    assert values == {f"user-{name}": list(range(50)) for name in range(4)}


def test_acknowledged_appends_survive_a_killed_process(log: EventLog, log_url: str, topic: str) -> None:
    with process("append", log_url, topic, "victim", "1000000") as victim:
        assert victim.stdout
        for _ in range(20):
            acknowledged = int(victim.stdout.readline())
        victim.kill()
        rest = victim.stdout.read().split()
    acknowledged = int(rest[-1]) if rest else acknowledged
    values = sorted(int(record.value or b"") for record in read(log, topic))
    assert values[:acknowledged] == list(range(acknowledged))
    assert len(values) == len(set(values))


def test_many_processes_write_and_read_at_once(log_url: str, log: EventLog, topic: str) -> None:
    writers = [process("append", log_url, topic, f"writer{i}", "300") for i in range(3)]
    readers = [process("read", log_url, topic, "900") for _ in range(2)]
    outputs = [one.communicate(timeout=60)[0] for one in (*writers, *readers)]
    assert [one.returncode for one in (*writers, *readers)] == [0] * 5
    for output in outputs[len(writers) :]:
        values: dict[str, list[int]] = defaultdict(list)
        for line in output.splitlines():
            key, value = line.split()
            values[key].append(int(value))
        assert values == {f"writer{i}-{k}": list(range(k, 300, 3)) for i in range(3) for k in range(3)}


# --- the fenced writer


def test_a_fenced_writer_returns_growing_offsets(log: EventLog, journal: str) -> None:
    with log.fenced_writer(journal, "learner") as writer:
        offsets = [writer.append(str(number).encode()) for number in range(5)]
    records = list(read(log, journal))
    assert [record.offset for record in records] == offsets
    assert [record.value for record in records] == [b"0", b"1", b"2", b"3", b"4"]
    assert offsets == sorted(offsets)


@pytest.mark.parametrize("successor", ["learner", "another"])
def test_a_second_fenced_writer_fences_the_first(log: EventLog, journal: str, successor: str) -> None:
    first = log.fenced_writer(journal, "learner")
    first.append(b"mine")
    with log.fenced_writer(journal, successor) as second:
        second.append(b"yours")
        for _ in range(2):
            with pytest.raises(Fenced, match=journal):
                first.append(b"too late")
        second.append(b"still yours")
    first.close()
    assert [record.value for record in read(log, journal)] == [b"mine", b"yours", b"still yours"]


def test_a_reader_follows_a_fenced_writer_to_its_end(log: EventLog, journal: str) -> None:
    with log.fenced_writer(journal, "learner") as writer, log.reader(log.begin_offsets([journal])) as reader:
        for number in range(3):
            writer.append(str(number).encode())
            assert [record.value for record in poll_until(reader, 1)] == [str(number).encode()]
        deadline = time.monotonic() + 60
        while sum(lag(log.end_offsets([journal]), reader.positions()).values()):
            assert reader.poll(10, timeout_seconds=0.1) == []
            assert time.monotonic() < deadline


def test_a_fenced_writer_needs_a_topic_of_one_partition(log: EventLog, topic: str) -> None:
    with pytest.raises(TopicError, match="exactly one"):
        log.fenced_writer(topic, "learner")
