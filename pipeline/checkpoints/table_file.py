"""The file of an item table, encoded in parts: a table of a million items never lies in memory twice."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator

import orjson
import torch
from torch import Tensor

from pipeline.model.captured_columns import CapturedColumns
from pipeline.snapshots.codec import arrays_in, tensors_in

LENGTH_BYTES = 8
"""Length of a safetensors header, before the header itself."""
TYPE_NAMES = {torch.float16: "F16", torch.float32: "F32"}
Part = bytes | memoryview
"""Of a file that is written."""
Content = bytes | mmap.mmap
"""Of a file that was read: all of it, or a private map of it."""


def table_parts(table: CapturedColumns) -> Iterator[Part]:
    """Encode columns of float16 or float32 as a safetensors file, the wider first: all are aligned."""
    names = sorted(table, key=lambda name: (-table.form(name).dtype.itemsize, name))
    yield _head(names, table)
    for name in names:
        for part in table.parts(name):
            yield part.numpy().reshape(-1).view("u1").data


def table_columns(content: Content) -> dict[str, Tensor]:
    """Read the columns of a table by name; those of a map are views of it.

    Raises:
        ValueError: it is no such file.
    """
    writable = bytearray(content) if isinstance(content, bytes) else content
    arrays = arrays_in(writable, tensors_in(writable))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _head(names: list[str], table: CapturedColumns) -> bytes:
    header, position = dict[str, object](), 0
    for name in names:
        shape, dtype = table.form(name)
        end = position + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": TYPE_NAMES[dtype], "shape": shape, "data_offsets": (position, end)}
        position = end
    text = orjson.dumps(header)
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text
