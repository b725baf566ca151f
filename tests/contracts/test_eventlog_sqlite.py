"""Behaviour of the SQLite engine only: retention, compaction, append times from an injected clock."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.errors import DeliveryError, InvalidSettings, OffsetsExpired
from pipeline.eventlog.port import TopicPartition, TopicSpec, read, read_compacted
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.eventlog.sqlite.database import Database
from pipeline.eventlog.sqlite.upkeep import TOMBSTONE_RETENTION_MS

TOPIC = "shop.topic"
SOURCE = TopicPartition(TOPIC, 0)


class Clock:
    """A clock in ms that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[SqliteLog]:
    with SqliteLog(tmp_path / "log.db", clock) as log:
        yield log


def append(log: SqliteLog, *records: tuple[str, bytes | None]) -> None:
    with log.writer() as writer:
        for key, value in records:
            writer.append(TOPIC, key, value)


def contents(log: SqliteLog) -> list[tuple[int, str | None, bytes | None]]:
    return [(record.offset, record.key, record.value) for record in read(log, TOPIC)]


def test_append_times_never_fall(log: SqliteLog, clock: Clock) -> None:
    log.create_topics([TopicSpec(TOPIC, 1)])
    for now in (1_000, 900, 1_100):
        clock.now = now
        append(log, ("key", b""))
    assert [record.append_time for record in read(log, TOPIC)] == [1_000, 1_000, 1_100]


def test_retention_moves_the_begin(log: SqliteLog, clock: Clock) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, retention_ms=1_000)])
    append(log, ("old", b"0"), ("old", b"1"))
    clock.now += 600
    append(log, ("new", b"2"))
    log.upkeep()
    assert log.begin_offsets([TOPIC]) == {SOURCE: 0}
    clock.now += 401
    log.upkeep()
    assert log.begin_offsets([TOPIC]) == {SOURCE: 2}
    assert contents(log) == [(2, "new", b"2")]
    clock.now += 1_000
    log.upkeep()
    assert log.begin_offsets([TOPIC]) == log.end_offsets([TOPIC]) == {SOURCE: 3}
    append(log, ("newest", b"3"))
    assert contents(log) == [(3, "newest", b"3")]


def test_a_position_before_the_begin_has_expired(log: SqliteLog, clock: Clock) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, retention_ms=1_000)])
    append(log, *[("key", b"")] * 5)
    with log.reader({SOURCE: 1}) as reader:
        assert len(reader.poll(1, timeout_seconds=0)) == 1
        clock.now += 1_001
        log.upkeep()
        with pytest.raises(OffsetsExpired, match="lost to retention: 3 of its records") as caught:
            reader.poll(1, timeout_seconds=0)
        assert (caught.value.requested, caught.value.begin, caught.value.end) == (2, 5, 5)


def test_upkeep_takes_as_many_steps_as_it_needs(log: SqliteLog, clock: Clock) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, retention_ms=1_000)])
    append(log, *[("key", b"")] * 4_100)
    clock.now += 1_001
    log.upkeep()
    assert log.begin_offsets([TOPIC]) == {SOURCE: 4_100}


def test_compaction_drops_superseded_records_only_after_the_lag(log: SqliteLog, clock: Clock) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True, compaction_lag_ms=1_000)])
    append(log, ("a", b"0"), ("b", b"1"))
    clock.now += 5_000
    append(log, ("a", b"2"))
    log.upkeep()
    assert contents(log) == [(0, "a", b"0"), (1, "b", b"1"), (2, "a", b"2")]
    clock.now += 1_001
    log.upkeep()
    assert contents(log) == [(1, "b", b"1"), (2, "a", b"2")]
    assert log.begin_offsets([TOPIC]) == {SOURCE: 0}
    append(log, ("a", b"3"), ("a", b"4"))
    clock.now += 1_001
    log.upkeep()
    assert contents(log) == [(1, "b", b"1"), (4, "a", b"4")]


