"""The Kafka engine, and the only file that imports `kafka` (kafka-python).

What the client does not do by itself is done here: sends in flight are bounded and their errors
raised, polls are fair over partitions, calls that could wait for ever are given up on, and
fencing is a transactional producer whose transactional id is the topic.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Self, TypeVar

from kafka import (
    IsolationLevel,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    OffsetSpec,
)
from kafka import TopicPartition as KafkaTopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.errors import (
    DeliveryError,
    Fenced,
    InvalidSettings,
    LogUnavailable,
    OffsetsExpired,
    TopicError,
)
from pipeline.eventlog.fairness import fair_shares
from pipeline.eventlog.kafka_settings import client_options, topic_configs, topic_spec
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import (
    Offsets,
    Record,
    TopicPartition,
    TopicSpec,
    check_record,
)

# Its DEBUG lines hold passwords, keys and values, and INFO tells of every connection.
logging.getLogger("kafka").setLevel(logging.WARNING)
logger = logging.getLogger(__name__)

_ANSWER_SECONDS = 30.0
_DELIVERY_SECONDS = 60.0
"""How long an append is tried again: a broker killed and restarted is back in 15 s or less."""
_BATCH_BYTES = 256 * 1024
_FETCH_BYTES = 512 * 1024  # of one partition at once
_HELD_RECORDS = 5_000
_TRANSACTION_BACKOFF_MS = 5
"""A transaction that follows closely on another is sent away once; 100 ms, the default, cost 108 ms
an append, 5 ms cost 2.7."""
_ALL = 1 << 30

T = TypeVar("T")


def ready(servers: str, timeout_seconds: float) -> bool:
    """Whether a cluster lists a broker before the time is up; an open port is not enough."""
    deadline = time.monotonic() + timeout_seconds
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=servers.split(","),
            client_id="millstream-ready",
            bootstrap_timeout_ms=int(timeout_seconds * 1000),
            reconnect_backoff_max_ms=200,
        )
    except kafka_errors.KafkaError:
        return False
    try:
        while time.monotonic() < deadline:
            if admin.describe_cluster()["brokers"]:
                return True
            time.sleep(0.05)
    except kafka_errors.KafkaError:
        return False
    finally:
        admin.close()
    return False


class KafkaLog:
    """An event log on a Kafka cluster; nothing is asked of it before it is needed."""

    def __init__(self, servers: Sequence[str], options: Mapping[str, str]) -> None:
        self._settings: dict[str, Any] = {"bootstrap_servers": list(servers), **client_options(options)}
        self._admin_client: Any = None
        self._admin_lock = Lock()

    def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """See `EventLog.create_topics`; replication is the cluster's default."""
        present = self._ask("list topics", lambda admin: set(admin.list_topics()))
        fresh = [spec for spec in specs if spec.name not in present]
        created = [spec.name for spec in fresh if self._create_topic(spec)]
        if created:
            self._ask("wait for topics", lambda admin: admin.wait_for_topics(created))
        return created

    def describe_topics(self) -> dict[str, TopicSpec]:
        """See `EventLog.describe_topics`; the cluster's own topics are left out."""
        topics = self._ask("describe topics", lambda admin: admin.describe_topics())
        counts = {topic["name"]: len(topic["partitions"]) for topic in topics if not topic["is_internal"]}
        if not counts:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in counts]
        configs = self._ask(
            "describe configs", lambda admin: admin.describe_configs(resources, config_filter="all")
        )["topic"]
        return {name: topic_spec(name, count, configs[name]) for name, count in counts.items()}

    def writer(self, *, max_in_flight: int = 20_000) -> KafkaWriter:
        """See `EventLog.writer`."""
        return KafkaWriter(self._producer("writer", linger_ms=5), self._partition_count, max_in_flight)

    def reader(self, offsets: Offsets) -> KafkaReader:
        """See `EventLog.reader`."""
        present = self._partitions({source.topic for source in offsets})
        missing = [str(source) for source in offsets if source not in present]
        if missing:
            raise TopicError(f"no such partition: {', '.join(missing)}")
        return KafkaReader(self._consumer(), offsets)

    def fenced_writer(self, topic: str, owner: str) -> KafkaFencedWriter:
        """See `EventLog.fenced_writer`."""
        count = self._partition_count(topic)
        if count != 1:
            raise TopicError(f"{topic}: has {count} partitions; a fenced writer needs exactly one")
        producer = self._producer(
            f"fenced-{owner}", transactional_id=topic, retry_backoff_ms=_TRANSACTION_BACKOFF_MS
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
        end = self.end_offsets(names)  # asked first: what is appended in between comes after it
        found = self._offsets(names, max(0, append_time))
        return {source: found[source] if 0 <= found[source] < at else at for source, at in end.items()}

    def report(self, group: str, offsets: Offsets) -> None:
        """See `EventLog.report`; the group's committed offsets, which Kafka's lag tools read."""
        committed = {
            KafkaTopicPartition(*source): OffsetAndMetadata(offset, "", -1)
            for source, offset in offsets.items()
        }

        def commit(admin: Any) -> None:
            for error in admin.alter_group_offsets(group, committed).values():
                if error is not kafka_errors.NoError:
                    raise error()

        self._ask("report offsets", commit)

    def reported(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """See `EventLog.reported`."""
        wanted = set(topics)
        found = self._ask("group offsets", lambda admin: admin.list_group_offsets({group: None}))[group]
        return {
            TopicPartition(*source): committed.offset
            for source, committed in found.items()
            if source.topic in wanted and committed.offset >= 0
        }

    def close(self) -> None:
        """Close the log's own client; readers and writers have theirs."""
        with self._admin_lock:
            if self._admin_client is not None:
                self._admin_client.close()
                self._admin_client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _admin(self) -> Any:
        with self._admin_lock:
            if self._admin_client is None:
                self._admin_client = KafkaAdminClient(
                    client_id=_client_id("admin"),
                    bootstrap_timeout_ms=int(_ANSWER_SECONDS * 1000),
                    reconnect_backoff_max_ms=1_000,
                    **self._settings,
                )
            return self._admin_client

    def _ask(self, what: str, question: Callable[[Any], T]) -> T:
        """Ask the admin client, again while the cluster asks for patience.

        Raises:
            LogUnavailable: no answer in time, or a refusal.
        """
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            try:
                return question(self._admin())
            except kafka_errors.KafkaError as error:
                if not error.retriable or time.monotonic() > deadline:
                    raise LogUnavailable(f"{what}: {error}") from error
            time.sleep(0.1)

    def _create_topic(self, spec: TopicSpec) -> bool:
        options = {"num_partitions": spec.partitions, "configs": topic_configs(spec)}
        try:
            self._ask("create topic", lambda admin: admin.create_topics({spec.name: options}))
        except LogUnavailable as error:
            if isinstance(error.__cause__, kafka_errors.TopicAlreadyExistsError):
                return False  # another process was faster
            if isinstance(error.__cause__, kafka_errors.InvalidPartitionsError):
                raise InvalidSettings(f"{spec.name}: a topic needs a partition") from error
            raise
        return True

    def _partition_count(self, topic: str) -> int:
        return len(self._partitions([topic]))

    def _partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        names = sorted(set(topics))
        if not names:
            return []
        found = self._ask("describe topics", lambda admin: admin.describe_topics(names))
        missing = [topic["name"] for topic in found if topic["error_code"]]
        if missing:
            raise TopicError(f"no such topic: {', '.join(missing)} (millstream topics create)")
        return [
            TopicPartition(topic["name"], partition["partition_index"])
            for topic in found
            for partition in topic["partitions"]
        ]

    def _offsets(self, topics: Iterable[str], when: object) -> dict[TopicPartition, int]:
        asked = {KafkaTopicPartition(*source): when for source in self._partitions(topics)}
        found = self._ask(
            "offsets",
            lambda admin: admin.list_partition_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED),
        )
        return {TopicPartition(*source): answer.offset for source, answer in sorted(found.items())}

    def _producer(self, role: str, **settings: Any) -> Any:
        return _connected(
            KafkaProducer,
            client_id=_client_id(role),
            acks="all",
            batch_size=_BATCH_BYTES,
            delivery_timeout_ms=int(_DELIVERY_SECONDS * 1000),
            max_block_ms=int(_DELIVERY_SECONDS * 1000),
            reconnect_backoff_max_ms=1_000,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **settings,
            **self._settings,
        )

    def _consumer(self) -> Any:
        return _connected(
            KafkaConsumer,
            client_id=_client_id("reader"),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_FETCH_BYTES,
            reconnect_backoff_max_ms=1_000,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **self._settings,
        )


class KafkaReader:
    """Polls assigned partitions; no consumer group. See `LogReader`.

    The client hands out one partition's fetched records before the next one's. They are held
    here, a partition each, and shared out fairly. (Pausing partitions would be the other way;
    in kafka-python 3.0.12 records parked by a pause may stay so for ever.)
    """

    def __init__(self, consumer: Any, offsets: Offsets) -> None:
        self._consumer = consumer
        self._held: dict[TopicPartition, deque[Record]] = {source: deque() for source in offsets}
        consumer.assign([KafkaTopicPartition(*source) for source in offsets])
        self.seek(offsets)

    def poll(self, max_records: int, timeout_seconds: float) -> list[Record]:
        """See `LogReader.poll`."""
        self._fetch(max_records, timeout_seconds)
        shares = fair_shares({source: len(held) for source, held in self._held.items()}, max_records)
        records = [self._held[source].popleft() for source, share in shares.items() for _ in range(share)]
        first = next(iter(self._held), None)
        if first is not None:  # another partition first at the next turn
            self._held[first] = self._held.pop(first)
        return records

    def seek(self, offsets: Offsets) -> None:
        """See `LogReader.seek`."""
        foreign = [str(source) for source in offsets if source not in self._held]
        if foreign:
            raise TopicError(f"not assigned to this reader: {', '.join(foreign)}")
        for source, offset in offsets.items():
            self._held[source].clear()
            self._consumer.seek(KafkaTopicPartition(*source), offset)

    def positions(self) -> dict[TopicPartition, int]:
        """See `LogReader.positions`."""
        return {
            source: held[0].offset if held else self._consumer.position(KafkaTopicPartition(*source))
            for source, held in sorted(self._held.items())
        }

    def close(self) -> None:
        """Close the client; a second time is harmless."""
        self._consumer.close(autocommit=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _fetch(self, max_records: int, timeout_seconds: float) -> None:
        held = sum(map(len, self._held.values()))
        if held >= max(max_records, _HELD_RECORDS):
            return
        timeout_ms = 0 if held else int(timeout_seconds * 1000)
        try:
            # All that has come, so that every partition has its share; a fetch bounds it.
            fetched = self._consumer.poll(timeout_ms, max_records=_ALL)
        except kafka_errors.OffsetOutOfRangeError as error:
            raise self._expired(error.args[0]) from error
        except kafka_errors.LogTruncationError as error:
            raise self._expired(dict.fromkeys(error.divergent_offsets)) from error
        except kafka_errors.KafkaError as error:
            raise LogUnavailable(f"poll: {error}") from error
        for source, records in fetched.items():
            self._held[TopicPartition(*source)].extend(map(_record, records))

    def _expired(self, where: Mapping[Any, int | None]) -> OffsetsExpired:
        source, offset = next(iter(where.items()))
        if offset is None:
            offset = self._consumer.position(source)
        begin = self._consumer.beginning_offsets([source])[source]
        end = self._consumer.end_offsets([source])[source]
        return OffsetsExpired(source.topic, source.partition, offset, begin, end)


class KafkaWriter:
    """An idempotent producer with a window of unacknowledged sends. See `LogWriter`.

    Sends are kept in order until acknowledged: the oldest is waited for when the window is
    full, and no callback runs for each record.
    """

    def __init__(self, producer: Any, partition_count: Callable[[str], int], max_in_flight: int) -> None:
        self._producer = producer
        self._partition_count = partition_count
        self._max_in_flight = max(1, max_in_flight)
        self._counts: dict[str, int] = {}
        self._in_flight: deque[Any] = deque()
        self._lock = Lock()
        self._error: DeliveryError | None = None

    def append(
        self, topic: str, key: str | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        """See `LogWriter.append`."""
        check_record(key, value)
        place = self._place(topic, key, partition)
        with self._lock:
            self._make_room()
            try:
                self._in_flight.append(
                    self._producer.send(topic, value, None if key is None else key.encode(), partition=place)
                )
            except kafka_errors.KafkaError as error:
                self._fail(error)

    def flush(self) -> None:
        """See `LogWriter.flush`; other threads go on appending meanwhile."""
        with self._lock:
            self._raise_if_failed()
            mine = list(self._in_flight)
        try:
            self._producer.flush(timeout=_DELIVERY_SECONDS + _ANSWER_SECONDS)
        except kafka_errors.KafkaError as error:
            self._fail(error)
        for future in mine:
            self._wait_for(future)
        with self._lock:
            self._forget_acknowledged()

    def close(self) -> None:
        """Flush, then close; a second time is harmless.

        Raises:
            DeliveryError: some append was not acknowledged.
        """
        try:
            if self._error is None:
                self.flush()
        finally:
            self._error = self._error or DeliveryError("the writer is closed")
            _close(self._producer, at_once=bool(self._in_flight))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _place(self, topic: str, key: str | None, partition: int | None) -> int:
        if topic not in self._counts:
            self._counts[topic] = self._partition_count(topic)
        count = self._counts[topic]
        if partition is None:
            return partition_of(key, count)
        if not 0 <= partition < count:
            raise TopicError(f"{topic}: has no partition {partition}, only {count}")
        return partition

    def _make_room(self) -> None:
        self._forget_acknowledged()
        while len(self._in_flight) >= self._max_in_flight:
            self._wait_for(self._in_flight.popleft())

    def _forget_acknowledged(self) -> None:
        self._raise_if_failed()
        while self._in_flight and self._in_flight[0].is_done:
            self._wait_for(self._in_flight.popleft())

    def _wait_for(self, future: Any) -> None:
        try:
            future.get(timeout=_DELIVERY_SECONDS + _ANSWER_SECONDS)
        except kafka_errors.KafkaError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = DeliveryError(f"the broker did not acknowledge a record: {error}")
        raise self._error from error

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise DeliveryError(str(self._error)) from self._error


class KafkaFencedWriter:
    """A transactional producer, one transaction a record. See `FencedWriter`."""

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._error: DeliveryError | Fenced | None = None
        try:
            producer.init_transactions()
        except kafka_errors.KafkaError as error:
            _close(producer, at_once=True)
            raise LogUnavailable(f"{topic}: cannot take over: {error}") from error

    def append(self, value: bytes) -> int:
        """See `FencedWriter.append`."""
        check_record(None, value)
        if self._error is not None:
            raise type(self._error)(str(self._error)) from self._error
        try:
            # To commit has no timeout of its own.
            return _within(_DELIVERY_SECONDS + _ANSWER_SECONDS, lambda: self._append(value))
        except (kafka_errors.KafkaError, TimeoutError) as error:
            self._error = self._named(error)
            raise self._error from error

    def close(self) -> None:
        """Close the client; a transaction left open is aborted by the next writer."""
        _close(self._producer, at_once=self._error is not None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _append(self, value: bytes) -> int:
        self._producer.begin_transaction()
        future = self._producer.send(self._topic, value, partition=0)
        self._producer.commit_transaction()
        offset: int = future.get(timeout=_ANSWER_SECONDS).offset
        return offset

    def _named(self, error: Exception) -> DeliveryError | Fenced:
        fencing = (kafka_errors.ProducerFencedError, kafka_errors.InvalidProducerEpochError)
        if any(isinstance(reason, fencing) for reason in (error, *error.args)):
            return Fenced(f"{self._topic}: another process has taken over; this one must stop")
        return DeliveryError(f"{self._topic}: {error}")


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Run a call that may wait for ever, and leave its thread behind when time is up.

    Raises:
        TimeoutError: time is up; the call may still come to an end.
    """
    outcome: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((call(), None))
        except kafka_errors.KafkaError as error:
            outcome.put((None, error))

    Thread(target=run, name="kafka-bounded-call", daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer in {seconds:.0f} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def _connected(client: Callable[..., T], **settings: Any) -> T:
    try:
        return client(**settings)
    except kafka_errors.KafkaError as error:
        raise LogUnavailable(f"{', '.join(settings['bootstrap_servers'])}: {error}") from error


def _close(producer: Any, at_once: bool) -> None:
    try:
        producer.close(timeout=0 if at_once else _ANSWER_SECONDS)
    except kafka_errors.KafkaTimeoutError:
        logger.warning("event log writer closed with records in flight; the client drops them by itself")


def _client_id(role: str) -> str:
    return f"millstream-{role}-{os.getpid()}"


def _record(record: Any) -> Record:
    # A foreign producer's key need not be text; it must not stop the reader.
    key = None if record.key is None else record.key.decode("utf-8", "backslashreplace")
    return Record(record.topic, record.partition, record.offset, record.timestamp, key, record.value)
