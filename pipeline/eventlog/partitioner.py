"""Assign keys to partitions by Kafka's murmur2 hash, so that every engine and client agrees."""

from __future__ import annotations

from functools import lru_cache

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Hash bytes with unsigned 32-bit MurmurHash2, as `org.apache.kafka.common.utils.Utils` does.

    >>> murmur2(b"21")  # -973932308 as a signed integer
    3321034988
    """
    whole = len(data) & ~3  # bytes in complete 4-byte blocks
    hashed = _SEED ^ len(data)
    for start in range(0, whole, 4):
        block = int.from_bytes(data[start : start + 4], "little") * _MIX & _MASK
        block = (block ^ block >> 24) * _MIX & _MASK
        hashed = (hashed * _MIX & _MASK) ^ block
    if len(data) > whole:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * _MIX & _MASK
    hashed = (hashed ^ hashed >> 13) * _MIX & _MASK
    return hashed ^ hashed >> 15


@lru_cache(maxsize=131_072)  # keys repeat; about 20 MB when full
def _positive_hash(key: str) -> int:
    return murmur2(key.encode()) & 0x7FFFFFFF


def partition_of(key: str | None, partitions: int) -> int:
    """Return the partition of a key, out of `partitions`; 0 for a record without a key."""
    return 0 if key is None else _positive_hash(key) % partitions
