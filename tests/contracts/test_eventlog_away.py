"""A log that goes away and comes back: a broker killed and started again, a SQLite file locked."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from threading import Event, Thread, Timer

import pytest

from deploy.kafka.broker import Broker
from pipeline.errors import LogUnavailable
from pipeline.eventlog import open_log
from pipeline.eventlog.patience import patiently, wait_until_back
from pipeline.eventlog.port import EventLog, TopicPartition, TopicSpec
from pipeline.eventlog.sqlite import SqliteLog

TOPIC = "shop.topic"
SOURCE = TopicPartition(TOPIC, 0)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage()[:21] for record in caplog.records if record.name.startswith("pipeline")]


def test_a_log_that_is_there_answers_a_ping(log_url: str) -> None:
    with open_log(log_url) as log:
        log.ping(timeout_seconds=5)
        assert wait_until_back(log, Event())


@pytest.mark.usefixtures("kafka_url")  # where there is no broker, this test is skipped with the others
def test_a_broker_is_killed_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pipeline.eventlog.kafka.admin.ANSWER_SECONDS", 1.0)
    with Broker(tmp_path, quick_start=True) as broker, open_log(broker.url) as log:
        log.create_topics([TopicSpec(TOPIC, 1)])
        with log.writer() as writer, log.reader({SOURCE: 0}) as reader:
            writer.append(TOPIC, "key", b"before")
            writer.flush()
            broker.kill()
            assert_away(log)
            found = reader.poll(10, timeout_seconds=0.5)  # waits, and does not raise
            restart = Thread(target=broker.start)
            restart.start()
            assert patiently(lambda: log.end_offsets([TOPIC]), Event(), log) == {SOURCE: 1}
            restart.join()
            writer.append(TOPIC, "key", b"after")  # the same writer and reader go on
            writer.flush()
            while len(found) < 2:
                found += reader.poll(10, timeout_seconds=20)
        assert [record.value for record in found] == [b"before", b"after"]
    assert lines(caplog) == ["the event log is away", "the event log is back"]


def test_a_file_is_locked_for_longer_than_the_busy_timeout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SqliteLog(tmp_path / "log.db", busy_seconds=0.2) as log:
        log.create_topics([TopicSpec(TOPIC, 1)])
        backup = sqlite3.connect(tmp_path / "log.db", isolation_level=None, check_same_thread=False)
        backup.execute("BEGIN IMMEDIATE")
        unlock = Timer(2.0, lambda: backup.execute("ROLLBACK"))
        unlock.start()
        started = time.monotonic()
        patiently(lambda: log.report("group", {SOURCE: 1}), Event(), log)
        assert 1.5 < time.monotonic() - started < 10
        unlock.join()
        backup.close()
        assert log.reported("group", [TOPIC]) == {SOURCE: 1}
    assert lines(caplog) == ["the event log is away", "the event log is back"]


def assert_away(log: EventLog) -> None:
    started = time.monotonic()
    with pytest.raises(LogUnavailable):
        log.ping(timeout_seconds=0.5)
    assert time.monotonic() - started < 5
