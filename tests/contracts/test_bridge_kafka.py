"""What happens to a bridge's source on a real broker: retention, another topic, new partitions, a crash."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaTopicPartition

from deploy.kafka.broker import Broker
from pipeline.config import BridgeConfig, RefusalsConfig
from pipeline.errors import RecordsLost, TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of
from pipeline.eventlog.port import EventLog, TopicSpec, read
from pipeline.eventlog.refusal_limit import RefusalLimit
from producers.bridge.bridge import Bridge
from tests.support.bridge_harness import CLICK, HOUR_MS, NOW, TOPICS, mapper, record
from tests.support.serve_tools import wait_until

PATIENCE_SECONDS = 60.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path}/log.db") as made:
        TOPICS.create(made, 2, HOUR_MS, HOUR_MS)
        yield made


@pytest.fixture
def source(kafka_url: str) -> Iterator[EventLog]:
    with open_log(kafka_url) as opened:
        yield opened


@pytest.fixture
def topic(source: EventLog, prefix: str) -> str:
    source.create_topics([TopicSpec(prefix, 1)])
    return prefix


@pytest.fixture
def admin(kafka_url: str) -> Iterator[Any]:
    client = KafkaAdminClient(bootstrap_servers=kafka_url.removeprefix("kafka://"))
    yield client
    client.close()


@contextmanager
def bridging(source: EventLog, log: EventLog, topic: str, **config: Any) -> Iterator[Future[None]]:
    """Bridge a topic in a thread; raise what ended it."""
    stop, limit = Event(), RefusalLimit("bridge", RefusalsConfig(), "mend it")
    bridge = Bridge(
        source, log, TOPICS, BridgeConfig(**config), {topic: mapper()}, limit, stop, clock=lambda: NOW
    )
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(bridge.run)
        try:
            yield running
        finally:
            stop.set()
        running.result(PATIENCE_SECONDS)


def send(source: EventLog, topic: str, *items: str, partition: int = 0) -> None:
    with source.writer() as writer:
        for item in items:
            writer.append(topic, None, record({**CLICK, "target": {"sku": item}}).value, partition=partition)
        writer.flush()


def bridged(log: EventLog) -> list[str]:
    """Items of the interactions, each id once."""
    events = {event.event_id: event.item for event in map(interaction_of, read(log, TOPICS.interactions))}
    return sorted(events.values())


def wait_for(log: EventLog, *items: str) -> None:
    wait_until(lambda: bridged(log) == sorted(items), PATIENCE_SECONDS)


def test_what_retention_deleted_is_named_until_it_is_accepted(
    source: EventLog, log: EventLog, topic: str, admin: Any
) -> None:
    send(source, topic, "a", "b")
    with bridging(source, log, topic):
        wait_for(log, "a", "b")
    send(source, topic, "c", "d", "e")
    admin.delete_records({KafkaTopicPartition(topic, 0): 4})
    with (
        pytest.raises(RecordsLost, match=f"{topic}/0 has lost 2 records, 2 to 3"),
        bridging(source, log, topic) as running,
    ):
        running.result(PATIENCE_SECONDS)
    with bridging(source, log, topic, accept_gap=True):
        wait_for(log, "a", "b", "e")


def test_a_topic_that_is_made_again_while_it_is_read(
    source: EventLog, log: EventLog, topic: str, admin: Any
) -> None:
    send(source, topic, "a", "b")
    with pytest.raises((RecordsLost, TopicError)), bridging(source, log, topic) as running:
        wait_for(log, "a", "b")
        admin.delete_topics([topic])
        wait_until(lambda: topic not in source.topic_ids([topic]), PATIENCE_SECONDS)
        wait_until(lambda: bool(source.create_topics([TopicSpec(topic, 1)])), PATIENCE_SECONDS)
        send(source, topic, "c", "d", "e")
        running.result(PATIENCE_SECONDS)
    with (
        pytest.raises(RecordsLost, match=f"{topic} was deleted and made again"),
        bridging(source, log, topic) as running,
    ):
        running.result(PATIENCE_SECONDS)
    with bridging(source, log, topic, accept_gap=True):
        wait_for(log, "a", "b", "c", "d", "e")


def test_partitions_that_are_added_while_it_runs_are_read(
    source: EventLog, log: EventLog, topic: str, admin: Any
) -> None:
    with bridging(source, log, topic, start="latest"):
        send(source, topic, "a")
        admin.create_partitions({topic: 3})
        wait_until(lambda: source.partition_counts([topic])[topic] == 3, PATIENCE_SECONDS)
        send(source, topic, "b", partition=2)
        wait_for(log, "a", "b")


@pytest.mark.usefixtures("kafka_url")  # where there is no broker, this test is skipped with the others
def test_a_broker_that_is_killed_and_comes_back(
    log: EventLog, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.eventlog.kafka.admin.ANSWER_SECONDS", 1.0)
    with Broker(tmp_path / "kafka", quick_start=True) as broker, open_log(broker.url) as source:
        source.create_topics([TopicSpec(prefix, 1)])
        send(source, prefix, "a")
        with bridging(source, log, prefix) as running:
            wait_for(log, "a")
            broker.kill()
            broker.start()
            send(source, prefix, "b")
            wait_for(log, "a", "b")
            assert not running.done()
