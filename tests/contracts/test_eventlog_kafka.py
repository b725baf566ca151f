"""Behaviour of the Kafka engine only, on a real broker: translation of its errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import ConfigResource

from deploy.kafka.broker import Broker
from pipeline.errors import DeliveryError, LogUnavailable, OffsetsExpired, TopicError, TopicRenewed
from pipeline.eventlog import open_log
from pipeline.eventlog.kafka import KafkaLog, ready
from pipeline.eventlog.kafka.log import _id_text
from pipeline.eventlog.port import NO_TOPIC_ID, EventLog, TopicPartition, TopicSpec, read
from pipeline.eventlog.topic_watch import TopicWatch


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
        with pytest.raises(OffsetsExpired, match="lost to retention: 3 of its records") as caught:
            reader.poll(10, timeout_seconds=10)
        assert (caught.value.requested, caught.value.begin, caught.value.end) == (1, 4, 10)


def test_a_topic_made_anew_has_another_id(log: EventLog, topic: str, admin: Any) -> None:
    before, watch = log.topic_ids([topic])[topic], TopicWatch(log, [topic], seconds=0)
    watch.check()
    admin.delete_topics([topic])
    deadline = time.monotonic() + 60
    while log.topic_ids([topic]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert log.topic_ids([topic]) == {}
    with pytest.raises(TopicError, match=f"{topic} was deleted; run `millstream topics create`"):
        watch.check()
    log.create_topics([TopicSpec(topic, 1)])
    assert log.topic_ids([topic])[topic] not in (before, NO_TOPIC_ID)
    with pytest.raises(TopicRenewed, match=f"{topic} was deleted and made again"):
        watch.check()


def test_added_partitions_are_counted(log: EventLog, topic: str, admin: Any) -> None:
    with log.writer() as writer:
        writer.append(topic, "key", b"")  # the admin client knows the topic by now
        assert log.partition_counts([topic]) == {topic: 1}
        watch = TopicWatch(log, [topic], seconds=0)
        admin.create_partitions({topic: 3})
        deadline = time.monotonic() + 60
        while log.partition_counts([topic]) == {topic: 1} and time.monotonic() < deadline:
            time.sleep(0.05)
    assert log.partition_counts([topic]) == {topic: 3}
    with pytest.raises(TopicError, match=f"{topic} has 3 partitions now, 1 before"):
        watch.check()
    assert len(log.begin_offsets([topic])) == 3


def test_a_cluster_without_topic_ids_says_so() -> None:
    assert _id_text(None) == _id_text(str(UUID(int=0))) == NO_TOPIC_ID


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
    with pytest.raises(LogUnavailable, match=f"127.0.0.1:{nowhere.port}: no broker answers"):
        log.describe_topics()
    assert not ready(f"127.0.0.1:{nowhere.port}", timeout_seconds=0.2)
