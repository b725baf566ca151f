"""Which partition a key belongs to: Kafka's murmur2, so that every engine and client agrees."""

from __future__ import annotations

from functools import lru_cache

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The unsigned 32-bit MurmurHash2 of some bytes, as `org.apache.kafka.common.utils.Utils` has it.

    >>> murmur2(b"21")  # -973932308 as a signed integer
    3321034988
    """
    whole = len(data) & ~3
    hashed = _SEED ^ len(data)
    for start in range(0, whole, 4):
        block = int.from_bytes(data[start : start + 4], "little") * _MIX & _MASK
        block = (block ^ block >> 24) * _MIX & _MASK
        hashed = (hashed * _MIX & _MASK) ^ block
    if len(data) > whole:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * _MIX & _MASK
    hashed = (hashed ^ hashed >> 13) * _MIX & _MASK
    return hashed ^ hashed >> 15


@lru_cache(maxsize=131_072)  # users and items come again; about 20 MB when full
def _positive_hash(key: str) -> int:
    return murmur2(key.encode()) & 0x7FFFFFFF


def partition_of(key: str | None, partitions: int) -> int:
    """The partition of a key among so many; 0 for a record without key."""
    return 0 if key is None else _positive_hash(key) % partitions
