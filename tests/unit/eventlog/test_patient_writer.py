"""A patient writer appends again what was not acknowledged, and gives up only when asked to stop."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from pipeline.errors import DeliveryError, LogUnavailable
from pipeline.eventlog import patience
from pipeline.eventlog.patient_writer import PatientWriter
from pipeline.eventlog.port import TopicSpec, read
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.eventlog.sqlite.writer import SqliteWriter
from pipeline.signals import Stopped

TOPIC = "events"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteLog:
    monkeypatch.setattr(patience, "_FIRST_PAUSE_SECONDS", 0.001)
    made = SqliteLog(tmp_path / "log.db")
    made.create_topics([TopicSpec(TOPIC, 1)])
    return made


def stored(log: SqliteLog) -> list[str | None]:
    return [record.key for record in read(log, TOPIC)]


def fail_flushes(monkeypatch: pytest.MonkeyPatch, times: int, error: Exception) -> None:
    """Let so many flushes of any writer fail before they store anything."""
    flush, left = SqliteWriter.flush, [error] * times

    def failing(writer: SqliteWriter) -> None:
        if left:
            with writer._buffer_lock:
                writer._buffer.clear()
            writer._error = DeliveryError("lost")
            raise left.pop()
        flush(writer)

    monkeypatch.setattr(SqliteWriter, "flush", failing)
    monkeypatch.setattr(SqliteWriter, "_commit_soon", lambda _: None)


@pytest.mark.parametrize("error", [DeliveryError("not acknowledged"), LogUnavailable("away")])
@pytest.mark.parametrize("times", [0, 1, 3])
def test_everything_is_stored_whatever_fails(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, times: int, error: Exception
) -> None:
    fail_flushes(monkeypatch, times, error)
    with PatientWriter(log, Event()) as writer:
        for number in range(5):
            writer.append(TOPIC, str(number), b"{}")
        writer.flush()
        writer.append(TOPIC, "5", b"{}")
        writer.flush()
    assert stored(log) == ["0", "1", "2", "3", "4", "5"]


def test_more_records_than_may_be_in_flight_are_flushed(log: SqliteLog) -> None:
    with PatientWriter(log, Event(), max_in_flight=2) as writer:
        for number in range(5):
            writer.append(TOPIC, str(number), b"{}")
        writer.flush()
    assert len(stored(log)) == 5


def test_it_gives_up_when_it_is_asked_to_stop(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_flushes(monkeypatch, 1_000, LogUnavailable("away"))
    stop = Event()
    with PatientWriter(log, stop) as writer:
        writer.append(TOPIC, "0", b"{}")
        stop.set()
        with pytest.raises(Stopped):
            writer.flush()


def test_a_record_that_no_log_can_store_is_refused_at_once(log: SqliteLog) -> None:
    with PatientWriter(log, Event()) as writer, pytest.raises(DeliveryError, match="a key or a value"):
        writer.append(TOPIC, None, None)
