"""The doctor on a real broker: what is broken there is named with the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import ConfigResource

from pipeline.config import LogConfig
from pipeline.doctor.event_log import check_clock, check_retention, check_topics
from pipeline.doctor.finding import Finding
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, TopicPartition
from pipeline.eventlog.topics import Topics

HOUR_MS = 3_600_000


@pytest.fixture
def config(kafka_url: str, prefix: str) -> LogConfig:
    return LogConfig(url=kafka_url, prefix=prefix, partitions=2)


@pytest.fixture
def log(kafka_url: str) -> Iterator[EventLog]:
    with open_log(kafka_url) as log:
        yield log


@pytest.fixture
def topics(log: EventLog, config: LogConfig) -> Topics:
    topics = Topics(config.prefix)
    topics.create(log, *config.topic_sizes)
    return topics


def examined(log: EventLog, topics: Topics, config: LogConfig, now_ms: int) -> list[Finding]:
    found = [*check_topics(log, topics, config), *check_retention(log, topics)]
    return [*found, *check_clock(log, topics, now_ms)]


def append(log: EventLog, topics: Topics) -> int:
    """Append a record; return its append time."""
    with log.writer() as writer:
        writer.append(topics.interactions, "ann", b"{}", partition=0)
        writer.flush()
    with log.reader({TopicPartition(topics.interactions, 0): 0}) as reader:
        while not (records := reader.poll(1, 1.0)):
            pass
    return records[0].append_time


def test_a_healthy_broker_has_no_fault(log: EventLog, topics: Topics, config: LogConfig) -> None:
    assert {one.state for one in examined(log, topics, config, append(log, topics))} == {"ok"}
    assert log.version().startswith("Kafka ")


def test_missing_topics_are_named(log: EventLog, config: LogConfig) -> None:
    found = list(check_topics(log, Topics(config.prefix), config))
    assert {one.state for one in found} == {"fault"} and len(found) == len(Topics("").specs(1, 1, 1))
    assert found[0].text == f"{config.prefix}.interactions: missing"
    assert found[0].remedy == "run `millstream topics create`"


def test_a_producers_times_are_named_with_kafkas_own_command(
    log: EventLog, topics: Topics, config: LogConfig
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=config.url.removeprefix("kafka://"))
    changed = {"message.timestamp.type": "CreateTime"}
    admin.alter_configs([ConfigResource("topic", topics.interactions, changed)])
    admin.close()
    (found,) = check_topics(log, topics, config)
    assert found.state == "fault" and "must carry the log's" in found.text
    assert "kafka-configs.sh" in found.remedy and "message.timestamp.type=LogAppendTime" in found.remedy


def test_a_clock_behind_the_brokers_is_named(log: EventLog, topics: Topics) -> None:
    (found,) = check_clock(log, topics, append(log, topics) - HOUR_MS)
    assert found.state == "fault" and "ahead of this clock" in found.text
    assert "timedatectl" in found.remedy


def test_records_that_the_broker_has_deleted_are_named(
    log: EventLog, topics: Topics, config: LogConfig
) -> None:
    append(log, topics)
    log.report(f"{config.prefix}.learn", {TopicPartition(topics.interactions, 0): 0})
    admin = KafkaAdminClient(bootstrap_servers=config.url.removeprefix("kafka://"))
    admin.delete_records({KafkaTopicPartition(topics.interactions, 0): 1})
    admin.close()
    (found,) = check_retention(log, topics)
    assert found.state == "fault" and "deleted 1 record before" in found.text
    assert "`millstream learn --accept-gap`" in found.remedy
