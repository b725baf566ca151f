"""Groups share a flush; a log that is away fails requests at once; what was acknowledged is stored."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import cast

import pytest
from fastapi.testclient import TestClient

from pipeline.config import GatewayConfig
from pipeline.errors import DeliveryError, LogUnavailable, TopicError
from pipeline.eventlog.port import EventLog
from producers.gateway.acceptance import GatewayRecord, removal
from producers.gateway.app import create_app
from producers.gateway.group_writer import GroupWriter
from tests.support.gateway_harness import MUG, TOPICS, VIEW, GatewayHarness
from tests.support.serve_tools import wait_until


class Log:
    """A log whose flushes wait for leave and fail on demand; what was flushed is stored."""

    def __init__(self) -> None:
        self.stored: list[str | None] = []
        self.flushes = 0
        self.writers = 0
        self.failures: list[Exception] = []
        self.leave, self.flushing, self.back = Event(), Event(), Event()
        self.leave.set()
        self.back.set()

    def writer(self) -> Log:
        self.writers += 1
        self._appended: list[str | None] = []
        return self

    def append(self, topic: str, key: str | None, value: bytes | None) -> None:
        self._appended.append(key)

    def flush(self) -> None:
        self.flushing.set()
        assert self.leave.wait(10)
        if self.failures:
            raise self.failures.pop()
        self.flushes += 1
        self.stored += self._appended
        self._appended = []

    def ping(self, timeout_seconds: float) -> None:
        if not self.back.is_set():
            raise LogUnavailable("away")

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exc: object) -> None:
        """Do nothing."""


@contextmanager
def writing(log: Log) -> Iterator[tuple[GroupWriter, Future[None]]]:
    writer = GroupWriter(cast(EventLog, log), pause_seconds=0.0)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(writer.run)
        try:
            yield writer, running
        finally:
            log.leave.set()
            writer.close()


def record(key: str) -> GatewayRecord:
    return removal(TOPICS.items, key)


def test_requests_that_wait_together_share_a_flush() -> None:
    log = Log()
    log.leave.clear()
    with writing(log) as (writer, _):
        first = writer.submit([record("0")])
        assert log.flushing.wait(10)
        others = [writer.submit([record(str(number))]) for number in range(1, 20)]
        assert not first.done(), "nothing is acknowledged before it is durable"
        log.leave.set()
        for done in (first, *others):
            done.result(10)
    assert log.flushes == 2
    assert log.stored == [str(number) for number in range(20)]


@pytest.mark.parametrize("error", [DeliveryError("lost"), LogUnavailable("gone")])
def test_a_failed_group_fails_those_that_wait_and_the_next_are_stored(error: Exception) -> None:
    log = Log()
    log.leave.clear()
    log.back.clear()
    log.failures.append(error)
    with writing(log) as (writer, _):
        first = writer.submit([record("a")])
        assert log.flushing.wait(10)
        waiting = writer.submit([record("b")])
        log.leave.set()
        for done in (first, waiting):
            with pytest.raises(DeliveryError):
                done.result(10)
        assert writer.is_away
        with pytest.raises(DeliveryError):
            writer.submit([record("c")])
        log.back.set()
        wait_until(lambda: not writer.is_away)
        writer.submit([record("d")]).result(10)
    assert (log.stored, log.writers) == (["d"], 2), "a writer that failed is not used again"


def test_a_topic_that_is_gone_ends_it() -> None:
    log = Log()
    log.failures.append(TopicError("no such topic"))
    with writing(log) as (writer, running):
        done = writer.submit([record("a")])
        with pytest.raises(DeliveryError):
            done.result(10)
        with pytest.raises(TopicError):
            running.result(10)
        with pytest.raises(DeliveryError):
            writer.submit([record("b")])


def test_closing_writes_what_was_submitted() -> None:
    log = Log()
    log.leave.clear()
    with writing(log) as (writer, running):
        dones = [writer.submit([record("a")]), writer.submit([record("b")])]
        writer.close()
        log.leave.set()
        running.result(10)
        assert [done.result(10) for done in dones] == [None, None]
    assert log.stored == ["a", "b"]


def test_closing_does_not_wait_for_a_log_that_is_away() -> None:
    log = Log()
    log.back.clear()
    log.failures.append(DeliveryError("lost"))
    with writing(log) as (writer, running):
        with pytest.raises(DeliveryError):
            writer.submit([record("a")]).result(10)
        writer.close()
        running.result(10)


def test_a_request_that_was_given_up_is_dropped() -> None:
    log = Log()
    log.leave.clear()
    with writing(log) as (writer, _):
        first = writer.submit([record("a")])
        assert log.flushing.wait(10)
        given_up, last = writer.submit([record("b")]), writer.submit([record("c")])
        assert given_up.cancel()
        log.leave.set()
        for done in (first, last):
            done.result(10)
    assert log.stored == ["a", "c"]


def test_requests_are_told_that_the_log_is_away(tmp_path: Path) -> None:
    log = Log()
    log.back.clear()
    log.failures.append(DeliveryError("secret host"))
    with GatewayHarness(tmp_path, cast(EventLog, log)) as gateway:
        for _ in range(2):  # the first meets the failure, the second is refused at once
            answer = gateway.post("/v1/interactions", VIEW)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "secret" not in answer.text
            assert gateway.send("GET", "/readyz").json() == {"ready": False}
            assert gateway.send("DELETE", "/v1/items/a").status_code == 503
        assert gateway.send("GET", "/healthz").status_code == 200
        log.back.set()
        wait_until(lambda: bool(gateway.send("GET", "/readyz").json()["ready"]))
        assert gateway.post("/v1/items", MUG).status_code == 202


def test_too_many_requests_in_flight_are_turned_away() -> None:
    log = Log()
    log.leave.clear()
    with writing(log) as (writer, _), ThreadPoolExecutor(1) as threads:
        app = create_app(writer, TOPICS, GatewayConfig(max_in_flight=1))
        with TestClient(app) as client:
            first = threads.submit(client.post, "/v1/items", json=MUG)
            assert log.flushing.wait(10)
            busy = client.post("/v1/items", json=MUG)
            log.leave.set()
            assert first.result(10).status_code == 202
            assert client.post("/v1/items", json=MUG).status_code == 202, "its place is free again"
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
