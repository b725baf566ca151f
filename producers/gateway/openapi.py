"""What the gateway's OpenAPI document says of the bodies of requests, made of the event classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.event_fields import EventJsonSchema
from pipeline.events import NEW_IN_2, READABLE_VERSIONS, Interaction, Item, ItemChange, User
from producers.gateway import csv_items
from producers.gateway.bodies import CLOUD_EVENT, CLOUD_EVENTS, JSON, NDJSON
from producers.gateway.cloud_events import REQUIRED, VERSION

Schema = dict[str, Any]
Kind = type[Interaction | Item | ItemChange | User]
KINDS: tuple[Kind, ...] = (Interaction, Item, ItemChange, User)
OPTIONAL = "event_id"
"""Derived where it is missing."""
REFERENCE = "#/components/schemas/{model}"
CSV = (
    "A header with the column item, then an item per row; columns that no field has are attributes: texts, "
    "or numbers if the name ends in :number."
)
LINES = "One event per line, each as JSON; see application/json."
HEADERS: list[Schema] = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "description": "Names the request for ever: ids of its interactions follow from it and their lines.",
    }
]


def posting(kinds: tuple[Kind, ...], needs_kind: bool) -> Schema:
    """Describe headers and body of a route that takes events of these kinds."""
    event: Schema = {"anyOf": [_event(kind, needs_kind) for kind in kinds]}
    cloud = _cloud_event(event)
    content: Mapping[str, Schema] = {
        JSON: {"anyOf": [event, {"type": "array", "items": event, "minItems": 1}]},
        NDJSON: {"type": "string", "description": LINES},
        CLOUD_EVENT: cloud,
        CLOUD_EVENTS: {"type": "array", "items": cloud, "minItems": 1},
    }
    if kinds == (Item, ItemChange):
        content = {**content, csv_items.MEDIA_TYPE: {"type": "string", "description": CSV}}
    body = {"required": True, "content": {name: {"schema": schema} for name, schema in content.items()}}
    return {"parameters": HEADERS, "requestBody": body}


def event_schemas() -> Schema:
    """Return the schemas that those of bodies refer to, by name: the events as senders may leave them."""
    schemas: Schema = {}
    for kind in KINDS:
        schema = kind.model_json_schema(ref_template=REFERENCE, schema_generator=EventJsonSchema)
        schemas |= schema.pop("$defs", {})
        schemas[kind.__name__] = _as_sent(kind, schema)
    return schemas


def _event(kind: Kind, needs_kind: bool) -> Schema:
    named = {"$ref": REFERENCE.format(model=kind.__name__)}
    return {"allOf": [named, {"required": ["kind"]}]} if needs_kind else named


def _as_sent(kind: Kind, schema: Schema) -> Schema:
    envelope: Schema = {
        "v": {"enum": [one for one in READABLE_VERSIONS if kind.since <= one <= kind.version]},
        "kind": {"const": kind.kind},
    }
    required = [field for field in schema["required"] if field != OPTIONAL]
    of_version_2 = {"properties": {"v": {"const": kind.version}}}
    return {
        **schema,
        "properties": {**envelope, **schema["properties"]},
        "required": required,
        "dependentSchemas": dict.fromkeys(sorted(NEW_IN_2 & set(schema["properties"])), of_version_2),
    }


def _cloud_event(event: Schema) -> Schema:
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "description": "A CloudEvent; its source and id give an interaction its event_id, its time the time.",
        "properties": {
            "specversion": {"const": VERSION},
            **dict.fromkeys(REQUIRED, text),
            "time": {"type": "string", "format": "date-time"},
            "data": event,
        },
        "required": ["specversion", *REQUIRED, "data"],
    }
