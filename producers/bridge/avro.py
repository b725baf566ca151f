"""Decode Avro, by fastavro."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping
from datetime import time
from io import BytesIO
from typing import Any
from uuid import UUID

from pipeline.errors import InvalidEvent, InvalidSettings, RefusalReason
from producers.bridge.schema_registry import Schema

DECODING_ERRORS = (EOFError, ValueError, IndexError, KeyError, TypeError, ArithmeticError, struct.error)
REMEDY = "reading Avro needs fastavro: pip install 'millstream[schema-registry]'"


def avro_decoder(schema: Schema) -> Callable[[bytes], object]:
    """Make the decoder of a schema.

    Raises:
        InvalidSettings: fastavro is not installed.
        InvalidEvent: the schema is none.
    """
    try:
        import fastavro  # noqa: PLC0415  # an extra
    except ImportError:
        raise InvalidSettings(REMEDY) from None
    named: dict[str, Any] = {}
    try:
        for _, reference in schema.references:
            fastavro.parse_schema(json.loads(reference), named)
        parsed = fastavro.parse_schema(json.loads(schema.content), named)
    except (ValueError, TypeError, LookupError, fastavro.schema.SchemaParseException) as error:
        reason = f"the schema {schema.number} cannot be used: {type(error).__name__}"
        raise InvalidEvent("event", reason, RefusalReason.SCHEMA) from error
    if _contains_itself(parsed, named, frozenset()):
        reason = (
            f"the schema {schema.number} contains itself, which is not read: a value could nest without end"
        )
        raise InvalidEvent("event", reason, RefusalReason.SCHEMA)

    def decode(wire: bytes) -> object:
        stream = BytesIO(wire)
        try:
            found = fastavro.schemaless_reader(stream, parsed, None)
        except DECODING_ERRORS as error:
            raise _not_avro(schema) from error
        if stream.read(1):
            raise _not_avro(schema)
        return _plain(found)

    return decode


def _contains_itself(schema: Any, named: Mapping[str, Any], above: frozenset[str]) -> bool:
    """Whether a parsed schema is recursive; fastavro, given a value that nests deeply, ends the process."""
    match schema:
        case str():
            return schema in above or (schema in named and _contains_itself(named[schema], named, above))
        case list():
            return any(_contains_itself(one, named, above) for one in schema)
        case {"fields": fields, "name": name}:
            inside = above | {name}
            return name in above or any(_contains_itself(one["type"], named, inside) for one in fields)
        case {"type": "array", "items": inner} | {"type": "map", "values": inner} | {"type": dict(inner)}:
            return _contains_itself(inner, named, above)
    return False


def _plain(value: object) -> object:
    """Convert what JSON does not have; the mapping reads times and decimal numbers as they are."""
    match value:
        case dict():
            return {name: _plain(part) for name, part in value.items()}
        case list():
            return [_plain(part) for part in value]
        case UUID() | time():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
    return value


def _not_avro(schema: Schema) -> InvalidEvent:
    return InvalidEvent("event", f"is no Avro of the schema {schema.number}", RefusalReason.NOT_JSON)
