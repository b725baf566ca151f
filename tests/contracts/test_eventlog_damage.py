"""Records of every codec are read; a record that cannot be read costs that record, on every engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from deploy.kafka.broker import Broker
from pipeline import metrics
from pipeline.errors import InvalidEvent
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import dead_letter, interaction_of, item_of
from pipeline.eventlog.port import EventLog, Record, TopicPartition, TopicSpec, read, read_compacted
from tests.support.damage import (
    claim_codec,
    claim_length,
    damage_batch,
    damage_page,
    damage_row,
    flip_last_byte,
    replace_bytes,
)

CODECS = ["gzip", "snappy", "lz4", "zstd"]


@pytest.fixture
def log(log_url: str) -> Iterator[EventLog]:
    with open_log(log_url) as log:
        yield log


@pytest.fixture
def topic(log: EventLog, prefix: str) -> str:
    log.create_topics([TopicSpec(prefix, 2)])
    return prefix


@pytest.fixture
def kafka(kafka_url: str) -> Iterator[EventLog]:
    with open_log(kafka_url) as log:
        yield log


@pytest.fixture
def foreign(kafka_url: str) -> Iterator[Callable[..., Any]]:
    """Opens producers of other programs, with settings of their own."""
    opened: list[Any] = []

    def open_producer(**settings: Any) -> Any:
        opened.append(KafkaProducer(bootstrap_servers=kafka_url.removeprefix("kafka://"), **settings))
        return opened[-1]

    yield open_producer
    for producer in opened:
        producer.close()


@pytest.fixture
def damage(request: pytest.FixtureRequest, log_url: str, topic: str) -> Callable[[int], None]:
    """Damages one record of partition 0, in the way of the engine."""
    if log_url.startswith("kafka"):
        broker: Broker = request.getfixturevalue("kafka_broker")
        return lambda offset: damage_batch(broker.data / "logs", topic, 0, offset, flip_last_byte)
    path = Path(log_url.removeprefix("sqlite:///"))
    return lambda offset: damage_row(path, topic, 0, offset, "value = 'text'")


def append(log: EventLog, topic: str, values: list[bytes], partition: int = 0) -> None:
    with log.writer() as writer:
        for value in values:
            writer.append(topic, "key", value, partition=partition)
            writer.flush()  # so that each record is a batch of its own


def seen(records: list[Record]) -> list[tuple[int, bytes | None, bool]]:
    return [(record.offset, record.value, record.error is not None) for record in records]


def in_partition(log: EventLog, topic: str, partition: int = 0) -> list[Record]:
    return [record for record in read(log, topic) if record.partition == partition]


# --- on every engine


def test_a_damaged_record_costs_that_record(log: EventLog, topic: str, damage: Callable[[int], None]) -> None:
    append(log, topic, [b"0", b"1", b"2", b"3"])
    append(log, topic, [b"other"], partition=1)
    damage(1)
    expected = [(0, b"0", False), (1, b"", True), (2, b"2", False), (3, b"3", False)]
    assert seen(in_partition(log, topic)) == expected
    assert seen(in_partition(log, topic, 1)) == [(0, b"other", False)]
    assert seen(in_partition(log, topic)) == expected  # another reader sees the same
    source = TopicPartition(topic, 0)
    with log.reader({source: 1}) as reader:
        (record,) = reader.poll(1, timeout_seconds=10)
        assert (record.offset, record.key, record.value) == (1, None, b"")
        assert reader.positions() == {source: 2}
        reader.seek({source: 1})
        assert reader.poll(1, timeout_seconds=10) == [record]


def test_it_is_logged_and_counted_once(
    log: EventLog, topic: str, damage: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    append(log, topic, [b"0", b"1", b"2"])
    damage(0)
    damage(2)
    counted = metrics.UNREADABLE_RECORDS._value.get()
    with caplog.at_level(logging.ERROR, "pipeline"):
        for _ in range(3):
            list(read(log, topic))
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(" cannot be read")[0] for line in lines] == [
        f"{topic}/0: the record at offset 0",
        f"{topic}/0: the record at offset 2",
    ]
    assert metrics.UNREADABLE_RECORDS._value.get() == counted + 2


def test_it_can_be_dead_lettered_with_its_place(
    log: EventLog, topic: str, damage: Callable[[int], None]
) -> None:
    append(log, topic, [b"0", b"1"])
    damage(1)
    record = in_partition(log, topic)[1]
    for decode in (interaction_of, item_of):
        with pytest.raises(InvalidEvent, match="record: ") as caught:
            decode(record)
        key, letter = dead_letter(record, caught.value)
        assert key == f"{topic}/0/1"
        assert b'"offset":1' in letter


def test_the_last_record_may_be_damaged_and_the_topic_goes_on(
    log: EventLog, topic: str, damage: Callable[[int], None]
) -> None:
    append(log, topic, [b"0", b"1"])
    damage(1)
    with log.reader({TopicPartition(topic, 0): 0}) as reader:
        records = poll_all(reader, 2)
        append(log, topic, [b"2"])
        records += poll_all(reader, 1)
    assert seen(records) == [(0, b"0", False), (1, b"", True), (2, b"2", False)]


def test_a_compacted_read_passes_over_it(log: EventLog, topic: str, damage: Callable[[int], None]) -> None:
    append(log, topic, [b"0", b"1"])
    damage(1)
    assert {key: record.value for key, record in read_compacted(log, topic).items()} == {"key": b"0"}


def poll_all(reader: Any, count: int) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + 60
    while len(records) < count and time.monotonic() < deadline:
        records += reader.poll(100, timeout_seconds=0.5)
    return records


# --- Kafka


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_of_a_producer_is_read(
    kafka: EventLog, prefix: str, codec: str, foreign: Callable[..., Any]
) -> None:
    kafka.create_topics([TopicSpec(prefix, 1)])
    producer = foreign(compression_type=codec, linger_ms=50)
    values = [b"%d " % number * 50 for number in range(200)]
    for value in values:
        producer.send(prefix, value=value)
    producer.flush()
    assert [record.value for record in read(kafka, prefix)] == values


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_as_the_broker_writes_it_is_read(
    kafka: EventLog, prefix: str, codec: str, kafka_url: str
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka_url.removeprefix("kafka://"))
    admin.create_topics({prefix: {"num_partitions": 1, "configs": {"compression.type": codec}}})
    admin.wait_for_topics([prefix])
    admin.close()
    values = [bytes([number % 251]) * 5_000 for number in range(100)]
    with kafka.writer() as writer:
        for value in values:
            writer.append(prefix, "key", value)
    assert [record.value for record in read(kafka, prefix)] == values


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 5, 7])
def test_a_batch_that_cannot_be_decompressed_costs_the_batch(
    kafka: EventLog, prefix: str, kafka_broker: Broker, codec: int
) -> None:
    kafka.create_topics([TopicSpec(prefix, 1)])
    append(kafka, prefix, [b"0", b"1", b"2"])
    damage_batch(kafka_broker.data / "logs", prefix, 0, 1, claim_codec(codec))
    assert seen(list(read(kafka, prefix))) == [(0, b"0", False), (1, b"", True), (2, b"2", False)]


def test_a_batch_of_several_records_is_one_place(
    kafka: EventLog, prefix: str, kafka_broker: Broker, foreign: Callable[..., Any]
) -> None:
    kafka.create_topics([TopicSpec(prefix, 1)])
    producer = foreign(linger_ms=500)
    for number in range(5):
        producer.send(prefix, value=b"%d" % number)
    producer.flush()
    append(kafka, prefix, [b"5"])
    damage_batch(kafka_broker.data / "logs", prefix, 0, 0, flip_last_byte)
    records = list(read(kafka, prefix))
    assert seen(records) == [(4, b"", True), (5, b"5", False)]
    assert "offsets from 0" in str(records[0].error)
    with kafka.reader({TopicPartition(prefix, 0): 2}) as reader:  # from within the batch
        assert seen(poll_all(reader, 2)) == seen(records)


def test_one_damaged_record_of_a_batch_costs_only_itself(
    kafka: EventLog, prefix: str, kafka_broker: Broker, foreign: Callable[..., Any]
) -> None:
    kafka.create_topics([TopicSpec(prefix, 1)])
    producer = foreign(linger_ms=500)
    for number in range(5):
        producer.send(prefix, value=b"%d" % number, headers=[(f"name{number}", b"")])
    producer.flush()
    change = replace_bytes(b"name2", b"\xff\xff\xff\xff\xff")  # a header's name is not UTF-8
    damage_batch(kafka_broker.data / "logs", prefix, 0, 0, change)
    assert seen(list(read(kafka, prefix))) == [
        *[(0, b"0", False), (1, b"1", False), (2, b"", True), (3, b"3", False), (4, b"4", False)]
    ]


def test_a_batch_that_is_too_large_decompressed_is_refused(
    kafka: EventLog, prefix: str, foreign: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.eventlog.kafka.codecs.MAX_BATCH_BYTES", 50_000)
    kafka.create_topics([TopicSpec(prefix, 1)])
    for codec in CODECS:
        producer = foreign(compression_type=codec)
        for size in (100_000, 1_000):
            producer.send(prefix, value=bytes(size))
            producer.flush()
    assert [record.error is None for record in read(kafka, prefix)] == [False, True] * len(CODECS)


@pytest.mark.parametrize("length", [0, 40, -1])
def test_a_batch_of_a_wrong_length_is_passed_over(
    kafka: EventLog, prefix: str, kafka_broker: Broker, length: int
) -> None:
    kafka.create_topics([TopicSpec(prefix, 1)])
    append(kafka, prefix, [b"0", b"1"])
    damage_batch(kafka_broker.data / "logs", prefix, 0, 1, claim_length(length))
    with kafka.reader({TopicPartition(prefix, 0): 0}) as reader:
        assert seen(reader.poll(10, timeout_seconds=10)) == [(0, b"0", False), (1, b"", True)]
        assert reader.positions() == {TopicPartition(prefix, 0): 2}
    # What follows in this segment file the broker itself no longer finds, for any client.


# --- SQLite


@pytest.mark.parametrize(
    "change", ["value = 'text'", "append_time = 'late'", "key = x'00'", "value = 1.5", "append_time = 2.5"]
)
def test_a_row_of_other_types_is_unreadable(tmp_path: Path, change: str) -> None:
    with open_log(f"sqlite:///{tmp_path}/log.db") as log:
        log.create_topics([TopicSpec("t", 1)])
        append(log, "t", [b"0", b"1", b"2"])
        damage_row(tmp_path / "log.db", "t", 0, 1, change)
        assert seen(list(read(log, "t"))) == [(0, b"0", False), (1, b"", True), (2, b"2", False)]


def test_a_key_that_is_not_utf8_is_escaped(tmp_path: Path) -> None:
    with open_log(f"sqlite:///{tmp_path}/log.db") as log:
        log.create_topics([TopicSpec("t", 1)])
        append(log, "t", [b"0", b"1", b"2"])
        damage_row(tmp_path / "log.db", "t", 0, 1, "key = CAST(x'ff61' AS TEXT)")
        assert [(record.key, record.value) for record in read(log, "t")] == [
            ("key", b"0"),
            ("\\xffa", b"1"),
            ("key", b"2"),
        ]


def test_an_unreadable_page_costs_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(f"sqlite:///{path}") as log:
        log.create_topics([TopicSpec("t", 1)])
        with log.writer() as writer:
            for number in range(200):
                writer.append("t", "key", b"<%03d>" % number * 40)
    damage_page(path, b"<100>")
    with open_log(f"sqlite:///{path}") as log:
        records = list(read(log, "t"))
    assert [record.offset for record in records] == list(range(200))
    lost = [record.offset for record in records if record.error]
    assert 100 in lost
    assert 0 < len(lost) < 50
