"""Impressions are written to the log or counted; a request never waits for them."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.serve import impressions
from consumers.serve.impressions import ImpressionWriter
from pipeline import metrics
from pipeline.errors import DeliveryError
from pipeline.eventlog.port import LogWriter
from pipeline.events import Impression, decode
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until


def fields(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "impression_id": f"i{number}",
        "user": f"user {number}",
        "snapshot": "1-1",
        "time": 5,
        "items": ["a", "b"],
        "scores": [0.5, 0.25],
        "offsets": {"shop.items/0": 3},
        **changes,
    }


def count(outcome: str) -> float:
    value: float = metrics.IMPRESSIONS.labels(outcome)._value.get()
    return value


def test_impressions_are_keyed_by_user(world: World) -> None:
    before = count("written")
    writer = ImpressionWriter(world.log, world.topics.impressions)
    for number in range(20):
        writer.submit(fields(number))
    writer.close()
    records = world.records(world.topics.impressions)
    shown = [decode(Impression, record.value or b"") for record in records]
    assert [record.key for record in records] == [impression.user for impression in shown]
    assert {impression.impression_id for impression in shown} == {f"i{number}" for number in range(20)}
    assert count("written") == before + 20


def test_an_invalid_impression_costs_no_other(world: World) -> None:
    before = count("failed")
    writer = ImpressionWriter(world.log, world.topics.impressions)
    writer.submit(fields(1, items=["x"] * 1_001, scores=[0.0] * 1_001))
    writer.submit(fields(2, items=["x" * 128] * 900, scores=[0.0] * 900))
    writer.submit(fields(3))
    writer.close()
    assert [record.key for record in world.records(world.topics.impressions)] == ["user 3"]
    assert count("failed") == before + 2


def test_impressions_that_come_soon_after_one_another_are_committed_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.log.writer() as writer:
        kind = type(writer)
    flush, flushed = kind.flush, list[LogWriter]()

    def counted(writer: LogWriter) -> None:
        flushed.append(writer)
        flush(writer)

    monkeypatch.setattr(kind, "flush", counted)
    monkeypatch.setattr(impressions, "GATHER_SECONDS", 30)
    queue = ImpressionWriter(world.log, world.topics.impressions)
    queue.submit(fields(0))
    wait_until(queue._queue.empty)  # it waits for others now
    for number in (1, 2):
        queue.submit(fields(number))
    queue.close()  # which ends the wait
    assert len(world.records(world.topics.impressions)) == 3
    assert len(flushed) == 1


def test_a_failing_log_costs_impressions_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = count("failed")
    with world.log.writer() as writer:
        kind = type(writer)
    flush, failures = kind.flush, [DeliveryError("the disk is full")]

    def failing(writer: LogWriter) -> None:
        if failures:
            raise failures.pop()
        flush(writer)

    monkeypatch.setattr(kind, "flush", failing)
    monkeypatch.setattr(impressions, "MAX_BATCH", 1)
    monkeypatch.setattr(impressions, "POLL_SECONDS", 0.01)
    queue = ImpressionWriter(world.log, world.topics.impressions)
    queue.submit(fields(1))
    wait_until(lambda: not failures)
    queue.submit(fields(2))
    queue.close()
    assert "user 2" in [record.key for record in world.records(world.topics.impressions)]
    assert count("failed") == before + 1


def test_a_full_queue_drops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impressions, "MAX_QUEUED", 2)
    monkeypatch.setattr(ImpressionWriter, "_write", lambda _: None)
    before = count("dropped")
    writer = ImpressionWriter(world.log, world.topics.impressions)
    for number in range(5):
        writer.submit(fields(number))
    assert count("dropped") == before + 3
