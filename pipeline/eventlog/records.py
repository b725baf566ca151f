"""Records, their places and the settings of topics: the values that pass through the port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from pipeline.errors import DeliveryError

MAX_RECORD_BYTES = 1_000_000
"""Limit of key and value of one record together; slightly below a Kafka broker's default."""

NO_TOPIC_ID = ""
"""The id of a topic on a Kafka cluster before 2.8, which has none: two of them prove nothing."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the result of `str`."""
        topic, _, partition = text.rpartition("/")
        return cls(topic, int(partition))


Offsets = Mapping[TopicPartition, int]


class Record(NamedTuple):
    """One stored record; `append_time` is in ms by the log's clock, never the producer's.

    `error` says why a record could not be read: its bytes are damaged, or compressed by an unknown
    codec. Such a record has no key and an empty value, so it is never taken for a tombstone. Where
    a whole batch cannot be read, one record at its last offset stands for the batch.
    """

    topic: str
    partition: int
    offset: int
    append_time: int
    key: str | None
    value: bytes | None
    error: str | None = None

    @property
    def source(self) -> TopicPartition:
        """The partition of the record."""
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """Settings of a topic; `retention_ms` and `retention_bytes` None keep records for ever.

    A compacted topic keeps the last record of each key. Superseded records stay readable for at
    least `compaction_lag_ms`, so that a replay of the journal reads the same records as before.
    The other settings exist on Kafka only: `log_append_time` is whether records carry the log's
    time and not the producer's, `compression` is the codec that the broker stores records with
    ("producer" leaves them as they come), `max_batch_bytes` is the largest batch it accepts.
    """

    name: str
    partitions: int
    compacted: bool = False
    retention_ms: int | None = None
    compaction_lag_ms: int = 0
    log_append_time: bool = True
    retention_bytes: int | None = None
    compression: str = "producer"
    max_batch_bytes: int = 1_048_588


def check_record(key: str | None, value: bytes | None) -> None:
    """Reject a record that not every engine can store, before it is sent.

    Raises:
        DeliveryError: the record has neither key nor value, or is too large.
    """
    if key is None and value is None:
        raise DeliveryError("a record needs a key or a value")
    # Encoding the key costs time, so do it only if the record could be too large: a character
    # has at most four bytes of UTF-8.
    if 4 * len(key or "") + len(value or b"") > MAX_RECORD_BYTES:
        size = len((key or "").encode()) + len(value or b"")
        if size > MAX_RECORD_BYTES:
            raise DeliveryError(f"a record of {size} bytes is larger than {MAX_RECORD_BYTES} bytes")
