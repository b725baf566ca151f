"""The tape loses, repeats and reorders nothing, and cuts again what it cut before."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import LogUnavailable, OffsetsExpired
from pipeline.eventlog.port import LogWriter, Record, TopicPartition, TopicSpec
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.journal import record_buffer as record_buffer_module
from pipeline.journal.record_buffer import RecordBuffer, in_order

PARTITIONS = 3
HOUR_MS = 3_600_000

# What happens to a log that is being read: a list appends (to the partitions it names), a
# number cuts (at most so many).
Events = list[list[int] | int]
events_strategy = st.lists(
    st.lists(st.integers(0, PARTITIONS - 1), min_size=1, max_size=8) | st.integers(1, 6), max_size=12
)


class TapedLog:
    """A log whose clock goes on by hand, with a new topic for every story."""

    def __init__(self, log: SqliteLog, writer: LogWriter, now: list[int]) -> None:
        self.log = log
        self.now = now
        self._writer = writer
        self._topics = count()

    def topic(self, retention_ms: int | None = None) -> str:
        name = f"topic-{next(self._topics)}"
        self.log.create_topics([TopicSpec(name, PARTITIONS, retention_ms=retention_ms)])
        return name

    def append(self, topic: str, partitions: list[int]) -> None:
        for partition in partitions:
            self._writer.append(topic, "key", b"value", partition=partition)
        self._writer.flush()
        self.now[0] += 1

    def buffer(self, topic: str) -> RecordBuffer:
        return RecordBuffer(self.log, self.log.begin_offsets([topic]))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TapedLog]:
    now = [1_000]
    with SqliteLog(tmp_path_factory.mktemp("tape") / "log.db", lambda: now[0]) as log, log.writer() as writer:
        yield TapedLog(log, writer, now)


def cut_all(
    recorded: TapedLog, topic: str, happened: Events
) -> list[tuple[list[Record], dict[TopicPartition, int]]]:
    """Every batch that a tape cuts while things happen and afterwards, with its end offsets."""
    batches = []
    with closing(recorded.buffer(topic)) as buffer:
        for event in [*happened, *[5] * 100]:
            if isinstance(event, list):
                recorded.append(topic, event)
            elif batch := buffer.cut(event, timeout_seconds=0):
                assert len(batch) <= event
                batches.append((batch, buffer.positions()))
    return batches


@settings(max_examples=40, deadline=None)
@given(happened=events_strategy)
def test_no_record_is_lost_or_repeated_or_out_of_order(recorded: TapedLog, happened: Events) -> None:
    topic = recorded.topic()
    offsets = defaultdict(list)
    for batch, _ in cut_all(recorded, topic, happened):
        assert batch == in_order(batch)
        for record in batch:
            offsets[record.source].append(record.offset)
    for source, end in recorded.log.end_offsets([topic]).items():
        assert offsets[source] == list(range(end))


@settings(max_examples=40, deadline=None)
@given(happened=events_strategy, data=st.data())
def test_what_was_cut_is_cut_again_from_its_end_offsets(
    recorded: TapedLog, happened: Events, data: st.DataObject
) -> None:
    topic = recorded.topic()
    batches = cut_all(recorded, topic, happened)
    start = data.draw(st.integers(0, len(batches)))
    stop = data.draw(st.integers(start, len(batches)))
    begin = batches[start - 1][1] if start else recorded.log.begin_offsets([topic])
    with closing(RecordBuffer(recorded.log, begin)) as buffer:
        for batch, ends in batches[start:stop]:
            assert buffer.cut_to(ends) == batch
            assert buffer.positions() == ends
        left = [record for batch in iter(lambda: buffer.cut(3, 0), []) for record in batch]
    assert sorted(left) == sorted(record for batch, _ in batches[stop:] for record in batch)


@settings(max_examples=40, deadline=None)
@given(happened=events_strategy, data=st.data())
def test_from_where_it_was_sent_it_cuts_what_a_new_tape_would(
    recorded: TapedLog, happened: Events, data: st.DataObject
) -> None:
    topic = recorded.topic()
    cut_all(recorded, topic, happened)
    begins, ends = recorded.log.begin_offsets([topic]), recorded.log.end_offsets([topic])
    there = {source: data.draw(st.integers(begins[source], end)) for source, end in ends.items()}
    foreign = {TopicPartition("other", 0): 7}
    with closing(recorded.buffer(topic)) as buffer, closing(RecordBuffer(recorded.log, there)) as new:
        buffer.cut(data.draw(st.integers(0, 6)), timeout_seconds=0)
        buffer.seek(there | foreign)
        assert buffer.positions() == there
        for _ in range(3):
            assert buffer.cut(2, 0) == new.cut(2, 0)
            assert buffer.positions() == new.positions()
        assert buffer.cut_to(ends) == new.cut_to(ends)


def test_what_was_read_ahead_belongs_to_no_batch_yet(recorded: TapedLog) -> None:
    topic = recorded.topic()
    recorded.append(topic, [0] * 5)
    with closing(recorded.buffer(topic)) as buffer:
        assert [record.offset for record in buffer.cut(2, 0)] == [0, 1]
        assert buffer.positions()[TopicPartition(topic, 0)] == 2


def test_the_earliest_appended_goes_first_however_full_its_partition(recorded: TapedLog) -> None:
    topic = recorded.topic()
    for partitions in ([0] * 3, [1], [0] * 50, [2, 1]):
        recorded.append(topic, partitions)
    with closing(recorded.buffer(topic)) as buffer:
        assert [record.partition for record in buffer.cut(4, 0)] == [0, 0, 0, 1]
        assert [record.partition for record in buffer.cut(50, 0)] == [0] * 50
        assert [record.partition for record in buffer.cut(50, 0)] == [1, 2]


def test_what_comes_late_waits_for_no_more_than_came_before_it(
    recorded: TapedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_buffer_module, "POLL_RECORDS", 4)
    topic = recorded.topic()
    recorded.append(topic, [0] * 20)
    recorded.append(topic, [1])
    with closing(recorded.buffer(topic)) as buffer:
        before = [buffer.cut(5, 0) for _ in range(20)]
    records = [record for batch in before for record in batch]
    assert len(records) == 21
    assert [record.offset for record in records if record.partition == 0] == list(range(20))


def test_lingering_lets_others_join_the_first(recorded: TapedLog) -> None:
    topic = recorded.topic()
    with closing(recorded.buffer(topic)) as buffer:
        recorded.append(topic, [0])
        late = threading.Timer(0.05, recorded.append, (topic, [1]))
        late.start()
        began = time.monotonic()
        batch = buffer.cut(2, timeout_seconds=0, linger_seconds=10)
        late.join()
    assert len(batch) == 2
    assert time.monotonic() - began < 5, "a full batch lingers no longer"


def test_without_lingering_the_first_goes_alone(recorded: TapedLog) -> None:
    topic = recorded.topic()
    with closing(recorded.buffer(topic)) as buffer:
        recorded.append(topic, [0])
        assert len(buffer.cut(2, timeout_seconds=0)) == 1


def test_a_cut_waits_for_a_first_record_and_then_gives_up(recorded: TapedLog) -> None:
    with closing(recorded.buffer(recorded.topic())) as buffer:
        began = time.monotonic()
        assert buffer.cut(2, timeout_seconds=0.05, linger_seconds=10) == []
    assert 0.05 <= time.monotonic() - began < 5


def test_records_lost_to_retention_are_said_to_be_lost(recorded: TapedLog) -> None:
    topic = recorded.topic(retention_ms=HOUR_MS)
    recorded.append(topic, [0, 1, 2])
    with closing(recorded.buffer(topic)) as buffer, closing(recorded.buffer(topic)) as again:
        recorded.now[0] += 2 * HOUR_MS
        recorded.log.upkeep()
        with pytest.raises(OffsetsExpired) as caught:
            buffer.cut(10, timeout_seconds=0)
        with pytest.raises(OffsetsExpired):
            again.cut_to(recorded.log.end_offsets([topic]))
    assert (caught.value.topic, caught.value.requested, caught.value.begin) == (topic, 0, 1)


def test_records_that_do_not_arrive_are_not_waited_for_for_ever(
    recorded: TapedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_buffer_module, "STALLED_SECONDS", 0.01)
    topic = recorded.topic()
    beyond = {source: end + 1 for source, end in recorded.log.end_offsets([topic]).items()}
    with closing(recorded.buffer(topic)) as buffer, pytest.raises(LogUnavailable, match="do not arrive"):
        buffer.cut_to(beyond)
