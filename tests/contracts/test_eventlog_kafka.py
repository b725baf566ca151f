"""Behaviour of the Kafka engine only, on a real broker: translation of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import ConfigResource

from deploy.kafka.broker import Broker
from pipeline.errors import DeliveryError, LogUnavailable, OffsetsExpired
from pipeline.eventlog import open_log
from pipeline.eventlog.kafka import KafkaLog, ready
from pipeline.eventlog.port import EventLog, TopicPartition, TopicSpec, read


@pytest.fixture
def log(kafka_url: str) -> Iterator[EventLog]:
    with open_log(kafka_url) as log:
        yield log


@pytest.fixture
def topic(log: EventLog, prefix: str) -> str:
    log.create_topics([TopicSpec(prefix, 1)])
    return prefix


@pytest.fixture
def admin(kafka_url: str) -> Iterator[Any]:
    client = KafkaAdminClient(bootstrap_servers=kafka_url.removeprefix("kafka://"))
    yield client
    client.close()


def test_a_lost_record_fails_the_writer_for_good(log: EventLog, topic: str, admin: Any) -> None:
    admin.alter_configs([ConfigResource("topic", topic, {"max.message.bytes": "2000"})])
    writer = log.writer()
    writer.append(topic, "key", b"kept")
    writer.flush()
    writer.append(topic, "key", bytes(5_000))
    with pytest.raises(DeliveryError):
        writer.flush()
    with pytest.raises(DeliveryError):
        writer.append(topic, "key", b"refused")
    with pytest.raises(DeliveryError):
        writer.flush()
    writer.close()
    with log.writer() as another:
        another.append(topic, "key", b"by another")
    assert [record.value for record in read(log, topic)] == [b"kept", b"by another"]


def test_a_refused_journal_entry_is_a_delivery_error(log: EventLog, topic: str, admin: Any) -> None:
    admin.alter_configs([ConfigResource("topic", topic, {"max.message.bytes": "2000"})])
    with log.fenced_writer(topic, "learner") as writer:
        writer.append(b"kept")
        for _ in range(2):
            with pytest.raises(DeliveryError):
                writer.append(bytes(5_000))
    with log.fenced_writer(topic, "learner") as writer:
        writer.append(b"by another")
    assert [record.value for record in read(log, topic)] == [b"kept", b"by another"]


def test_a_position_before_the_begin_has_expired(log: EventLog, topic: str, admin: Any) -> None:
    with log.writer() as writer:
        for _ in range(10):
            writer.append(topic, "key", b"")
    admin.delete_records({KafkaTopicPartition(topic, 0): 4})
    source = TopicPartition(topic, 0)
    assert log.begin_offsets([topic]) == {source: 4}
    with log.reader({source: 1}) as reader:
        with pytest.raises(OffsetsExpired, match="3 records are lost") as caught:
            reader.poll(10, timeout_seconds=10)
        assert (caught.value.requested, caught.value.begin, caught.value.end) == (1, 4, 10)


def test_a_foreign_key_does_not_stop_a_reader(log: EventLog, topic: str, kafka_url: str) -> None:
    from kafka import KafkaProducer  # noqa: PLC0415

    foreign = KafkaProducer(bootstrap_servers=kafka_url.removeprefix("kafka://"))
    foreign.send(topic, key=b"\xff\xfe", value=b"value").get(timeout=10)
    foreign.close()
    assert [record.key for record in read(log, topic)] == ["\\xff\\xfe"]


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nowhere = Broker(tmp_path)  # never started, so nothing listens on its port
    log = KafkaLog([f"127.0.0.1:{nowhere.port}"], {})
    monkeypatch.setattr("pipeline.eventlog.kafka.admin.ANSWER_SECONDS", 0.5)
    with pytest.raises(LogUnavailable, match="KafkaTimeoutError"):
        log.describe_topics()
    assert not ready(f"127.0.0.1:{nowhere.port}", timeout_seconds=0.2)
