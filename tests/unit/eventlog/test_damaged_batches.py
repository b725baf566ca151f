"""Batches of Kafka with any damage: the reader goes on, and no codec exhausts the memory."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
import snappy
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from kafka.record import MemoryRecords, MemoryRecordsBuilder

from pipeline.eventlog.kafka.batches import TolerantPartitionRecords, Unreadable
from pipeline.eventlog.kafka.codecs import DECODING_ERRORS, MAX_BATCH_BYTES, decompress
from tests.support.damage import seal

SOURCE = TopicPartition("topic", 0)
ENCODERS = {1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}
BATCHES, RECORDS = 3, 4
LENGTH_ENDS = 12


def batch(first: int, codec: int) -> bytes:
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=10_000, offset=0)
    for number in range(RECORDS):
        builder.append(1_000, b"key", b"value-%d" % (first + number), headers=[("name", b"header")])
    builder.close()
    written = bytearray(builder.buffer())
    struct.pack_into(">q", written, 0, first)  # as the broker does
    return bytes(written)


def fetch(codec: int) -> list[bytearray]:
    return [bytearray(batch(number * RECORDS, codec)) for number in range(BATCHES)]


def read(batches: list[bytearray], offset: int = 0) -> tuple[list[Any], int]:
    """Return the records of a fetch, and the offset of the next one.

    A broker sends batches from the one on that holds the offset.
    """
    sent = b"".join(batches[offset // RECORDS :])
    records = TolerantPartitionRecords(offset, SOURCE, MemoryRecords(sent))
    found: list[Any] = []
    while records:
        found += records.take(5)
    return found, records.next_fetch_offset


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_whole_batches_are_read_from_any_offset(codec: int) -> None:
    for offset in range(BATCHES * RECORDS):
        records, following = read(fetch(codec), offset)
        assert [record.offset for record in records] == list(range(offset, BATCHES * RECORDS))
        assert [record.value for record in records] == [
            b"value-%d" % number for number in range(offset, BATCHES * RECORDS)
        ]
        assert following == BATCHES * RECORDS


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    codec=st.integers(0, 4),
    offset=st.integers(0, BATCHES * RECORDS - 1),
    changes=st.lists(
        st.tuples(st.integers(0, BATCHES - 1), st.integers(0, 200), st.integers(1, 255)),
        min_size=1,
        max_size=4,
    ),
    sealed=st.booleans(),
)
def test_no_damage_stops_the_reader(
    codec: int, offset: int, changes: list[tuple[int, int, int]], sealed: bool
) -> None:
    batches = fetch(codec)
    for which, where, flipped in changes:
        # Not in the base offset and the length: the broker itself finds batches by them.
        at = LENGTH_ENDS + where % (len(batches[which]) - LENGTH_ENDS)
        batches[which][at] ^= flipped
    if sealed:  # a producer's fault and not the disk's: the checksum is right
        for one in batches:
            seal(one)
    records, following = read(batches, offset)
    assert following > offset
    assert records
    if not sealed:
        offsets = [record.offset for record in records]
        assert all(first < second for first, second in pairwise(offsets))
        for record in records:
            assert isinstance(record.value, Unreadable) or record.value == b"value-%d" % record.offset


@pytest.mark.parametrize("codec", ENCODERS)
def test_what_is_damaged_or_cut_off_is_an_error_and_not_a_shorter_batch(codec: int) -> None:
    whole = ENCODERS[codec](b"value" * 100)
    assert decompress(codec, whole) == b"value" * 100
    for damaged in (b"", whole[:-3], b"garbage" * 10):
        try:
            assert decompress(codec, damaged) != b"value" * 100
        except DECODING_ERRORS:
            continue


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_small_batch_that_would_fill_the_memory_is_refused(codec: int) -> None:
    bomb = ENCODERS[codec](bytes(MAX_BATCH_BYTES + 1))
    assert len(bomb) < MAX_BATCH_BYTES / 15
    with pytest.raises(DECODING_ERRORS, match="64 MiB"):
        decompress(codec, bomb)


def test_a_plain_snappy_block_is_read() -> None:
    assert decompress(2, snappy.compress(b"value" * 100)) == b"value" * 100


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(DECODING_ERRORS, match="codec 6 is unknown"):
        decompress(6, b"")
