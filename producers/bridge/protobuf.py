"""Decode Protobuf by descriptors, without generated code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from pipeline.errors import InvalidEvent, InvalidSettings, RefusalReason
from producers.bridge.schema_registry import Schema

REMEDY = "reading Protobuf needs protobuf: pip install 'millstream[schema-registry]'"
WELL_KNOWN = (
    *("any", "source_context", "type", "api", "descriptor", "duration"),
    *("empty", "field_mask", "struct", "timestamp", "wrappers"),
)
"""Files that every Protobuf has, each after those that it imports."""
MOST_NESTED = 100


def protobuf_decoder(schema: Schema) -> Callable[[bytes], object]:
    """Make the decoder of a schema.

    Raises:
        InvalidSettings: protobuf is not installed.
        InvalidEvent: the schema is none.
    """
    try:
        messages = import_module("google.protobuf.message")
    except ImportError:
        raise InvalidSettings(REMEDY) from None
    try:
        file = _file_of(schema)
    except (messages.DecodeError, TypeError, KeyError) as error:
        reason = f"the schema {schema.number} cannot be used: {type(error).__name__}"
        raise InvalidEvent("event", reason, RefusalReason.SCHEMA) from error
    json_format = import_module("google.protobuf.json_format")
    factory = import_module("google.protobuf.message_factory")

    def decode(wire: bytes) -> object:
        try:
            indices, start = _indices(wire)
            message = factory.GetMessageClass(_message_type(file, indices))()
            message.ParseFromString(wire[start:])
            return json_format.MessageToDict(
                message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
        except (messages.DecodeError, json_format.Error, IndexError, ValueError, TypeError) as error:
            reason = f"is no Protobuf of the schema {schema.number}"
            raise InvalidEvent("event", reason, RefusalReason.NOT_JSON) from error

    return decode


def _file_of(schema: Schema) -> Any:
    """Return the descriptor of the schema's file, in a pool of its own."""
    descriptors = import_module("google.protobuf.descriptor_pb2")
    pool = import_module("google.protobuf.descriptor_pool").DescriptorPool()
    name = f"schema-{schema.number}.proto"
    for known in WELL_KNOWN:
        pool.AddSerializedFile(import_module(f"google.protobuf.{known}_pb2").DESCRIPTOR.serialized_pb)
    if schema.is_set:
        files = list(descriptors.FileDescriptorSet.FromString(schema.content).file)
        for one in files:
            if not one.name.startswith("google/protobuf/"):
                pool.Add(one)
        return pool.FindFileByName(files[-1].name)
    for reference, content in (*schema.references, (name, schema.content)):
        one = descriptors.FileDescriptorProto.FromString(content)
        one.name = reference
        pool.Add(one)
    return pool.FindFileByName(name)


def _indices(wire: bytes) -> tuple[list[int], int]:
    """Return which message of the file a value is, and where it begins; a zero stands for the first one."""
    numbers = _varints(wire)
    count, start = next(numbers)
    if count == 0:
        return [0], start
    if not 0 < count <= MOST_NESTED:
        raise ValueError("no indices of a message")
    indices = [next(numbers) for _ in range(count)]
    return [index for index, _ in indices], indices[-1][1]


def _varints(wire: bytes) -> Iterator[tuple[int, int]]:
    """Yield zigzag numbers, each with the position after it."""
    number = shift = 0
    for position, byte in enumerate(wire, start=1):
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield (number >> 1) ^ -(number & 1), position
            number = shift = 0
    raise ValueError("ends within the indices of a message")


def _message_type(file: Any, indices: list[int]) -> Any:
    if min(indices) < 0:
        raise ValueError("no indices of a message")
    found = list(file.message_types_by_name.values())[indices[0]]
    for index in indices[1:]:
        found = found.nested_types[index]
    return found
