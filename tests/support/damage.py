"""Damage what is stored on disk: batches in a broker's segment files, rows of a SQLite file, any file."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

from crc32c import crc32c

Batch = bytearray
"""A record batch as stored: see Kafka's message format, version 2."""

_CRC_AT, _ATTRIBUTES_AT, _RECORDS_AT = 17, 21, 61


def damage_batch(
    logs: Path, topic: str, partition: int, offset: int, change: Callable[[Batch], None]
) -> None:
    """Change the batch that holds an offset in a broker's folder of logs, without changing its size."""
    segment = logs / f"{topic}-{partition}" / f"{0:020}.log"
    with segment.open("r+b") as file:
        data, position = file.read(), 0
        while position < len(data):
            base, length = struct.unpack_from(">qi", data, position)
            (last_delta,) = struct.unpack_from(">i", data, position + 23)
            size = 12 + length
            if base <= offset <= base + last_delta:
                batch = bytearray(data[position : position + size])
                change(batch)
                assert len(batch) == size
                file.seek(position)
                file.write(batch)
                return
            position += size
    raise LookupError(f"no batch holds offset {offset}")


def flip_last_byte(batch: Batch) -> None:
    """Change a byte of the records, so that the checksum is wrong."""
    batch[-1] ^= 0x55


def claim_codec(codec: int) -> Callable[[Batch], None]:
    """Return a change that names another codec than the one that compressed the batch."""

    def change(batch: Batch) -> None:
        batch[_ATTRIBUTES_AT + 1] = batch[_ATTRIBUTES_AT + 1] & ~7 | codec
        seal(batch)

    return change


def replace_bytes(old: bytes, new: bytes) -> Callable[[Batch], None]:
    """Return a change of some bytes of the records, under a right checksum."""

    def change(batch: Batch) -> None:
        at = batch.index(old, _RECORDS_AT)
        batch[at : at + len(new)] = new
        seal(batch)

    return change


def claim_length(length: int) -> Callable[[Batch], None]:
    """Return a change of the length of the batch, which neither the checksum nor the file confirms."""
    return lambda batch: struct.pack_into(">i", batch, 8, length)


def seal(batch: Batch) -> None:
    """Write the right checksum of what the batch now holds."""
    struct.pack_into(">I", batch, _CRC_AT, crc32c(bytes(batch[_ATTRIBUTES_AT:])))


def damage_row(path: Path, topic: str, partition: int, offset: int, change: str) -> None:
    """Set columns of the row at an offset by an SQL assignment."""
    with sqlite3.connect(path) as connection:
        (slot,) = connection.execute(
            "SELECT slot FROM partitions WHERE topic = ? AND partition = ?", (topic, partition)
        ).fetchone()
        connection.execute(f"UPDATE records SET {change} WHERE id = ?", (slot << 44 | offset,))


def damage_page(path: Path, marker: bytes) -> None:
    """Overwrite the header of the page that holds some bytes, so that SQLite cannot read the page."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        page = file.read().index(marker) // size
        file.seek(page * size)
        file.write(b"\xff" * 12)


def flip_a_bit(path: Path) -> None:
    """Change the middle byte of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
