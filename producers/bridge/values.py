"""Read the value of a foreign record as an object: JSON, or what a Schema Registry's serializers wrote.

Those begin with a zero byte, which JSON never does, and the id of a schema:
https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import orjson

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.events import as_object
from producers.bridge.schema_registry import Registry, Schema, SchemaKind

MAGIC = 0
HEADER_BYTES = 5
MOST_SCHEMAS = 1_000
"""Schemas that are kept ready to use."""
NO_REGISTRY = "is framed for a Schema Registry: say where it is, as `registry` in [bridge]"

ReadValue = Callable[[bytes], dict[str, object]]
"""Returns the object that a value is; raises InvalidEvent if it is none."""


def json_object(value: bytes) -> dict[str, object]:
    """Read a value that is JSON.

    Raises:
        InvalidEvent: it is no JSON object.
    """
    if value[:1] == bytes([MAGIC]):
        raise InvalidEvent("event", NO_REGISTRY, RefusalReason.NOT_JSON)
    try:
        return as_object(orjson.loads(value))
    except orjson.JSONDecodeError as error:
        raise InvalidEvent("event", f"not JSON: {error}", RefusalReason.NOT_JSON) from None


def framed_values(registry: Registry) -> ReadValue:
    """Make a reader of values that are framed, or else JSON.

    The reader raises LogUnavailable while the registry does not answer.
    """
    decoder_of = lru_cache(MOST_SCHEMAS)(lambda schema_id: _decoder(registry.schema(schema_id)))

    def read(value: bytes) -> dict[str, object]:
        if value[:1] != bytes([MAGIC]):
            return json_object(value)
        if len(value) < HEADER_BYTES:
            raise InvalidEvent("event", "ends within the id of its schema", RefusalReason.SCHEMA)
        schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
        return as_object(decoder_of(schema_id)(value[HEADER_BYTES:]))

    return read


def _decoder(schema: Schema) -> Callable[[bytes], object]:
    match schema.kind:
        case SchemaKind.AVRO:
            from producers.bridge.avro import avro_decoder  # noqa: PLC0415  # an extra

            return avro_decoder(schema)
        case SchemaKind.PROTOBUF:
            from producers.bridge.protobuf import protobuf_decoder  # noqa: PLC0415  # an extra

            return protobuf_decoder(schema)
        case SchemaKind.JSON:
            return json_object
