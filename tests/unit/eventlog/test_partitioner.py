"""Keys get the partition that Kafka's own clients choose."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_murmur2

from pipeline.eventlog.fairness import fair_shares
from pipeline.eventlog.partitioner import murmur2, partition_of


@given(st.binary(max_size=64))
def test_the_hash_is_that_of_kafka_python(data: bytes) -> None:
    assert murmur2(data) == kafka_murmur2(data)


@given(st.text(), st.integers(1, 64))
def test_a_key_keeps_its_partition(key: str, partitions: int) -> None:
    expected = (kafka_murmur2(key.encode()) & 0x7FFFFFFF) % partitions
    assert partition_of(key, partitions) == expected
    assert partition_of(key, partitions) == expected  # from the cache


def test_a_record_without_key_goes_to_partition_0() -> None:
    assert partition_of(None, 16) == 0


@given(st.lists(st.integers(0, 100), max_size=20), st.integers(0, 500))
def test_shares_are_fair_and_use_everything_available(available: list[int], total: int) -> None:
    shares = fair_shares(dict(enumerate(available)), total)
    assert sum(shares.values()) == min(total, sum(available))
    assert all(0 <= shares[i] <= available[i] for i in shares)
    hungry = [shares[i] for i in shares if shares[i] < available[i]]
    if hungry:
        assert min(hungry) >= max(shares.values()) - max(1, len(available))
