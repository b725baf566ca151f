"""What the gateway's OpenAPI document says of the bodies of requests, made of the event classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.events import READABLE_VERSIONS, Interaction, Item, ItemChange, User
from producers.gateway.bodies import CLOUD_EVENT, CLOUD_EVENTS, JSON, NDJSON
from producers.gateway.cloud_events import REQUIRED, VERSION

Schema = dict[str, Any]
Kind = type[Interaction | Item | ItemChange | User]
KINDS: tuple[Kind, ...] = (Interaction, Item, ItemChange, User)
OPTIONAL = "event_id"
"""Derived where it is missing."""
REFERENCE = "#/components/schemas/{model}"
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


def posting(kinds: Iterable[Kind], needs_kind: bool) -> Schema:
    """Describe headers and body of a route that takes events of these kinds."""
    event: Schema = {"anyOf": [_event(kind, needs_kind) for kind in kinds]}
    cloud = _cloud_event(event)
    content: Mapping[str, Schema] = {
        JSON: {"anyOf": [event, {"type": "array", "items": event, "minItems": 1}]},
        NDJSON: {"type": "string", "description": LINES},
        CLOUD_EVENT: cloud,
        CLOUD_EVENTS: {"type": "array", "items": cloud, "minItems": 1},
    }
    body = {"required": True, "content": {name: {"schema": schema} for name, schema in content.items()}}
    return {"parameters": HEADERS, "requestBody": body}


def add_components(document: Schema) -> None:
    """Add the parts that the schemas of events refer to."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for kind in KINDS:
        schemas.update(kind.model_json_schema(ref_template=REFERENCE).get("$defs", {}))


def _event(kind: Kind, needs_kind: bool) -> Schema:
    schema = kind.model_json_schema(ref_template=REFERENCE)
    schema.pop("$defs", None)
    envelope: Schema = {"v": {"enum": list(READABLE_VERSIONS)}, "kind": {"const": kind.kind}}
    required = [field for field in schema["required"] if field != OPTIONAL]
    return {
        **schema,
        "properties": {**envelope, **schema["properties"]},
        "required": [*(["kind"] if needs_kind else []), *required],
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
