"""The file of an item table, encoded in parts: a table of a million items never lies in memory twice."""

from __future__ import annotations

import math
from collections.abc import Iterator

import orjson

from pipeline.model.captured_columns import CapturedColumns

LENGTH_BYTES = 8
"""Length of a safetensors header, before the header itself."""
FLOAT_BYTES = 4


def table_parts(table: CapturedColumns) -> Iterator[bytes | memoryview]:
    """Encode float32 columns as a safetensors file, by name."""
    names = sorted(table)
    yield _head(names, table)
    for name in names:
        for part in table.parts(name):
            yield part.numpy().reshape(-1).view("u1").data


def _head(names: list[str], table: CapturedColumns) -> bytes:
    header, position = dict[str, object](), 0
    for name in names:
        shape = table.shape(name)
        end = position + FLOAT_BYTES * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": (position, end)}
        position = end
    text = orjson.dumps(header)
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text
