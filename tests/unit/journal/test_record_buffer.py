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

    def tape(self, topic: str) -> RecordBuffer:
        return RecordBuffer(self.log, self.log.begin_offsets([topic]))


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TapedLog]:
    now = [1_000]
    with SqliteLog(tmp_path_factory.mktemp("tape") / "log.db", lambda: now[0]) as log, log.writer() as writer:
        yield TapedLog(log, writer, now)


def cut_all(
    taped: TapedLog, topic: str, happened: Events
) -> list[tuple[list[Record], dict[TopicPartition, int]]]:
    """Every batch that a tape cuts while things happen and afterwards, with its end offsets."""
    batches = []
    with closing(taped.tape(topic)) as tape:
        for event in [*happened, *[5] * 100]:
            if isinstance(event, list):
                taped.append(topic, event)
            elif batch := tape.cut(event, timeout_seconds=0):
                assert len(batch) <= event
                batches.append((batch, tape.positions()))
    return batches


@settings(max_examples=40, deadline=None)
@given(happened=events_strategy)
def test_no_record_is_lost_or_repeated_or_out_of_order(taped: TapedLog, happened: Events) -> None:
    topic = taped.topic()
    offsets = defaultdict(list)
    for batch, _ in cut_all(taped, topic, happened):
        assert batch == in_order(batch)
        for record in batch:
            offsets[record.source].append(record.offset)
    for source, end in taped.log.end_offsets([topic]).items():
        assert offsets[source] == list(range(end))


@settings(max_examples=40, deadline=None)
@given(happened=events_strategy, data=st.data())
def test_what_was_cut_is_cut_again_from_its_end_offsets(
    taped: TapedLog, happened: Events, data: st.DataObject
) -> None:
    topic = taped.topic()
    batches = cut_all(taped, topic, happened)
    start = data.draw(st.integers(0, len(batches)))
    stop = data.draw(st.integers(start, len(batches)))
    begin = batches[start - 1][1] if start else taped.log.begin_offsets([topic])
    with closing(RecordBuffer(taped.log, begin)) as tape:
        for batch, ends in batches[start:stop]:
            assert tape.cut_to(ends) == batch
            assert tape.positions() == ends
        left = [record for batch in iter(lambda: tape.cut(3, 0), []) for record in batch]
    assert sorted(left) == sorted(record for batch, _ in batches[stop:] for record in batch)


@settings(max_examples=40, deadline=None)
@given(happened=events_strategy, data=st.data())
def test_from_where_it_was_sent_it_cuts_what_a_new_tape_would(
    taped: TapedLog, happened: Events, data: st.DataObject
) -> None:
    topic = taped.topic()
    cut_all(taped, topic, happened)
    begins, ends = taped.log.begin_offsets([topic]), taped.log.end_offsets([topic])
    there = {source: data.draw(st.integers(begins[source], end)) for source, end in ends.items()}
    foreign = {TopicPartition("other", 0): 7}
    with closing(taped.tape(topic)) as tape, closing(RecordBuffer(taped.log, there)) as new:
        tape.cut(data.draw(st.integers(0, 6)), timeout_seconds=0)
        tape.seek(there | foreign)
        assert tape.positions() == there
        for _ in range(3):
            assert tape.cut(2, 0) == new.cut(2, 0)
            assert tape.positions() == new.positions()
        assert tape.cut_to(ends) == new.cut_to(ends)


def test_what_was_read_ahead_belongs_to_no_batch_yet(taped: TapedLog) -> None:
    topic = taped.topic()
    taped.append(topic, [0] * 5)
    with closing(taped.tape(topic)) as tape:
        assert [record.offset for record in tape.cut(2, 0)] == [0, 1]
        assert tape.positions()[TopicPartition(topic, 0)] == 2


def test_the_earliest_appended_goes_first_however_full_its_partition(taped: TapedLog) -> None:
    topic = taped.topic()
    for partitions in ([0] * 3, [1], [0] * 50, [2, 1]):
        taped.append(topic, partitions)
    with closing(taped.tape(topic)) as tape:
        assert [record.partition for record in tape.cut(4, 0)] == [0, 0, 0, 1]
        assert [record.partition for record in tape.cut(50, 0)] == [0] * 50
        assert [record.partition for record in tape.cut(50, 0)] == [1, 2]


def test_what_comes_late_waits_for_no_more_than_came_before_it(
    taped: TapedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_buffer_module, "POLL_RECORDS", 4)
    topic = taped.topic()
    taped.append(topic, [0] * 20)
    taped.append(topic, [1])
    with closing(taped.tape(topic)) as tape:
        before = [tape.cut(5, 0) for _ in range(20)]
    records = [record for batch in before for record in batch]
    assert len(records) == 21
    assert [record.offset for record in records if record.partition == 0] == list(range(20))


def test_lingering_lets_others_join_the_first(taped: TapedLog) -> None:
    topic = taped.topic()
    with closing(taped.tape(topic)) as tape:
        taped.append(topic, [0])
        late = threading.Timer(0.05, taped.append, (topic, [1]))
        late.start()
        began = time.monotonic()
        batch = tape.cut(2, timeout_seconds=0, linger_seconds=10)
        late.join()
    assert len(batch) == 2
    assert time.monotonic() - began < 5, "a full batch lingers no longer"


def test_without_lingering_the_first_goes_alone(taped: TapedLog) -> None:
    topic = taped.topic()
    with closing(taped.tape(topic)) as tape:
        taped.append(topic, [0])
        assert len(tape.cut(2, timeout_seconds=0)) == 1


def test_a_cut_waits_for_a_first_record_and_then_gives_up(taped: TapedLog) -> None:
    with closing(taped.tape(taped.topic())) as tape:
        began = time.monotonic()
        assert tape.cut(2, timeout_seconds=0.05, linger_seconds=10) == []
    assert 0.05 <= time.monotonic() - began < 5


def test_records_lost_to_retention_are_said_to_be_lost(taped: TapedLog) -> None:
    topic = taped.topic(retention_ms=HOUR_MS)
    taped.append(topic, [0, 1, 2])
    with closing(taped.tape(topic)) as tape, closing(taped.tape(topic)) as again:
        taped.now[0] += 2 * HOUR_MS
        taped.log.upkeep()
        with pytest.raises(OffsetsExpired) as caught:
            tape.cut(10, timeout_seconds=0)
        with pytest.raises(OffsetsExpired):
            again.cut_to(taped.log.end_offsets([topic]))
    assert (caught.value.topic, caught.value.requested, caught.value.begin) == (topic, 0, 1)


def test_records_that_do_not_arrive_are_not_waited_for_for_ever(
    taped: TapedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_buffer_module, "STALLED_SECONDS", 0.01)
    topic = taped.topic()
    beyond = {source: end + 1 for source, end in taped.log.end_offsets([topic]).items()}
    with closing(taped.tape(topic)) as tape, pytest.raises(LogUnavailable, match="do not arrive"):
        tape.cut_to(beyond)