def test_a_reader_passes_over_what_compaction_took(log: SqliteLog, clock: Clock) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True)])
    append(log, *[("a", b"")] * 10, ("b", b""))
    clock.now += 1
    log.upkeep()
    with log.reader({SOURCE: 3}) as reader:
        assert [record.offset for record in reader.poll(100, timeout_seconds=0)] == [9, 10]
        assert reader.positions() == {SOURCE: 11}


def test_a_reader_that_has_read_all_reads_again_only_after_a_commit_or_a_seek(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, transaction = list[str](), Database.transaction

    def counted(database: Database, mode: str = "IMMEDIATE") -> AbstractContextManager[sqlite3.Connection]:
        reads.append(mode)
        return transaction(database, mode)

    log.create_topics([TopicSpec(TOPIC, 1)])
    append(log, ("a", b"1"), ("b", b"2"))
    with log.reader({SOURCE: 0}) as reader:
        monkeypatch.setattr(Database, "transaction", counted)
        assert [len(reader.poll(1, 0)) for _ in range(5)] == [1, 1, 0, 0, 0]
        assert reads == ["DEFERRED"] * 2
        append(log, ("c", b"3"))
        assert [record.key for record in reader.poll(10, 0)] == ["c"]
        reader.seek({SOURCE: 1})
        assert [record.key for record in reader.poll(10, 0)] == ["b", "c"]
        assert reader.poll(10, 0) == []


def test_a_tombstone_goes_after_its_time(log: SqliteLog, clock: Clock) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True, compaction_lag_ms=1_000)])
    append(log, ("gone", b"0"), ("gone", None), ("stays", b"2"))
    clock.now += 1_001
    log.upkeep()
    assert contents(log) == [(1, "gone", None), (2, "stays", b"2")]
    clock.now += TOMBSTONE_RETENTION_MS
    log.upkeep()
    assert contents(log) == [(2, "stays", b"2")]
    append(log, ("gone", b"back"))
    assert set(read_compacted(log, TOPIC)) == {"gone", "stays"}


def test_retention_of_a_compacted_topic_forgets_its_keys(log: SqliteLog, clock: Clock) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True, retention_ms=1_000)])
    append(log, ("a", b"0"), ("b", b"1"))
    clock.now += 600
    append(log, ("a", b"2"))
    clock.now += 1
    log.upkeep()
    assert contents(log) == [(1, "b", b"1"), (2, "a", b"2")]
    clock.now += 400
    log.upkeep()
    assert contents(log) == [(2, "a", b"2")]
    append(log, ("a", b"3"))
    clock.now += 1
    log.upkeep()
    assert contents(log) == [(3, "a", b"3")]


def test_a_lost_record_fails_the_writer_for_good(log: SqliteLog, tmp_path: Path) -> None:
    log.create_topics([TopicSpec(TOPIC, 1)])
    writer = log.writer()
    writer.append(TOPIC, "key", b"kept")
    writer.flush()
    with sqlite3.connect(tmp_path / "log.db") as other:
        other.execute("ALTER TABLE records RENAME TO elsewhere")
    writer.append(TOPIC, "key", b"lost")
    with pytest.raises(DeliveryError, match="no such table"):
        writer.flush()
    with sqlite3.connect(tmp_path / "log.db") as other:
        other.execute("ALTER TABLE elsewhere RENAME TO records")
    with pytest.raises(DeliveryError, match="no such table"):
        writer.append(TOPIC, "key", b"refused")
    with pytest.raises(DeliveryError, match="no such table"):
        writer.flush()
    with pytest.raises(DeliveryError):
        writer.close()
    append(log, ("key", b"by another"))
    assert [value for _, _, value in contents(log)] == [b"kept", b"by another"]


def test_many_processes_may_create_the_file_at_once(tmp_path: Path) -> None:
    code = f"from pipeline.eventlog import open_log; open_log('sqlite:///{tmp_path}/new/log.db').close()"
    openers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(6)]
    assert [opener.wait() for opener in openers] == [0] * 6


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE precious (a)")
    with pytest.raises(InvalidSettings, match="not an event log"):
        SqliteLog(foreign)
    text = tmp_path / "text.txt"
    text.write_text("no database at all" * 100)
    with pytest.raises(InvalidSettings, match=r"text\.txt: no event log: file is not a database"):
        SqliteLog(text)
