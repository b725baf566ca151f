"""The log on a Kafka cluster: topics, offsets, and the factory of readers and writers."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Self
from uuid import UUID

from kafka import IsolationLevel, OffsetAndMetadata, OffsetSpec
from kafka import TopicPartition as KafkaTopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.errors import InvalidSettings, LogUnavailable, TopicError
from pipeline.eventlog.kafka.admin import Admin
from pipeline.eventlog.kafka.client import new_consumer, new_producer
from pipeline.eventlog.kafka.fenced import KafkaFencedWriter
from pipeline.eventlog.kafka.reader import KafkaReader
from pipeline.eventlog.kafka.refusals import translated
from pipeline.eventlog.kafka.settings import (
    client_options,
    configs_command,
    configs_of,
    topic_configs,
    topic_spec,
)
from pipeline.eventlog.kafka.writer import KafkaWriter
from pipeline.eventlog.port import NO_TOPIC_ID, Offsets, TopicPartition, TopicSpec

_NO_UUID = str(UUID(int=0))
_TRANSACTION_BACKOFF_MS = 5
"""The broker rejects a transaction that closely follows another once, and the client retries after
this time. Measured: an append takes 108 ms with the default of 100 ms, and 2.7 ms with 5 ms."""


class KafkaLog:
    """An event log on a Kafka cluster; connects on first use."""

    def __init__(self, servers: Sequence[str], options: Mapping[str, str]) -> None:
        self._options = list(options)  # names only
        self._connection: dict[str, Any] = {"bootstrap_servers": list(servers), **client_options(options)}
        self._admin = Admin(self._connection)

    def ping(self, timeout_seconds: float) -> None:
        """See `EventLog.ping`."""
        if not self._admin.ask("ping", lambda admin: admin.describe_cluster()["brokers"], timeout_seconds):
            raise LogUnavailable("ping: the cluster has no broker")

    def version(self) -> str:
        """See `EventLog.version`; as far as the requests tell that its brokers know."""
        broker = self._admin.ask("version", lambda admin: admin.describe_cluster()["brokers"][0]["broker_id"])
        known = self._admin.ask("version", lambda admin: admin.get_broker_version_data(broker).broker_version)
        return f"Kafka {'.'.join(map(str, known))}"

    def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """See `EventLog.create_topics`; the replication factor is the cluster's default."""
        present = self._admin.ask("list topics", lambda admin: set(admin.list_topics()))
        missing = [spec for spec in specs if spec.name not in present]
        created = [spec.name for spec in missing if self._create_topic(spec)]
        if created:
            self._admin.ask("wait for topics", lambda admin: admin.wait_for_topics(created))
        return created

    def describe_topics(self) -> dict[str, TopicSpec]:
        """See `EventLog.describe_topics`; omits the cluster's internal topics."""
        topics = self._admin.ask("describe topics", lambda admin: admin.describe_topics())
        counts = {topic["name"]: len(topic["partitions"]) for topic in topics if not topic["is_internal"]}
        if not counts:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in counts]
        configs = self._admin.ask(
            "describe configs", lambda admin: admin.describe_configs(resources, config_filter="all")
        )["topic"]
        return {name: topic_spec(name, count, configs[name]) for name, count in counts.items()}

    def alter_topic(self, spec: TopicSpec, fields: Collection[str]) -> None:
        """See `EventLog.alter_topic`."""
        resource = ConfigResource(ConfigResourceType.TOPIC, spec.name, configs_of(spec, fields))
        answer = self._admin.ask("alter topic", lambda admin: admin.alter_configs([resource]))
        result = answer["topic"][spec.name]
        if result != "OK":
            raise TopicError(f"{spec.name}: cannot be altered: {result}")

    def alter_command(self, spec: TopicSpec, field: str) -> str:
        """See `EventLog.alter_command`; a call of Kafka's own tool."""
        servers = ",".join(self._connection["bootstrap_servers"])
        return configs_command(servers, self._options, spec.name, configs_of(spec, [field]))

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """See `EventLog.topic_ids`; in the form that Kafka's own tools print."""
        return {topic["name"]: _id_text(topic["topic_id"]) for topic in self._existing(topics)}

    def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """See `EventLog.partition_counts`."""
        return {topic["name"]: len(topic["partitions"]) for topic in self._existing(topics)}

    def writer(self, *, max_in_flight: int = 20_000) -> KafkaWriter:
        """See `EventLog.writer`."""
        producer = new_producer(self._connection, "writer", linger_ms=5)
        return KafkaWriter(producer, self._partition_count, max_in_flight)

    def reader(self, offsets: Offsets) -> KafkaReader:
        """See `EventLog.reader`."""
        present = self._partitions({source.topic for source in offsets})
        missing = [str(source) for source in offsets if source not in present]
        if missing:
            raise TopicError(f"no such partition: {', '.join(missing)}")
        return KafkaReader(new_consumer(self._connection), offsets)

    def fenced_writer(self, topic: str, owner: str) -> KafkaFencedWriter:
        """See `EventLog.fenced_writer`."""
        count = self._partition_count(topic)
        if count != 1:
            raise TopicError(f"{topic}: has {count} partitions; a fenced writer needs exactly one")
        producer = new_producer(
            self._connection,
            f"fenced-{owner}",
            transactional_id=topic,
            retry_backoff_ms=_TRANSACTION_BACKOFF_MS,
        )
        return KafkaFencedWriter(producer, topic)

    def begin_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """See `EventLog.begin_offsets`."""
        return self._offsets(topics, OffsetSpec.EARLIEST)

    def end_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """See `EventLog.end_offsets`; records of an open transaction are beyond the end."""
        return self._offsets(topics, OffsetSpec.LATEST)

    def offsets_at(self, topics: Iterable[str], append_time: int) -> dict[TopicPartition, int]:
        """See `EventLog.offsets_at`."""
        names = set(topics)
        end = self.end_offsets(names)  # first, so that records appended in between do not count
        by_time = self._offsets(names, max(0, append_time))  # -1 if no record is that late
        return {source: by_time[source] if 0 <= by_time[source] < at else at for source, at in end.items()}

    def report(self, group: str, offsets: Offsets) -> None:
        """See `EventLog.report`; sets the group's committed offsets, which Kafka's lag tools read."""
        committed = {
            KafkaTopicPartition(*source): OffsetAndMetadata(offset, "", -1)
            for source, offset in offsets.items()
        }

        def commit(admin: Any) -> None:
            for error in admin.alter_group_offsets(group, committed).values():
                if error is not kafka_errors.NoError:
                    raise error()

        self._admin.ask("report offsets", commit)

    def reported(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """See `EventLog.reported`."""
        wanted = set(topics)
        answer = self._admin.ask("group offsets", lambda admin: admin.list_group_offsets({group: None}))
        return {
            TopicPartition(*source): committed.offset
            for source, committed in answer[group].items()
            if source.topic in wanted and committed.offset >= 0
        }

    def close(self) -> None:
        """Close the log's own client; readers and writers have their own."""
        self._admin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _create_topic(self, spec: TopicSpec) -> bool:
        options = {"num_partitions": spec.partitions, "configs": topic_configs(spec)}
        try:
            self._admin.ask(
                f"create topic {spec.name}", lambda admin: admin.create_topics({spec.name: options})
            )
        except LogUnavailable as error:
            if isinstance(error.__cause__, kafka_errors.TopicAlreadyExistsError):
                return False  # another process was faster
            if isinstance(error.__cause__, kafka_errors.InvalidPartitionsError):
                raise InvalidSettings(f"{spec.name}: a topic needs a partition") from error
            raise
        return True

    def _existing(self, topics: Iterable[str]) -> list[Any]:
        described = self._described(topics)
        for topic in described:
            if topic["error_code"] not in (0, kafka_errors.UnknownTopicOrPartitionError.errno):
                error = kafka_errors.for_code(topic["error_code"])
                raise translated("describe topics", error({topic["name"]}))
        return [topic for topic in described if not topic["error_code"]]

    def _described(self, topics: Iterable[str]) -> list[Any]:
        names = sorted(set(topics))
        if not names:  # which would mean all topics
            return []
        described: list[Any] = self._admin.ask("describe topics", lambda admin: admin.describe_topics(names))
        return described

    def _partition_count(self, topic: str) -> int:
        return len(self._partitions([topic]))

    def _partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        described = self._described(topics)
        missing = [topic["name"] for topic in described if topic["error_code"]]
        if missing:
            raise TopicError(f"no such topic: {', '.join(missing)} (millstream topics create)")
        return [
            TopicPartition(topic["name"], partition["partition_index"])
            for topic in described
            for partition in topic["partitions"]
        ]

    def _offsets(self, topics: Iterable[str], when: object) -> dict[TopicPartition, int]:
        specs = {KafkaTopicPartition(*source): when for source in self._partitions(topics)}
        offsets = self._admin.ask(
            "offsets",
            lambda admin: admin.list_partition_offsets(specs, isolation_level=IsolationLevel.READ_COMMITTED),
        )
        return {TopicPartition(*source): answer.offset for source, answer in sorted(offsets.items())}


def _id_text(topic_id: str | None) -> str:
    uuid = UUID(topic_id or _NO_UUID)
    return urlsafe_b64encode(uuid.bytes).decode().rstrip("=") if uuid.int else NO_TOPIC_ID
