"""The events as JSON Schema, the topics as AsyncAPI, the HTTP interfaces as OpenAPI: see `make settings`.

The schemas are made of the event classes, so that they never say anything else. What JSON Schema cannot say
stays with the classes: that `expires` is after `published`, and the bound on a record's size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from docs.openapi import openapi
from pipeline.event_fields import EventJsonSchema
from pipeline.eventlog.topics import Topics
from pipeline.events import READABLE_VERSIONS, Impression, Interaction, Item, ItemChange, User
from pipeline.rules.rule import KINDS as RULE_KINDS
from pipeline.rules.rule import RuleKind
from pipeline.state.outcome_record import OutcomeRecord

FOLDER = Path(__file__).with_name("schemas")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI_VERSION = "3.0.0"
PREFIX = "{prefix}"
"""Stands for `log.prefix` in the names of topics, as an AsyncAPI parameter."""


EventKind = type[Interaction | Item | ItemChange | User | Impression | OutcomeRecord] | RuleKind


class Channel(NamedTuple):
    """A topic that others write or read: who does, the kinds of record in it, and what its key is."""

    address: str
    action: str
    kinds: tuple[EventKind, ...]
    key: str


_TOPICS = Topics(PREFIX)
CHANNELS = {
    "interactions": Channel(_TOPICS.interactions, "receive", (Interaction,), "the user"),
    "items": Channel(_TOPICS.items, "receive", (Item, ItemChange), "the item"),
    "users": Channel(_TOPICS.users, "receive", (User,), "the user"),
    "rules": Channel(_TOPICS.rules, "receive", tuple(RULE_KINDS.values()), "the rule's name"),
    "impressions": Channel(_TOPICS.impressions, "send", (Impression,), "the user"),
    "outcomes": Channel(_TOPICS.outcomes, "send", (OutcomeRecord,), "the impression"),
}
KINDS = tuple(kind for channel in CHANNELS.values() for kind in channel.kinds)


def event_schema(kind: EventKind) -> dict[str, Any]:
    """Return the JSON Schema of a kind of event in its wire form, with the envelope."""
    schema = kind.model_json_schema(schema_generator=EventJsonSchema)
    envelope = {"v": {"const": kind.version}, "kind": {"const": kind.kind}}
    return {
        "$schema": DIALECT,
        **schema,
        "properties": {**envelope, **schema["properties"]},
        "required": [*envelope, *schema["required"]],
    }


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI document of the topics that others write or read."""
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "millstream events",
            "version": str(max(READABLE_VERSIONS)),
            "description": "Records are JSON; keys are UTF-8 text, partitioned by murmur2.",
        },
        "channels": {name: _channel(channel) for name, channel in CHANNELS.items()},
        "operations": {
            f"{channel.action}-{name}": {
                "action": channel.action,
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name, channel in CHANNELS.items()
        },
    }


def documents() -> dict[Path, str]:
    """Return the content of every file of the folder of schemas."""
    made: Mapping[str, dict[str, Any]] = {
        **{f"{kind.__name__}.json": event_schema(kind) for kind in KINDS},
        "asyncapi.json": asyncapi(),
        **openapi(),
    }
    return {FOLDER / name: json.dumps(content, indent=2) + "\n" for name, content in made.items()}


def _channel(channel: Channel) -> dict[str, Any]:
    return {
        "address": channel.address,
        "parameters": {"prefix": {"description": "The setting log.prefix.", "default": "millstream"}},
        "messages": {kind.__name__: _message(kind, channel.key) for kind in channel.kinds},
    }


def _message(kind: EventKind, key: str) -> dict[str, Any]:
    return {
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{kind.__name__}.json"},
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": f"Is {key}."}}},
    }
