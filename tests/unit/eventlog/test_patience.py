"""Waiting for a log that is away, by a clock that the test moves."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Event
from typing import cast

import pytest

from pipeline.errors import DeliveryError, LogRefused, LogUnavailable, TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.patience import opened, patiently, wait_until_back
from pipeline.eventlog.port import EventLog
from pipeline.signals import Stopped


class Clock(Event):
    """A stop event that never waits: it moves the clock instead, and is set at a time."""

    def __init__(self, stop_at: float = float("inf")) -> None:
        super().__init__()
        self.now = 0.0
        self.pauses: list[float] = []
        self._stop_at = stop_at

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        self.now += timeout
        if self.now >= self._stop_at:
            self.set()
        return self.is_set()

    def time(self) -> float:
        return self.now


class Log:
    """A log that is away for some pings."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.pings = 0

    def ping(self, timeout_seconds: float) -> None:
        self.pings += 1
        if self.pings <= self.failures:
            raise LogUnavailable("broker:9092 does not answer")


class Action:
    """Works after some failures."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise LogUnavailable("broker:9092 does not answer")
        return "done"


def test_what_works_at_once_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    assert patiently(Action(0), clock, clock=clock.time) == "done"
    assert clock.pauses == []
    assert caplog.records == []


def test_pauses_grow_to_a_limit_and_two_lines_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.DEBUG):
        assert patiently(Action(7), clock, clock=clock.time) == "done"
    assert clock.pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0])
    away, back = [record.getMessage() for record in caplog.records]
    assert away == "the event log is away, waiting until it is back: broker:9092 does not answer"
    assert back == "the event log is back after 9.0 s"


def test_a_stop_ends_the_wait(caplog: pytest.LogCaptureFixture) -> None:
    clock, action = Clock(stop_at=3.0), Action(1_000)
    assert patiently(action, clock, clock=clock.time) is None
    assert clock.now < 6
    assert len(caplog.records) == 1
    assert patiently(action, clock, clock=clock.time) is None  # it is not even tried
    assert action.calls == len(clock.pauses)


def test_with_a_log_the_action_is_repeated_only_when_the_log_answers() -> None:
    clock, action, log = Clock(), Action(1), Log(5)
    assert patiently(action, clock, cast(EventLog, log), clock.time) == "done"
    assert (action.calls, log.pings) == (2, 6)


def test_other_errors_pass() -> None:
    def fails() -> None:
        raise DeliveryError("lost")

    with pytest.raises(DeliveryError):
        patiently(fails, Clock())


def test_a_refusal_ends_what_starts_and_is_waited_out_later() -> None:
    answers = [LogRefused("wrong password"), LogRefused("wrong password")]

    def action() -> str:
        if answers:
            raise answers.pop()
        return "done"

    with pytest.raises(LogRefused):
        patiently(action, Event(), is_start=True)
    assert patiently(action, Event()) == "done"


def test_wait_until_back() -> None:
    assert wait_until_back(cast(EventLog, Log(3)), Clock())
    assert not wait_until_back(cast(EventLog, Log(1_000)), Clock(stop_at=5))


def test_a_log_is_opened_once_it_is_there(tmp_path: Path) -> None:
    open_log(f"sqlite:///{tmp_path}/log.db").close()
    (tmp_path / "log.db").rename(tmp_path / "away")
    (tmp_path / "log.db-wal").touch()  # its newest records show that it was there

    class Waits(Clock):
        def wait(self, timeout: float | None = None) -> bool:
            (tmp_path / "away").rename(tmp_path / "log.db")
            return super().wait(timeout)

    stop = Waits()
    with opened(f"sqlite:///{tmp_path}/log.db", {}, stop) as event_log:
        assert event_log.describe_topics() == {}
    assert len(stop.pauses) == 1


def test_a_missing_file_is_not_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with pytest.raises(TopicError, match=r"log\.db: there is no such file"), opened(url, {}, Clock()):
        pass
    assert not list(tmp_path.iterdir())


def test_a_stop_ends_the_wait_for_a_log_to_open(tmp_path: Path) -> None:
    (tmp_path / "log.db-wal").touch()
    with pytest.raises(Stopped), opened(f"sqlite:///{tmp_path}/log.db", {}, Clock(stop_at=1)):
        pass
