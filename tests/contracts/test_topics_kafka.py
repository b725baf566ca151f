"""`topics check` on a real broker: every fault is made, named, and mended the way the message says."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from deploy.kafka.broker import Broker
from pipeline.errors import TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics

HOUR = 3_600_000
SIZES = (2, 24 * HOUR, HOUR)


@pytest.fixture
def log(kafka_url: str) -> Iterator[EventLog]:
    with open_log(kafka_url) as log:
        yield log


@pytest.fixture
def topics(log: EventLog, prefix: str) -> Topics:
    topics = Topics(prefix)
    topics.create(log, *SIZES)
    return topics


@pytest.fixture
def admin(kafka_url: str) -> Iterator[Any]:
    client = KafkaAdminClient(bootstrap_servers=kafka_url.removeprefix("kafka://"))
    yield client
    client.close()


def faults(topics: Topics, log: EventLog) -> list[str]:
    try:
        topics.check(log, *SIZES)
    except TopicError as error:
        return str(error).splitlines()
    return []


def alter(admin: Any, topic: str, configs: dict[str, str]) -> None:
    answer = admin.alter_configs([ConfigResource("topic", topic, configs)])
    assert answer == {"topic": {topic: "OK"}}


def command_in(fault: str) -> list[str]:
    found = re.search(r"; run `(.*)`$", fault)
    assert found
    return shlex.split(found.group(1))


def options_of(command: list[str]) -> dict[str, str]:
    return dict(zip(command[:-1], command[1:], strict=True))


def obey(admin: Any, fault: str) -> None:
    """Do what the command in a message does, by the admin client."""
    options = options_of(command_in(fault))
    configs = re.findall(r"([a-z.]+)=(\[.*?\]|[^,]*)", options["--add-config"])
    alter(admin, options["--entity-name"], {name: value.strip("[]") for name, value in configs})


def test_new_topics_have_no_fault(log: EventLog, topics: Topics) -> None:
    assert faults(topics, log) == []


@pytest.mark.parametrize(
    ("name", "configs", "words"),
    [
        ("interactions", {"message.timestamp.type": "CreateTime"}, "records carry the producer's time"),
        ("interactions", {"retention.bytes": "1000000"}, "deletes records beyond 1000000 bytes"),
        ("interactions", {"retention.ms": "3600000"}, "keeps records 3600000 ms"),
        ("interactions", {"cleanup.policy": "compact"}, "is compacted, must be not compacted"),
        ("items", {"cleanup.policy": "delete"}, "is not compacted, must be compacted"),
        ("snapshots", {"cleanup.policy": "compact,delete", "retention.ms": "1000"}, "keep them for ever"),
        ("items", {"min.compaction.lag.ms": "0"}, "superseded records stay 0 ms"),
        ("journal", {"max.message.bytes": "20000"}, "accepts batches up to 20000 bytes"),
    ],
)
def test_a_fault_is_named_and_mended_by_its_command(
    log: EventLog, topics: Topics, admin: Any, name: str, configs: dict[str, str], words: str
) -> None:
    topic = f"{topics.prefix}.{name}"
    alter(admin, topic, configs)
    found = faults(topics, log)
    assert all(fault.startswith(f"{topic}: ") for fault in found)
    assert any(words in fault for fault in found)
    for fault in found:
        obey(admin, fault)
    assert faults(topics, log) == []


def test_a_codec_that_cannot_be_read_is_named(
    log: EventLog, topics: Topics, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.eventlog.topics.READABLE_COMPRESSION", {"producer", "gzip"})
    alter(admin, topics.items, {"compression.type": "zstd"})
    (fault,) = faults(topics, log)
    assert "compressed by zstd" in fault
    obey(admin, fault)
    assert faults(topics, log) == []


def test_every_fault_of_every_topic_is_mended_at_once(log: EventLog, topics: Topics, admin: Any) -> None:
    wrong = {"message.timestamp.type": "CreateTime", "retention.bytes": "1000", "max.message.bytes": "2000"}
    for spec in topics.specs(*SIZES):
        alter(admin, spec.name, {**wrong, "cleanup.policy": "delete", "retention.ms": "1000"})
    assert len(faults(topics, log)) >= 8 * 4
    assert topics.alter(log, *SIZES) == [spec.name for spec in topics.specs(*SIZES)]
    assert faults(topics, log) == []


def test_the_command_is_one_that_kafka_understands(
    log: EventLog, topics: Topics, admin: Any, kafka_broker: Broker
) -> None:
    sizes = (2, 24 * HOUR, HOUR)
    alter(admin, topics.items, {"cleanup.policy": "delete"})
    (fault,) = [fault for fault in faults(topics, log) if "must be compacted" in fault]
    tool, *arguments = command_in(fault)
    assert tool == "kafka-configs.sh"
    done = subprocess.run(kafka_broker.tool("kafka.admin.ConfigCommand", *arguments), check=False)
    assert done.returncode == 0
    topics.check(log, *sizes)


def test_added_partitions_are_a_fault_that_names_both_ways_out(
    log: EventLog, topics: Topics, admin: Any
) -> None:
    admin.create_partitions({topics.interactions: 4})
    (fault,) = faults(topics, log)
    assert "4 partitions instead of 2" in fault
    assert "`partitions = 4` in [log]" in fault
    assert f"`millstream topics migrate --to {topics.prefix}-2 --partitions 2`" in fault


def test_a_secured_cluster_needs_a_login(kafka_url: str, topics: Topics) -> None:
    with open_log(kafka_url, {"security_protocol": "PLAINTEXT"}) as log:
        command = log.alter_command(topics.specs(*SIZES)[0], "retention_ms")
    assert " --command-config client.properties " in command
