"""The SQLite engine when its file is locked, missing, replaced, of an older format, or its disk is full."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import DeliveryError, LogUnavailable
from pipeline.eventlog.port import EventLog, TopicPartition, TopicSpec, read
from pipeline.eventlog.sqlite import SqliteLog

TOPIC = "shop.topic"
FORMAT_1 = """
CREATE TABLE topics (
    name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, compacted INTEGER NOT NULL,
    retention_ms INTEGER, compaction_lag_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE partitions (
    slot INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    begin_offset INTEGER NOT NULL DEFAULT 0, end_offset INTEGER NOT NULL DEFAULT 0,
    last_append_time INTEGER NOT NULL DEFAULT 0, compacted_to INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, append_time INTEGER NOT NULL, key TEXT, value BLOB
);
CREATE TABLE latest (
    slot INTEGER, key TEXT, record_offset INTEGER NOT NULL, tombstone_time INTEGER,
    PRIMARY KEY (slot, key)
) WITHOUT ROWID;
CREATE INDEX tombstones ON latest (slot, tombstone_time) WHERE tombstone_time IS NOT NULL;
CREATE TABLE leases (topic TEXT PRIMARY KEY, epoch INTEGER NOT NULL, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE reported (
    reader_group TEXT, topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL,
    PRIMARY KEY (reader_group, topic, partition)
) WITHOUT ROWID;
PRAGMA user_version = 1;
INSERT INTO topics VALUES ('shop.topic', 1, 0, NULL, 0), ('shop.other', 2, 1, 86400000, 1000);
INSERT INTO partitions (slot, topic, partition, begin_offset, end_offset, last_append_time)
    VALUES (1, 'shop.topic', 0, 0, 2, 1001), (2, 'shop.other', 0, 0, 0, 0), (3, 'shop.other', 1, 0, 0, 0);
INSERT INTO records VALUES (1 << 44, 1000, 'a', x'30'), (1 << 44 | 1, 1001, 'b', x'31');
INSERT INTO leases VALUES ('shop.topic', 3, 'learner');
INSERT INTO reported VALUES ('learner', 'shop.topic', 0, 2);
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(path, busy_seconds=0.3) as log:
        log.create_topics([TopicSpec(TOPIC, 1)])
        yield log


def append(log: EventLog, *values: bytes) -> None:
    with log.writer() as writer:
        for value in values:
            writer.append(TOPIC, "key", value)


def values(log: EventLog) -> list[bytes | None]:
    return [record.value for record in read(log, TOPIC)]


# --- formats


def test_a_file_of_format_1_is_migrated_in_place(path: Path) -> None:
    with sqlite3.connect(path) as old:
        old.executescript(FORMAT_1)
    with SqliteLog(path) as log:
        ids = log.topic_ids(["shop.topic", "shop.other"])
        assert len(set(ids.values())) == 2
        assert log.describe_topics() == {
            "shop.topic": TopicSpec("shop.topic", 1),
            "shop.other": TopicSpec("shop.other", 2, True, 86_400_000, 1_000),
        }
        assert [(r.offset, r.append_time, r.key, r.value) for r in read(log, TOPIC)] == [
            (0, 1000, "a", b"0"),
            (1, 1001, "b", b"1"),
        ]
        assert log.reported("learner", [TOPIC]) == {TopicPartition(TOPIC, 0): 2}
        append(log, b"2")
        assert len(log.create_topics([TopicSpec("shop.new", 1)])) == 1
    with SqliteLog(path) as log:  # the ids are kept
        assert log.topic_ids(["shop.topic", "shop.other"]) == ids
        assert values(log) == [b"0", b"1", b"2"]


# --- away


def test_a_locked_file_is_unavailable_and_then_works_again(path: Path, log: SqliteLog) -> None:
    append(log, b"before")
    backup = sqlite3.connect(path, isolation_level=None)
    backup.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailable, match=r"log\.db: database is locked \(another process holds its lock"):
        log.report("group", {TopicPartition(TOPIC, 0): 1})
    with pytest.raises((LogUnavailable, DeliveryError), match="locked"):
        append(log, b"during")
    backup.execute("ROLLBACK")
    backup.close()
    append(log, b"after")
    assert values(log) == [b"before", b"after"]


def test_a_missing_file_is_unavailable_until_it_is_back(path: Path, log: SqliteLog) -> None:
    append(log, b"before")
    with log.reader(log.begin_offsets([TOPIC])) as reader:
        assert len(reader.poll(10, 1.0)) == 1
        path.rename(path.with_name("away"))
        with pytest.raises(LogUnavailable, match="missing"):
            reader.poll(10, 0)
        with pytest.raises(LogUnavailable, match="missing"):
            log.end_offsets([TOPIC])
        assert not path.exists()  # nobody made a new one
        path.with_name("away").rename(path)
        append(log, b"after")
        assert [record.value for record in reader.poll(10, 1.0)] == [b"after"]


def test_a_start_while_the_file_is_missing_loses_nothing(path: Path, log: SqliteLog) -> None:
    """SQLite deletes the write-ahead log of a file that it begins anew, and with it what was acknowledged."""
    append(log, b"before")
    path.rename(path.with_name("away"))
    with pytest.raises(LogUnavailable, match="with its newest records; put it back"):
        SqliteLog(path)
    assert not path.exists()
    path.with_name("away").rename(path)
    with SqliteLog(path) as started:
        assert values(started) == [b"before"]
    append(log, b"after")
    assert values(log) == [b"before", b"after"]


def test_a_file_made_anew_is_noticed(path: Path, log: SqliteLog) -> None:
    append(log, b"old")
    before = log.topic_ids([TOPIC])
    with log.reader(log.begin_offsets([TOPIC])) as reader:
        for file in path.parent.glob("log.db*"):
            file.unlink()
        with pytest.raises(LogUnavailable, match="missing"):
            log.topic_ids([TOPIC])
        with SqliteLog(path) as another:
            another.create_topics([TopicSpec(TOPIC, 1)])
        with pytest.raises(LogUnavailable, match="another file has taken its place"):
            reader.poll(10, 0)
        after = log.topic_ids([TOPIC])
    assert set(after) == {TOPIC}
    assert after != before
    append(log, b"new")
    assert values(log) == [b"new"]


# --- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("cannot mount a small disk here (needs root)")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_named_and_loses_nothing_acknowledged(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with SqliteLog(small_disk / "log.db") as log:
        log.create_topics([TopicSpec(TOPIC, 1)])
        append(log, b"acknowledged")
        ballast.write_bytes(bytes(_room(small_disk) - 64 * 1024))
        with pytest.raises(DeliveryError, match=r"disk is full \(free space on its volume") as caught:
            append(log, *[bytes(1_000)] * 500)
        assert isinstance(caught.value.__cause__, LogUnavailable | DeliveryError)
        assert str(small_disk) in str(caught.value)
        assert values(log) == [b"acknowledged"]  # no half of a group
        ballast.unlink()
        append(log, b"after")
        assert values(log) == [b"acknowledged", b"after"]


def test_every_request_names_a_full_file(log: SqliteLog) -> None:
    append(log, b"before")
    connection = log._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")  # the same error as of a full disk
    with pytest.raises(LogUnavailable, match=r"log\.db: .* is full \(free space"):
        log.create_topics([TopicSpec(f"shop.{number}", 16) for number in range(200)])
    assert set(log.describe_topics()) == {TOPIC}
    connection.execute("PRAGMA max_page_count = 1000000")
    assert log.create_topics([TopicSpec("shop.new", 1)]) == ["shop.new"]


def _room(disk: Path) -> int:
    return shutil.disk_usage(disk).free
