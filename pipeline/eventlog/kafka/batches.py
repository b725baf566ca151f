"""Decode fetched batches so that damage costs the damaged records and not the reader.

kafka-python raises at a batch that it cannot decode, and raises again at every later poll. Here the
batches are decoded first, and a placeholder takes the place of what cannot be read: one for a whole
batch, at its last offset, or one for a single record. Uses the client's internals, which is why its
version is pinned; the contract suite damages batches on a real broker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

from pipeline.clock import now_ms
from pipeline.eventlog.kafka.codecs import DECODING_ERRORS, decompress

_MAX_CLOCK_SKEW_MS = 300_000
_HEADER = DefaultRecordBatch.HEADER_STRUCT
_ATTRIBUTES, _RECORDS_COUNT = 5, 12  # indices in the header


class Unreadable(str):
    """The value of a placeholder: what is wrong, in words."""


class _Placeholder(NamedTuple):
    """Has the attributes that the client reads of a record."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: Unreadable
    key: bytes | None = None
    headers: tuple[()] = ()
    checksum: int | None = None
    size_in_bytes: int = 0


class _LostBatch:
    """A batch that cannot be decoded: it yields one placeholder. Has the attributes of a batch."""

    magic = 2
    leader_epoch = -1
    is_control_batch = False

    def __init__(self, base_offset: int, last_offset: int, append_time: int, reason: str) -> None:
        self.base_offset = base_offset
        self.last_offset = last_offset
        self.next_offset = last_offset + 1
        covered = f"; it covers the offsets from {base_offset}" if base_offset < last_offset else ""
        self._placeholder = _placeholder(last_offset, append_time, f"{reason}{covered}")

    def has_producer_id(self) -> bool:
        """Return False: whether its transaction was aborted is not known."""
        return False

    def __iter__(self) -> Iterator[_Placeholder]:
        yield self._placeholder


class _Batch:
    """A decompressed batch that yields a placeholder for each record that cannot be decoded."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        """Return the marker in a control batch, or None if it is damaged."""
        try:
            return next(self._batch)
        except DECODING_ERRORS:
            return None

    def __iter__(self) -> Iterator[Any]:
        decoded, offset = 0, self._batch.base_offset
        try:
            for record in self._batch:
                yield record
                decoded, offset = decoded + 1, record.offset + 1
        except DECODING_ERRORS:
            yield from self._one_by_one(decoded, offset)

    def _one_by_one(self, decoded: int, offset: int) -> Iterator[Any]:
        """Decode the records after the first `decoded` ones separately, each as a batch of its own.

        The offset in a damaged record is not believed: it is the one after the record before.
        """
        raw = bytes(self._batch._buffer)
        header = list(_HEADER.unpack_from(raw))
        header[_RECORDS_COUNT] = 1
        alone, end = _HEADER.pack(*header), _HEADER.size
        for index in range(self._batch.records_count):
            start, end = end, _end_of_record(raw, end)
            if end < 0:
                last = max(offset, self._batch.last_offset)
                yield self._damaged(last, "the rest of its batch is damaged")
                return
            if index >= decoded:
                record = self._decoded(alone + raw[start:end], offset)
                offset = record.offset + 1
                yield record

    def _decoded(self, batch: bytes, offset: int) -> Any:
        try:
            return next(iter(DefaultRecordBatch(batch)))
        except DECODING_ERRORS as error:
            return self._damaged(offset, f"damaged record: {error}")

    def _damaged(self, offset: int, reason: str) -> _Placeholder:
        return _placeholder(offset, self._batch.max_timestamp, reason)


def _end_of_record(raw: bytes, start: int) -> int:
    """Return where the record that starts at a position ends, or -1 if its length is damaged."""
    try:
        length, start = decode_varint(raw, start)
    except DECODING_ERRORS:
        return -1
    end: int = start + length
    return end if start < end <= len(raw) else -1


class TolerantRecords:
    """The batches of one fetch of one partition; stands in for the client's `MemoryRecords`."""

    def __init__(self, records: Any, fetch_offset: int) -> None:
        self._records = records
        self._offset = fetch_offset
        self._ended = False

    def next_batch(self) -> Any:
        """Return the next batch, decompressed and checked, or None at the end."""
        if self._ended:
            return None
        try:
            batch = self._records.next_batch()
        except DECODING_ERRORS as error:  # where the next batch begins is unknown: fetch again behind
            self._ended = True
            return _LostBatch(self._offset, self._offset, now_ms(), f"damaged batch: {error}")
        if batch is None:
            return None
        decoded = self._decoded(batch)
        self._offset = max(self._offset, decoded.next_offset)
        return decoded

    def _decoded(self, batch: Any) -> Any:
        if batch.magic < 2:
            return _LegacyBatch(batch)
        if not batch.validate_crc():
            # A damaged header may say anything: unless two of its fields agree, pass over one offset.
            agrees = 0 <= batch.last_offset_delta == batch.records_count - 1
            return self._lost(batch, "the checksum of its batch is wrong", agrees)
        if not 0 <= batch.records_count <= batch.last_offset_delta + 1:
            return self._lost(batch, "its batch says more records than offsets", False)
        try:
            return _Batch(_decompressed(batch))
        except DECODING_ERRORS as error:
            reason = str(error) or type(error).__name__
            return self._lost(batch, f"its batch cannot be decompressed: {reason}", True)

    def _lost(self, batch: Any, reason: str, header_is_sound: bool) -> _LostBatch:
        last = batch.last_offset if header_is_sound else self._offset
        now = now_ms()
        plausible = 0 <= batch.max_timestamp <= now + _MAX_CLOCK_SKEW_MS
        first = min(max(batch.base_offset, 0), last)
        return _LostBatch(first, last, batch.max_timestamp if plausible else now, reason)


class _LegacyBatch:
    """A batch in the format before Kafka 0.11, which old brokers keep; damage costs the batch."""

    def __init__(self, batch: Any) -> None:
        self.magic: int = batch.magic
        self.base_offset: int = batch.base_offset
        self.next_offset: int = batch.base_offset + 1
        self._batch = batch

    def __iter__(self) -> Iterator[Any]:
        try:
            if not self._batch.validate_crc():
                raise ValueError("the checksum is wrong")
            yield from list(self._batch)
        except DECODING_ERRORS as error:
            yield _placeholder(self.base_offset, now_ms(), f"damaged batch: {error}")


class TolerantPartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # the client has no types
    """The client's iterator over a fetch, which decodes by `TolerantRecords`."""

    def __init__(self, fetch_offset: int, tp: Any, records: Any, **options: Any) -> None:
        options["check_crcs"] = False  # they are checked already
        super().__init__(fetch_offset, tp, TolerantRecords(records, fetch_offset), **options)


def _decompressed(batch: Any) -> Any:
    if not batch.compression_type:
        return batch
    raw = bytes(batch._buffer)
    header = list(_HEADER.unpack_from(raw))
    header[_ATTRIBUTES] &= ~DefaultRecordBatch.CODEC_MASK
    return DefaultRecordBatch(_HEADER.pack(*header) + decompress(batch.compression_type, raw[_HEADER.size :]))


def _placeholder(offset: int, append_time: int, reason: str) -> _Placeholder:
    return _Placeholder(offset, append_time, DefaultRecordBatch.LOG_APPEND_TIME, Unreadable(reason))
