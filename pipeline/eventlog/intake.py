"""The intake: records to events, and what is refused to dead letters with its provenance."""

from __future__ import annotations

import base64

import orjson

from pipeline.errors import InvalidEvent
from pipeline.eventlog.port import Record
from pipeline.events import MAX_TIME_AHEAD_MS, MAX_WIRE_BYTES, Interaction, Item, decode


def interaction_of(record: Record) -> Interaction:
    """The interaction in a record.

    Raises:
        InvalidEvent: it is none, has another key than its user, or a time too far ahead of
            its append.
    """
    event = decode(Interaction, _value(record))
    if record.key != event.user:
        raise InvalidEvent("user", "is not the record's key")
    if event.time > record.append_time + MAX_TIME_AHEAD_MS:
        raise InvalidEvent("time", f"more than {MAX_TIME_AHEAD_MS} ms ahead of its append")
    return event


def item_of(record: Record) -> Item | str:
    """The upsert in a record, or the id of the item that it removes.

    Raises:
        InvalidEvent: it is neither, or has another key than its item.
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
    """Key and value of the dead letter for a refused record.

    The key follows from where the record stands, so that a second telling after a restart
    is the same telling. The value is kept whole up to the size that events may have.
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
