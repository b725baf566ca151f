"""Decode records to events, and encode invalid records as dead letters with their source."""

from __future__ import annotations

import base64

import orjson

from pipeline.errors import InvalidEvent
from pipeline.eventlog.port import Record
from pipeline.events import MAX_TIME_AHEAD_MS, MAX_WIRE_BYTES, Interaction, Item, decode


def interaction_of(record: Record) -> Interaction:
    """Decode and check the interaction in a record.

    Raises:
        InvalidEvent: the record is not an interaction, its key is not the user, or its time is
            more than MAX_TIME_AHEAD_MS ahead of its append time.
    """
    event = decode(Interaction, _value(record))
    if record.key != event.user:
        raise InvalidEvent("user", "is not the record's key")
    if event.time > record.append_time + MAX_TIME_AHEAD_MS:
        raise InvalidEvent("time", f"more than {MAX_TIME_AHEAD_MS} ms ahead of the append time")
    return event


def item_of(record: Record) -> Item | str:
    """Decode the upsert in a record, or return the id of the item that a tombstone removes.

    Raises:
        InvalidEvent: the record is neither, or its key is not the item.
    """
    if not record.key:
        raise InvalidEvent("item", "the record has no key")
    if record.value is None:
        return record.key
    item = decode(Item, record.value)
    if record.key != item.item:
        raise InvalidEvent("item", "is not the record's key")
    return item


def dead_letter(record: Record, error: InvalidEvent) -> tuple[str, bytes]:
    """Build the key and value of the dead letter for an invalid record.

    The key is the record's partition and offset, so republishing it after a restart is idempotent.
    The value is kept up to MAX_WIRE_BYTES.
    """
    value = record.value or b""
    letter = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "append_time": record.append_time,
        "field": error.field,
        "reason": error.reason,
        "size": len(value),
        "value": base64.b64encode(value[:MAX_WIRE_BYTES]).decode(),
    }
    return f"{record.source}/{record.offset}", orjson.dumps(letter)


def _value(record: Record) -> bytes:
    if record.value is None:
        raise InvalidEvent("event", "the record has no value")
    return record.value
