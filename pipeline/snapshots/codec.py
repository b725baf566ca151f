"""Read the files of snapshots, and write those of one version alone."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from safetensors.torch import save as write_tensors

from pipeline.model.tensors import put_under
from pipeline.snapshots.layer import Array, Layer, arrays_of
from pipeline.snapshots.snapshot import TensorForm, Update

LEARNED = "learned.safetensors"
ENCODER = "encoder.safetensors"
"""Absent if the language model has no adapter."""
VALUES = "values.safetensors"
"""Absent while no values are learned."""
HEADER_LENGTH_BYTES = 8
"""Length of a safetensors header, before the header itself."""
ARRAY_TYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I32": np.int32,
    "I64": np.int64,
    "I8": np.int8,
    "U8": np.uint8,
}
TYPE_NAMES = {np.dtype(dtype): name for name, dtype in ARRAY_TYPES.items()}

Content = bytes | bytearray | memoryview | mmap.mmap
"""Of a file: read, or mapped."""


def encode_own(update: Update) -> dict[str, bytes]:
    """Encode what each version has of its own."""
    named = {f"learned.{name}": tensor.contiguous() for name, tensor in update.learned.items()}
    named |= put_under("latest.", update.latest)
    learned = {**named, "mixer": update.mixer, "ratings": update.ratings}
    files = {LEARNED: learned, ENCODER: update.encoder, VALUES: update.values}
    return {name: write_tensors(dict(tensors)) for name, tensors in files.items() if tensors}


def encode_layer(layer: Layer) -> list[memoryview]:
    """Encode a layer as a safetensors file, in pieces: the arrays are not copied."""
    arrays, header, position = arrays_of(layer), dict[str, object](), 0
    ordered = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so that all are aligned
    for name in ordered:
        end = position + arrays[name].nbytes
        form = TYPE_NAMES[arrays[name].dtype], list(arrays[name].shape), [position, end]
        header[name] = dict(zip(("dtype", "shape", "data_offsets"), form, strict=True))
        position = end
    text = orjson.dumps(header)
    text += b" " * (-len(text) % HEADER_LENGTH_BYTES)
    head = len(text).to_bytes(HEADER_LENGTH_BYTES, "little") + text
    contents = (np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8) for name in ordered)
    return [memoryview(head), *(content.data for content in contents)]


def tensors_in(content: Content) -> dict[str, TensorForm]:
    """Read the forms of all tensors from the header of a safetensors file.

    Raises:
        ValueError: it has no readable header.
    """
    header, _ = _header(content)
    return {name: TensorForm(dtype=form["dtype"], shape=form["shape"]) for name, form in header.items()}


def has_forms(content: Content, forms: Mapping[str, TensorForm]) -> bool:
    """Whether the header of a safetensors file names tensors of these forms, and no others.

    Raises:
        ValueError: it has no readable header.
        LookupError: it names a tensor without its form.
    """
    header, _ = _header(content)
    found = {name: (form["dtype"], tuple(form["shape"])) for name, form in header.items()}
    return found == {name: (form.dtype, form.shape) for name, form in forms.items()}


def arrays_in(content: Content, forms: Mapping[str, TensorForm]) -> dict[str, Array]:
    """Read the tensors of a safetensors file that has these forms, as views of its content.

    Raises:
        ValueError: they do not fill the file, one after another.
    """
    header, position = _header(content)
    begin, arrays = position, dict[str, Array]()
    for name in sorted(header, key=lambda name: tuple(header[name]["data_offsets"])):
        form, dtype = forms[name], np.dtype(ARRAY_TYPES[forms[name].dtype])
        end = position + form.bytes
        if header[name]["data_offsets"] != [position - begin, end - begin] or position % dtype.itemsize:
            raise ValueError(f"{name} is not where it should be")
        arrays[name] = np.frombuffer(content, dtype, math.prod(form.shape), position).reshape(form.shape)
        position = end
    if position != len(content):
        raise ValueError("it holds more than its tensors")
    return arrays


def _header(content: Content) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file, and where it ends."""
    end = HEADER_LENGTH_BYTES + int.from_bytes(content[:HEADER_LENGTH_BYTES], "little")
    header = orjson.loads(bytes(content[HEADER_LENGTH_BYTES:end]))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return {name: form for name, form in header.items() if name != "__metadata__"}, end
